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
    /// A table of embeddings has no row for a token of the tokenizer.
    #[error(
        "the tokenizer has {tokens} tokens, but the {role} model's table of embeddings has only {rows} rows: tokenizer and model do not belong together"
    )]
    Table {
        /// Which model.
        role: Role,
        /// Rows of its table.
        rows: usize,
        /// Tokens of the tokenizer.
        tokens: usize,
    },
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
    /// A pair over a tokenizer whose ids are below `tokens`. Where one table of embeddings is padded to more rows than the other, neither model says
    /// a token of the padding: their distributions are over the tokenizer's tokens alone.
    ///
    /// # Errors
    /// When a table has fewer rows than the tokenizer has tokens.
    pub fn over(main: Network, assistant: Network, tokens: usize) -> Result<Self, PairError> {
        for (role, model) in [(Role::Main, &main), (Role::Assistant, &assistant)] {
            let rows = model.config().vocab_size;
            if rows < tokens {
                return Err(PairError::Table { role, rows, tokens });
            }
        }
        if main.config().vocab_size == assistant.config().vocab_size {
            return Ok(Self { main, assistant });
        }
        Ok(Self {
            main: main.saying(tokens),
            assistant: assistant.saying(tokens),
        })
    }

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
