//! What is said of an estimate, as `influence.json` has it.

use serde::{Deserialize, Serialize};

use super::score::Score;
use crate::statistics::sample::Estimated;

/// `influence.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The run's folder.
    pub run: String,
    /// What was estimated of which state of the run.
    pub made_of: MadeOf,
    /// Whether the tables are evidence, in a sentence.
    pub evidence: String,
    /// What else is to be known.
    pub notes: Vec<String>,
    /// Documents of the text.
    pub documents: usize,
    /// Of these, those that the run has seen. The others are in no total.
    pub seen: usize,
    /// The steps at which the goals' values are known.
    pub states: Vec<u64>,
    /// What the documents have influence on.
    pub goals: Vec<OfOneGoal>,
    /// The retrainings.
    pub check: Option<Check>,
}

/// What an estimate was made of. Another one under the same name is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MadeOf {
    /// Names of the goals.
    pub goals: Vec<String>,
    /// The tokens of log-odds.
    pub tokens: Option<[String; 2]>,
    /// The steps of the checkpoints whose gradients are used.
    pub checkpoints: Vec<u64>,
    /// SHA-256 of the run's manifest, outcome and checkpoints.
    pub run_sha256: String,
    /// The version of the program.
    pub milepost: String,
}

/// The estimate for one goal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OfOneGoal {
    /// Its name: `kl/gap`.
    pub name: String,
    /// As people read it, with its unit.
    pub title: String,
    /// Its value at each state.
    pub values: Vec<f64>,
    /// From each state to the next: what was observed, and what the documents are said to have done.
    pub segments: Vec<Part>,
    /// The same from the first state to the last.
    pub whole: Part,
    /// Pearson's correlation over the segments of observed and predicted change. None for fewer than three.
    pub correlation: Option<f64>,
    /// The topics, the largest total first.
    pub topics: Vec<Topic>,
    /// The documents that raise it most.
    pub raise: Vec<Listed>,
    /// The documents that lower it most.
    pub lower: Vec<Listed>,
    /// How many documents of either side [`OfOneGoal::words_raise`] are taken from.
    pub compared: usize,
    /// The words that mark documents that raise it, against those that lower it.
    pub words_raise: Vec<Word>,
    /// The words that mark documents that lower it.
    pub words_lower: Vec<Word>,
    /// The datamodeling score.
    pub score: Option<Scored>,
    /// The same for the gap of n_matches, where the run measures it and this is a gap.
    pub n_matches_score: Option<Scored>,
    /// The scores of other methods on the same subsets.
    #[serde(default)]
    pub others: Vec<Other>,
}

/// The influence that another method gives the documents, scored on the same subsets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Other {
    /// The method's name, as it was given.
    pub name: String,
    /// Its datamodeling score.
    pub score: Option<Scored>,
    /// The same for the gap of n_matches.
    pub n_matches_score: Option<Scored>,
}

/// A change, and what the documents are said to have done to it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The step before it.
    pub from: u64,
    /// The step after it.
    pub to: u64,
    /// The change that was measured.
    pub observed: f64,
    /// The documents' influence, both models.
    pub predicted: f64,
    /// Through the main model.
    pub main: f64,
    /// Through the assistant.
    pub assistant: f64,
}

/// A topic's documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Topic {
    /// Its name.
    pub topic: String,
    /// How many of its documents the run has seen.
    pub documents: usize,
    /// How many predictions of their tokens it was trained on.
    pub predictions: u64,
    /// Their influence through both models.
    pub both: Total,
    /// Through the main model.
    pub main: Total,
    /// Through the assistant.
    pub assistant: Total,
}

/// What documents of a topic come to. The documents are the units: intervals and p-values are of Student's t, for other documents from the
/// same source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Total {
    /// The sum of their influence.
    pub sum: Number,
    /// The mean of a document, less that of a document of the other topics. None without other topics.
    pub beyond_others: Option<Number>,
    /// Holm's adjustment of the p-value of `beyond_others` over the topics.
    pub adjusted_p_value: Option<f64>,
}

/// An estimate with its 95% interval, which is missing where there are too few documents.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Number {
    /// The estimate.
    pub value: f64,
    /// The lower end.
    pub low: Option<f64>,
    /// The upper end.
    pub high: Option<f64>,
    /// The two-sided p-value that it is 0.
    pub p_value: f64,
}

/// A document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// Its number in the text that was trained on, from 0, as hooks see it.
    pub document: usize,
    /// Its topic.
    pub topic: Option<String>,
    /// Its influence through both models.
    pub both: f64,
    /// Through the main model.
    pub main: f64,
    /// Through the assistant.
    pub assistant: f64,
    /// Its text, as it was trained on.
    pub text: String,
}

/// A word that marks one side: see [`markings`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// The word.
    pub word: String,
    /// How often it stands in the documents that raise the goal.
    pub raise: u64,
    /// In those that lower it.
    pub lower: u64,
    /// The log-odds ratio.
    pub log_odds: f64,
    /// Divided by its error.
    pub z: f64,
}

/// The retrainings on subsets of the documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// How many documents each has.
    pub documents: usize,
    /// Each subset.
    pub subsets: Vec<Subset>,
}

/// A retraining.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subset {
    /// The seed of `data.subset`.
    pub seed: u64,
    /// The value of each goal at its end.
    pub outcomes: Vec<f64>,
    /// The gap of n_matches at its end, where the run measures it.
    pub n_matches: Option<f64>,
}

/// A datamodeling score with what it is compared to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// Spearman's correlation over subsets of predicted and retrained outcome.
    pub value: f64,
    /// Its 95% interval, by bootstrap over subsets.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// With the documents' influence permuted: the mean.
    pub random: f64,
    /// The lower end of the middle 95% of it.
    pub random_low: f64,
    /// The upper end.
    pub random_high: f64,
    /// The share of permutations that score at least as high.
    pub p_value: f64,
    /// What each subset was predicted to come to, apart from a constant.
    pub predicted: Vec<f64>,
}

/// The documents of a text, as a summary needs them.
pub struct Documents {
    /// The topic of each.
    pub topics: Vec<Option<String>>,
    /// The text of each, as it was trained on.
    pub texts: Vec<String>,
    /// How many predictions of its tokens the run was trained on.
    pub predictions: Vec<u64>,
}

impl Documents {
    /// The numbers of those that the run has seen.
    pub fn seen(&self) -> Vec<usize> {
        let all = self.predictions.iter().enumerate();
        let seen = all.filter(|(_, predictions)| **predictions > 0);
        seen.map(|(document, _)| document).collect()
    }
}

impl From<Estimated> for Number {
    fn from(one: Estimated) -> Self {
        let finite = |value: f64| value.is_finite().then_some(value);
        Self {
            value: one.value,
            low: finite(one.interval.0),
            high: finite(one.interval.1),
            p_value: one.p_value,
        }
    }
}

impl From<Score> for Scored {
    fn from(score: Score) -> Self {
        Self {
            value: score.value,
            low: score.interval.0,
            high: score.interval.1,
            random: score.random.0,
            random_low: score.random.1.0,
            random_high: score.random.1.1,
            p_value: score.p_value,
            predicted: score.predicted,
        }
    }
}
