//! Token ids cut into blocks of equal length, the samples of language-model training.

/// Why a text gives no block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlocksError {
    /// Less than one block.
    #[error(
        "only {tokens} tokens of text, less than one block of {block}: use more text or a smaller `train.block`"
    )]
    TooShort {
        /// Tokens there are.
        tokens: usize,
        /// Tokens a block needs.
        block: usize,
    },
    /// A block of one token predicts nothing.
    #[error("a block must have at least 2 tokens, not {0}")]
    BlockLength(usize),
}

/// Blocks of equal length. A block of T tokens gives T - 1 predictions: position t predicts token t + 1.
#[derive(Debug, Clone)]
pub struct Blocks {
    ids: Vec<u32>,
    block: usize,
}

impl Default for Blocks {
    /// No text at all.
    fn default() -> Self {
        Self {
            ids: Vec::new(),
            block: 2,
        }
    }
}

impl Blocks {
    /// Cuts concatenated token ids into blocks of `block` tokens; the remainder is dropped.
    ///
    /// # Errors
    /// When there is not one whole block, or `block` is less than 2.
    pub fn cut(mut ids: Vec<u32>, block: usize) -> Result<Self, BlocksError> {
        if block < 2 {
            return Err(BlocksError::BlockLength(block));
        }
        if ids.len() < block {
            let tokens = ids.len();
            return Err(BlocksError::TooShort { tokens, block });
        }
        ids.truncate(ids.len() / block * block);
        Ok(Self { ids, block })
    }

    /// Keeps the first `count` blocks.
    pub fn take(mut self, count: usize) -> Self {
        self.ids.truncate(count.max(1).saturating_mul(self.block));
        self
    }

    /// Number of blocks.
    pub fn len(&self) -> usize {
        self.ids.len() / self.block
    }

    /// Never: there is at least one block.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Tokens a block.
    pub fn block(&self) -> usize {
        self.block
    }

    /// The tokens of block `index`.
    pub fn get(&self, index: usize) -> &[u32] {
        &self.ids[index * self.block..(index + 1) * self.block]
    }
}
