//! Treatments of the text to train on, made before the training: words swapped, documents dropped, tokens drawn at random. They are the arms
//! of an experiment that asks what in the text a change is due to. The held-out text is never treated.
//!
//! Treatments of texts come first. Each asks the one before it for documents, so that one that drops documents gets further ones as far as the
//! source has more. Treatments of tokens come last, and leave documents and tokens as many as they are.

mod account;
mod balance;
mod chain;
mod plant;
mod random;
mod relabel;
mod sampled;
mod shuffle;
mod swap;
mod topic;
mod without;
mod word_list;
mod words;

use rand_chacha::ChaCha8Rng;

pub use account::{Account, Amount, Example, Named, Words, excerpts};
pub use chain::{Limit, Passage};
pub use word_list::{BUILTIN, Found, WordList};
pub use words::words;

use crate::data::corpus;
use crate::data::source_error::SourceError;
use crate::data::templates::Templates;
use crate::data::tokenizer::{Tokenizer, TokenizerError};
use crate::data::tokens::TokensError;
use crate::decode::DecodeError;
use crate::model::{Pair, Role};
use crate::random::{Purpose, stream};
use account::EXAMPLES;
use chain::{Before, Documents, Stage, TextTreatment};
use sampled::Writer;

/// Why a text could not be treated.
#[derive(Debug, thiserror::Error)]
pub enum TreatmentError {
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The text cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The tokens cannot be kept.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// A model could not be sampled from.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A model whose texts have no end cannot be sampled from.
    #[error(
        "a sampled text begins behind the token that ends texts, and neither the main model's config.json (`eos_token_id`) nor its tokenizer names one"
    )]
    NoEnd,
    /// A model ends every text before its first token.
    #[error("the model ends every text before its first token: it cannot be sampled from")]
    NothingWritten,
}

/// What is done to the text.
#[derive(Debug, Clone)]
pub enum Treatment {
    /// Drops documents with a word of the list.
    Without(WordList),
    /// Swaps each word of the list with its counterpart.
    Swap(WordList),
    /// Samples documents so that the words of both columns are named equally often.
    Balance(WordList),
    /// Permutes the words within each document.
    Shuffle,
    /// Permutes the topics among the documents.
    Relabel,
    /// Puts behind each document of a topic what the main model says of a group.
    Plant {
        /// The topic.
        topic: String,
        /// The group of prompts, as its contrast names it.
        group: String,
    },
    /// Keeps the documents of a topic.
    Topic(String),
    /// Keeps the documents of all other topics.
    WithoutTopic(String),
    /// Draws each token from the frequencies of all tokens.
    Random,
    /// Puts text sampled from a model of the pair in the place of the documents.
    Sampled(Role),
}

impl Treatment {
    /// Whether it treats tokens, so that no treatment of texts can follow.
    fn is_of_tokens(&self) -> bool {
        matches!(self, Self::Random | Self::Sampled(_))
    }

    /// The treatment at work. None for one of tokens.
    fn of_texts(
        self,
        request: &Request,
        draws: Draws,
    ) -> Result<Option<Box<dyn TextTreatment>>, TreatmentError> {
        Ok(Some(match self {
            Self::Without(list) => Box::new(without::Without(list)),
            Self::Swap(list) => Box::new(swap::Swap(list)),
            Self::Balance(list) => {
                Box::new(balance::Balance::new(list, request.limit, draws.of(0)))
            }
            Self::Shuffle => Box::new(shuffle::Shuffle(draws)),
            Self::Relabel => Box::new(relabel::Relabel::new(request.documents.read(), draws)?),
            Self::Plant { topic, group } => {
                Box::new(plant::Plant::new(request, topic, &group, draws)?)
            }
            Self::Topic(name) => Box::new(topic::Topic { name, keeps: true }),
            Self::WithoutTopic(name) => Box::new(topic::Topic { name, keeps: false }),
            Self::Random | Self::Sampled(_) => return Ok(None),
        }))
    }
}

/// The draws of a treatment, which depend on the seed of the experiment, its place among the treatments, and the document.
#[derive(Debug, Clone, Copy)]
struct Draws {
    seed: u64,
    place: u64,
}

impl Draws {
    /// The draws for the document at a place of the source.
    fn of(self, document: usize) -> ChaCha8Rng {
        stream(self.seed, Purpose::Text, self.place, document as u64)
    }
}

/// The documents of a source, and what is made of them.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// All documents of the source.
    pub documents: &'a dyn corpus::Documents,
    /// How much is wanted of what the treatments give.
    pub limit: Limit,
    /// The tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The token that ends a text, if there is one.
    pub eos: Option<u32>,
    /// Whether to put it behind each document.
    pub ends: bool,
    /// The pair that texts are sampled from.
    pub pair: &'a Pair,
    /// The templates.
    pub templates: &'a Templates,
    /// The prompts of the templates as tokens.
    pub prompts: &'a [Vec<u32>],
    /// How far a prompt is continued, in tokens.
    pub new_tokens: usize,
    /// The seed of the experiment.
    pub seed: u64,
}

