//! Token ids cut into blocks of equal length, the samples of language-model training.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::subset::Subset;
use super::tokens::Tokens;

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
    ids: Tokens,
    block: usize,
    /// The documents that the ids are made of.
    made_of: MadeOf,
    /// Which documents count in the loss, and their share. Without it all do.
    subset: Option<(Vec<bool>, f64)>,
}

/// The documents that a text is made of: 8 bytes for each, and 4 more each for a topic and for a prompt.
#[derive(Debug, Clone, Default)]
pub struct MadeOf {
    /// Where each document begins among the ids.
    starts: Vec<usize>,
    /// The topics, each once, and the number of each.
    names: Vec<Arc<str>>,
    numbers: BTreeMap<Arc<str>, u32>,
    /// The number of each document's topic, up to the last that has one. Those of documents without topic are beyond all topics.
    topics: Vec<u32>,
    /// How many ids of each document are of its prompt. Empty where no document has a prompt.
    prompts: Vec<u32>,
}

/// The number of no topic.
const NO_TOPIC: u32 = u32::MAX;

impl MadeOf {
    /// Adds a document that begins behind so many ids, of which `prompt` are of its prompt. None where the text has no prompts.
    pub fn add(&mut self, start: usize, topic: Option<&str>, prompt: Option<usize>) {
        if let Some(topic) = topic {
            let number = self.number(topic);
            self.topics.resize(self.starts.len(), NO_TOPIC);
            self.topics.push(number);
        }
        self.starts.push(start);
        self.prompts.extend(prompt.map(|tokens| tokens as u32));
    }

    /// The number of a topic.
    fn number(&mut self, topic: &str) -> u32 {
        if let Some(&number) = self.numbers.get(topic) {
            return number;
        }
        let (name, number): (Arc<str>, _) = (topic.into(), self.names.len() as u32);
        self.names.push(name.clone());
        self.numbers.insert(name, number);
        number
    }

    /// How many documents there are.
    pub fn documents(&self) -> usize {
        self.starts.len()
    }

    fn topic(&self, document: usize) -> Option<&Arc<str>> {
        self.names.get(*self.topics.get(document)? as usize)
    }
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
            ids: Tokens::default(),
            block: 2,
            made_of: MadeOf::default(),
            subset: None,
        }
    }
}

impl Blocks {
    /// Cuts concatenated token ids into blocks of `block` tokens; the remainder is dropped.
    ///
    /// # Errors
    /// When there is not one whole block, or `block` is less than 2.
    pub fn cut(ids: Vec<u32>, block: usize) -> Result<Self, BlocksError> {
        Self::of(ids.into(), block)
    }

    /// As [`Blocks::cut`], of ids wherever they are kept.
    ///
    /// # Errors
    /// As [`Blocks::cut`].
    pub fn of(mut ids: Tokens, block: usize) -> Result<Self, BlocksError> {
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
            made_of: MadeOf::default(),
            subset: None,
        })
    }

    /// Says which documents the ids are made of: where each begins, in ascending order, and its topic.
    pub fn made_of(self, documents: Vec<(usize, Option<Arc<str>>)>) -> Self {
        let mut made_of = MadeOf::default();
        for (start, topic) in documents {
            made_of.add(start, topic.as_deref(), None);
        }
        self.of_documents(made_of)
    }

    /// Says which documents the ids are made of.
    pub fn of_documents(mut self, made_of: MadeOf) -> Self {
        self.made_of = made_of;
        self
    }

    /// Whether the documents have prompts.
    pub fn have_prompts(&self) -> bool {
        !self.made_of.prompts.is_empty()
    }

    /// Whether any prediction is of a token of an answer.
    pub fn have_answers(&self) -> bool {
        (0..self.len()).any(|block| self.answers(block).contains(&1.0))
    }

    /// What each prediction of a block weighs where answers alone count, `[block - 1]`: 0 in a prompt, else 1. It is 0 where transformers has a
    /// label of -100.
    pub fn answers(&self, block: usize) -> Vec<f32> {
        self.weights(block, true, &|_| 1.0)
    }

    /// What each prediction of a block weighs, `[block - 1]`: what `weigh` says of the document that the predicted token is in. A token of no
    /// document weighs 1. With `answers`, one in a prompt weighs 0.
    pub fn weights(&self, block: usize, answers: bool, weigh: &dyn Fn(usize) -> f32) -> Vec<f32> {
        let mut weights = vec![1.0; self.block];
        for piece in self.pieces(block) {
            weights[piece.tokens.clone()].fill(weigh(piece.document));
            if answers {
                let prompt = self.prompt_of_piece(block, &piece);
                weights[piece.tokens.start..][..prompt].fill(0.0);
            }
        }
        // The first token is not predicted.
        weights.split_off(1)
    }

    /// How many tokens of a document are of its prompt.
    pub fn prompt(&self, document: usize) -> usize {
        let prompt = self.made_of.prompts.get(document);
        prompt.map_or(0, |&tokens| tokens as usize)
    }

    /// How many tokens of a piece of a block are of its document's prompt.
    pub fn prompt_of_piece(&self, block: usize, piece: &Piece) -> usize {
        let begun = block * self.block + piece.tokens.start - self.made_of.starts[piece.document];
        self.prompt(piece.document)
            .saturating_sub(begun)
            .min(piece.tokens.len())
    }

    /// Lets only the documents of a subset count in the loss.
    pub fn counting(mut self, subset: Subset) -> Self {
        let whole = subset.share >= 1.0;
        self.subset = (!whole).then(|| (subset.of(self.made_of.starts.len()), subset.share));
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
        self.made_of.starts.len()
    }

    /// The tokens of a document, with the one that ends it. Empty for one that lies in the remainder that was dropped.
    pub fn document(&self, document: usize) -> &[u32] {
        let at = |document: usize| self.made_of.starts.get(document).copied();
        let end = at(document + 1).unwrap_or(self.ids.len());
        let start = at(document).unwrap_or(self.ids.len());
        let within = |place: usize| place.min(self.ids.len());
        &self.ids[within(start)..within(end)]
    }

    /// The documents of a block, in their order. Empty when it is not known of what the ids are made.
    pub fn pieces(&self, index: usize) -> impl Iterator<Item = Piece> {
        let (first, last) = (index * self.block, (index + 1) * self.block);
        // The document that is under way where the block begins, and those that begin in it.
        let from = self.made_of.starts.partition_point(|&start| start <= first);
        let documents = from.saturating_sub(1)..self.made_of.starts.len();
        let documents = documents.take_while(move |&document| self.made_of.starts[document] < last);
        documents.filter_map(move |document| {
            let start = self.made_of.starts[document].max(first);
            let next = self.made_of.starts.get(document + 1).copied();
            let end = next.unwrap_or(usize::MAX).min(last);
            let tokens = start - first..end.checked_sub(first)?;
            (!tokens.is_empty()).then_some(Piece { document, tokens })
        })
    }

    /// The topic of a document.
    pub fn topic(&self, document: usize) -> Option<&str> {
        self.made_of.topic(document).map(|name| &**name)
    }

    /// The topics of all documents, each once.
    pub fn topics(&self) -> BTreeSet<&str> {
        self.made_of.names.iter().map(|topic| &**topic).collect()
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

/// A text that is kept once, however often it is asked for.
pub(crate) fn interned(known: &mut BTreeSet<Arc<str>>, text: &str) -> Arc<str> {
    if let Some(text) = known.get(text) {
        return text.clone();
    }
    let text: Arc<str> = text.into();
    known.insert(text.clone());
    text
}
