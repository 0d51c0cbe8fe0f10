//! Greedy decoding with KV caches: plain, and assisted (speculative) by the pair's smaller model.

mod assisted;
mod greedy;

pub use assisted::{Decoding, Round, Schedule, Settings, assisted};
pub use greedy::greedy;

/// Why a prompt could not be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Nothing to continue.
    #[error("prompt {0} is empty: decoding needs at least one token")]
    EmptyPrompt(usize),
    /// Prompt and continuation do not fit into the model.
    #[error(
        "prompt {prompt} has {tokens} tokens; with {max_new_tokens} new ones it exceeds the {n_positions} positions of the model: lower `max_new_tokens`"
    )]
    TooLong {
        /// Index of the prompt in the set.
        prompt: usize,
        /// Its length.
        tokens: usize,
        /// New tokens asked for.
        max_new_tokens: usize,
        /// The shorter context of the two models.
        n_positions: usize,
    },
    /// A model gave NaN or infinity.
    #[error("the {0} model's logits are not finite")]
    NotFinite(crate::model::Role),
    /// Whoever asked for the decoding called it off.
    #[error("stopped: {0}")]
    Stopped(String),
}