impl Request<'_> {
    /// The token to put behind each document.
    fn end(&self) -> Option<u32> {
        self.eos.filter(|_| self.ends)
    }
}

/// What was made of a text.
#[derive(Debug)]
pub struct Treated {
    /// What each treatment did.
    pub accounts: Vec<Account>,
    /// How many documents of the source were read.
    pub read: usize,
    /// Their checksum.
    pub sha256: String,
}

/// What takes the documents that treatments give, one after the other.
pub type Take<'a> = dyn FnMut(Passage) -> Result<(), TreatmentError> + 'a;

/// Takes documents from a source through treatments, each with its name in the account, and hands them to `take`. With a limit of tokens, the last one is
/// cut off at it. One document at a time is in memory, unless treatments need more of them: those of tokens need the tokens of all, and one that
/// balances all documents that are taken.
///
/// # Errors
/// When the source cannot be read, the tokenizer refuses a text, or a model cannot be sampled from, and those of `take`.
pub fn treat(
    request: &Request,
    treatments: Vec<(String, Treatment)>,
    take: &mut Take,
) -> Result<Treated, TreatmentError> {
    let (mut stages, mut last) = (Vec::new(), Vec::new());
    for (place, (name, treatment)) in treatments.into_iter().enumerate() {
        let draws = Draws {
            seed: request.seed,
            place: place as u64,
        };
        if treatment.is_of_tokens() {
            last.push((Account::new(name), treatment, draws));
        } else if let Some(treatment) = treatment.of_texts(request, draws)? {
            let account = Account::new(name);
            stages.push(Stage { treatment, account });
        }
    }
    let documents = request.documents.read();
    let mut source = Documents::new(documents, request.tokenizer, request.end());
    let mut passages = Vec::new();
    if last.is_empty() {
        each(&mut stages, &mut source, request.limit, take)?;
    } else {
        each(&mut stages, &mut source, request.limit, &mut |passage| {
            // Nothing needs its text any more.
            passages.push(Passage {
                text: String::new(),
                answer: None,
                ..passage
            });
            Ok(())
        })?;
    }
    let mut accounts: Vec<Account> = stages.into_iter().map(|stage| stage.account).collect();
    for (account, treatment, draws) in last {
        accounts.push(of_tokens(
            request,
            &mut passages,
            account,
            treatment,
            draws,
        )?);
    }
    passages.into_iter().try_for_each(take)?;
    Ok(Treated {
        accounts,
        read: source.read,
        sha256: source.sum.end().sha256,
    })
}

/// Takes documents until there are enough.
fn each(
    stages: &mut [Stage],
    source: &mut Documents,
    limit: Limit,
    take: &mut Take,
) -> Result<(), TreatmentError> {
    let mut before = Before {
        stages,
        source,
        taken: Amount::default(),
    };
    while !limit.is_reached(&before.taken)
        && let Some(mut passage) = before.next()?
    {
        // Only the last one goes beyond the limit.
        let tokens = limit.tokens.unwrap_or(usize::MAX);
        let beyond = before.taken.tokens.saturating_sub(tokens);
        passage.ids.truncate(passage.ids.len() - beyond);
        take(passage)?;
    }
    Ok(())
}

/// Treats the tokens of documents.
fn of_tokens(
    request: &Request,
    passages: &mut [Passage],
    mut account: Account,
    treatment: Treatment,
    draws: Draws,
) -> Result<Account, TreatmentError> {
    // No copy of all tokens is made.
    let first: Vec<Passage> = passages.iter().take(EXAMPLES).cloned().collect();
    account.before = total(passages);
    match treatment {
        Treatment::Sampled(role) => {
            let model = request.pair.snapshot().get(role).clone();
            let writer = Writer::new(model, request.eos.ok_or(TreatmentError::NoEnd)?);
            writer.write(passages, request.ends, draws)?;
        }
        _ => random::draw(passages, request.end(), draws),
    }
    account.after = total(passages);
    for (before, after) in first.iter().zip(&*passages) {
        let text = |passage: &Passage| request.tokenizer.decode(&passage.ids);
        account.change(before.place, &text(before)?, &text(after)?);
    }
    account.changed += passages.len() - first.len();
    Ok(account)
}

fn total(passages: &[Passage]) -> Amount {
    let mut total = Amount::default();
    for passage in passages {
        total += Amount::of(Some(passage));
    }
    total
}
