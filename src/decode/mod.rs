//! Decoding with a cache of keys and values: plain, and assisted (speculative) with drafts of the assistant.

mod assisted;
mod distant_sampling;
mod greedy;
mod row;
mod sampling;
mod settings;

use serde::{Deserialize, Serialize};

use crate::device::OutOfMemory;

pub use assisted::{Request, assisted};
pub use greedy::greedy;
pub use sampling::{Distribution, Sampling};
pub use settings::{Drafting, Misfit, Schedule, Settings};

/// One round of assisted decoding: a draft, and one pass of the main model over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Number of drafted tokens (c). Of a lazy draft, those that the main model checked: up to the first rejected one.
    pub drafted: usize,
    /// Number of drafted tokens that the main model chose or accepted (n).
    pub matched: usize,
}

/// The continuation of one prompt, and the rounds that produced it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decoding {
    /// The new tokens.
    pub tokens: Vec<u32>,
    /// Drafted and matched tokens of every round, in order. Each round is one pass of the main model.
    pub rounds: Vec<Round>,
}

impl Decoding {
    /// n_matches of the prompt: the number of drafted tokens that the main model chose or accepted, over all rounds.
    pub fn n_matches(&self) -> usize {
        self.rounds.iter().map(|round| round.matched).sum()
    }
}

/// Why a prompt could not be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The prompt has no token.
    #[error("prompt {0} is empty: decoding needs at least one token")]
    EmptyPrompt(usize),
    /// Prompt and continuation do not fit into the models.
    #[error(
        "prompt {prompt} has {tokens} tokens; with {max_new_tokens} new ones it exceeds the {n_positions} positions of the model: lower `max_new_tokens`"
    )]
    TooLong {
        /// Index of the prompt in the set.
        prompt: usize,
        /// Tokens of the prompt.
        tokens: usize,
        /// New tokens asked for.
        max_new_tokens: usize,
        /// The shorter context of the two models.
        n_positions: usize,
    },
    /// A model returned NaN or infinity.
    #[error("the {0} model's logits are not finite")]
    NotFinite(crate::model::Role),
    /// Not even one prompt fits into the device's memory.
    #[error(
        "{0}, though one prompt was decoded at a time: lower `decode.max_new_tokens` or `decode.draft_length`, or take another `device`"
    )]
    OutOfMemory(OutOfMemory),
    /// The caller stopped the decoding.
    #[error("stopped: {0}")]
    Stopped(String),
}

// Not its source: the message has it already.
impl From<OutOfMemory> for DecodeError {
    fn from(error: OutOfMemory) -> Self {
        Self::OutOfMemory(error)
    }
}
