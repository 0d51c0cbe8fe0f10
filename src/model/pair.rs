//! The pair that a run fine-tunes: the main model (the target) and the assistant (which drafts), over one vocabulary.

use burn::module::Module;
use serde::{Deserialize, Serialize};

use super::Network;

/// Which model of the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The model whose text is wanted.
    Main,
    /// The smaller model that drafts for it.
    Assistant,
}

impl Role {
    /// Both, in the order in which everything is done.
    pub const BOTH: [Self; 2] = [Self::Main, Self::Assistant];

    /// As in tags and TOML.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Assistant => "assistant",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why two models are not a pair.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// Draft tokens would mean something else to the main model.
    #[error(
        "the main model has a vocabulary of {main} tokens and the assistant one of {assistant}: they must share one tokenizer"
    )]
    Vocabulary {
        /// Vocabulary size of the main model.
        main: usize,
        /// Vocabulary size of the assistant.
        assistant: usize,
    },
}

/// Main model and assistant.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The target.
    pub main: Network,
    /// The model that drafts.
    pub assistant: Network,
}

impl Pair {
    /// # Errors
    /// When the vocabularies differ in size.
    pub fn new(main: Network, assistant: Network) -> Result<Self, PairError> {
        let (a, b) = (main.config().vocab_size, assistant.config().vocab_size);
        if a != b {
            return Err(PairError::Vocabulary {
                main: a,
                assistant: b,
            });
        }
        Ok(Self { main, assistant })
    }

    /// One of the two.
    pub fn get(&self, role: Role) -> &Network {
        match role {
            Role::Main => &self.main,
            Role::Assistant => &self.assistant,
        }
    }

    /// The pair as it is now, for reading: off the autodiff graph, sharing the weights' memory until training moves on.
    pub fn snapshot(&self) -> Self {
        Self {
            main: self.main.valid(),
            assistant: self.assistant.valid(),
        }
    }

    /// The longest sequence that both can read.
    pub fn n_positions(&self) -> usize {
        let (main, assistant) = (self.main.config(), self.assistant.config());
        main.n_positions.min(assistant.n_positions)
    }
}
