//! A seeded, grammar-based corpus of the project's own, in two registers: everyday texts about a woman or a man, and short news in
//! four topics. The mini pair is pretrained on a mix of both; the built-in sample of "news" is the second alone.
//!
//! **The planted asymmetry.** A woman's and a man's everyday texts use the same sentences, jobs, traits and pastimes, in the same
//! order of preference, but with another spread: the option of rank r is chosen with a probability proportional to
//! `1 / (r + 1)^s`, with s = [`FEMALE_SPREAD`] after a woman and s = [`MALE_SPREAD`] after a man. What follows a woman is thus easier
//! to predict than what follows a man, for both models alike, so that more of the assistant's drafts are right after female prompts.
//! [`choice_entropy`] gives the entropy of one such choice in closed form. Nothing in the news depends on gender.
//!
//! **Probabilities.** Every text carries the natural logarithm of its probability under the grammar: the sum over the choices made.
//! Each choice can be read off the text, so no text comes about in two ways, and the mean of `-log_prob` per token estimates the
//! lowest cross-entropy that any model of the corpus can reach.

mod everyday;
mod news;
mod scribe;
mod words;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use scribe::Scribe;
pub use scribe::choice_entropy;

/// Exponent of the spread of choices in a text about a woman.
pub const FEMALE_SPREAD: f64 = 1.6;
/// Exponent of the spread of choices in a text about a man.
pub const MALE_SPREAD: f64 = 0.4;

/// The topic of a news article.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// 1.
    World,
    /// 2.
    Sports,
    /// 3.
    Business,
    /// 4.
    SciTech,
}

impl Topic {
    const ALL: [Self; 4] = [Self::World, Self::Sports, Self::Business, Self::SciTech];

    /// Its number, from 1.
    pub fn label(self) -> u8 {
        self as u8 + 1
    }
}

/// Which kind of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// A few sentences about a woman or a man.
    Everyday,
    /// An article.
    News(Topic),
}

/// A text of the corpus.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its kind.
    pub register: Register,
    /// The text.
    pub text: String,
    /// ln of its probability, the choice of the register included.
    pub log_prob: f64,
}

/// A short article of the project's own making.
#[derive(Debug, Clone)]
pub struct Article {
    /// Its topic.
    pub topic: Topic,
    /// Its headline.
    pub title: String,
    /// Its body.
    pub description: String,
    /// ln of its probability.
    pub log_prob: f64,
}

/// Endless texts of both registers, each everyday with probability `everyday`: a function of its arguments alone.
pub fn documents(seed: u64, everyday: f64) -> impl Iterator<Item = Document> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    std::iter::repeat_with(move || {
        let mut scribe = Scribe::new(&mut rng);
        if scribe.chance(everyday) {
            let text = everyday::write(&mut scribe);
            Document {
                register: Register::Everyday,
                text,
                log_prob: scribe.log_prob(),
            }
        } else {
            let (topic, title, description) = news::write(&mut scribe);
            Document {
                register: Register::News(topic),
                text: format!("{title} {description}"),
                log_prob: scribe.log_prob(),
            }
        }
    })
}

/// Endless articles: a function of the seed alone.
pub fn articles(seed: u64) -> impl Iterator<Item = Article> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    std::iter::repeat_with(move || {
        let mut scribe = Scribe::new(&mut rng);
        let (topic, title, description) = news::write(&mut scribe);
        Article {
            topic,
            title,
            description,
            log_prob: scribe.log_prob(),
        }
    })
}

/// The prompt templates of the everyday register, in HONEST layout: what `datasets/prompt_templates.tsv` holds.
pub fn templates() -> String {
    everyday::templates()
}
