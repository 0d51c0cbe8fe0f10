//! Token ids cut into blocks of equal length, the samples of language-model training.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::subset::Subset;

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
    /// Where each document begins among the ids.
    starts: Vec<usize>,
    /// The topic of each document.
    topics: Vec<Option<Arc<str>>>,
    /// Which documents count in the loss, and their share. Without it all do.
    subset: Option<(Vec<bool>, f64)>,
}

/// The part of a document that lies in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The number of the document.
    pub document: usize,
    /// Its tokens in the block.
    pub tokens: Range<usize>,
}

impl Default for Blocks {
    /// No text at all.
    fn default() -> Self {
        Self {
            ids: Vec::new(),
            block: 2,
            starts: Vec::new(),
            topics: Vec::new(),
            subset: None,
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
        Ok(Self {
            ids,
            block,
            starts: Vec::new(),
            topics: Vec::new(),
            subset: None,
        })
    }

    /// Says which documents the ids are made of: where each begins, in ascending order, and its topic.
    pub fn made_of(mut self, documents: Vec<(usize, Option<Arc<str>>)>) -> Self {
        (self.starts, self.topics) = documents.into_iter().unzip();
        self
    }

    /// Lets only the documents of a subset count in the loss.
    pub fn counting(mut self, subset: Subset) -> Self {
        let whole = subset.share >= 1.0;
        self.subset = (!whole).then(|| (subset.of(self.starts.len()), subset.share));
        self
    }

    /// Whether there are documents that do not count in the loss.
    pub fn leaves_out(&self) -> bool {
        self.subset.is_some()
    }

    /// Whether a document counts in the loss.
    pub fn counts(&self, document: usize) -> bool {
        let subset = self.subset.as_ref();
        subset.is_none_or(|(counts, _)| counts.get(document).copied().unwrap_or(false))
    }

    /// The share of the documents that count in the loss.
    pub fn share(&self) -> f64 {
        self.subset.as_ref().map_or(1.0, |(_, share)| *share)
    }

    /// The documents that the ids are made of. The last ones may lie in the remainder that was dropped.
    pub fn documents(&self) -> usize {
        self.starts.len()
    }

    /// The tokens of a document, with the one that ends it. Empty for one that lies in the remainder that was dropped.
    pub fn document(&self, document: usize) -> &[u32] {
        let at = |document: usize| self.starts.get(document).copied();
        let end = at(document + 1).unwrap_or(self.ids.len());
        let start = at(document).unwrap_or(self.ids.len());
        let within = |place: usize| place.min(self.ids.len());
        &self.ids[within(start)..within(end)]
    }

    /// The documents of a block, in their order. Empty when it is not known of what the ids are made.
    pub fn pieces(&self, index: usize) -> impl Iterator<Item = Piece> {
        let (first, last) = (index * self.block, (index + 1) * self.block);
        // The document that is under way where the block begins, and those that begin in it.
        let from = self.starts.partition_point(|&start| start <= first);
        let documents = from.saturating_sub(1)..self.starts.len();
        let documents = documents.take_while(move |&document| self.starts[document] < last);
        documents.filter_map(move |document| {
            let start = self.starts[document].max(first);
            let next = self.starts.get(document + 1).copied();
            let end = next.unwrap_or(usize::MAX).min(last);
            let tokens = start - first..end.checked_sub(first)?;
            (!tokens.is_empty()).then_some(Piece { document, tokens })
        })
    }

    /// The topic of a document.
    pub fn topic(&self, document: usize) -> Option<&str> {
        self.topics.get(document)?.as_deref()
    }

    /// The topics of all documents, each once.
    pub fn topics(&self) -> BTreeSet<&str> {
        self.topics.iter().flatten().map(|topic| &**topic).collect()
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
