//! The text that a step trains on, or that an evaluation reads, for hooks.

use std::ops::Range;
use std::sync::Arc;

use crate::clock::MicroBatch;
use crate::data::blocks::{Blocks, Piece};
use crate::model::{Network, Role, TrainingPass};

/// The rows of token ids of one micro-batch, of all micro-batches of a step, or of a batch of held-out text.
#[derive(Debug, Clone)]
pub struct Batch {
    blocks: Arc<Blocks>,
    passes: Vec<Pass>,
    /// The models that are trained on it, with dropout.
    trained: Vec<Role>,
}

/// The rows that a model reads in one pass: their places among the blocks.
#[derive(Debug, Clone)]
pub(crate) struct Pass {
    /// The number of the micro-batch. None where the models are evaluated, without dropout.
    pub micro_batch: Option<MicroBatch>,
    pub blocks: Vec<usize>,
}

impl Batch {
    pub(crate) fn new(blocks: Arc<Blocks>, passes: Vec<Pass>, trained: Vec<Role>) -> Self {
        Self {
            blocks,
            passes,
            trained,
        }
    }

    /// The rows in the order in which they are read.
    pub fn rows(&self) -> impl Iterator<Item = BatchRow<'_>> {
        let blocks = self.passes.iter().flat_map(|pass| &pass.blocks);
        blocks.map(|&block| BatchRow {
            blocks: &self.blocks,
            block,
        })
    }

    /// The next-token losses of every row by a model, in nats: `[row][time - 1]`. Its training passes are made again, with the same dropout, in
    /// single precision.
    pub(crate) fn losses(&self, model: &Network, role: Role, seed: u64) -> Vec<Vec<f32>> {
        let losses = self.passes.iter().flat_map(|pass| {
            let rows = pass.blocks.iter().map(|&block| self.blocks.get(block));
            let rows: Vec<&[u32]> = rows.collect();
            let trained = pass.micro_batch.filter(|_| self.trained.contains(&role));
            let mut training = trained.map(|number| TrainingPass::of(seed, role, number.0));
            model.pass_losses(&rows, training.as_mut())
        });
        losses.collect()
    }
}

/// A row of a batch: one block of the text.
#[derive(Debug, Clone, Copy)]
pub struct BatchRow<'a> {
    blocks: &'a Blocks,
    block: usize,
}

impl<'a> BatchRow<'a> {
    /// The number of the block in its split.
    pub fn block(&self) -> usize {
        self.block
    }

    /// The token ids, `[time]`.
    pub fn tokens(&self) -> &'a [u32] {
        self.blocks.get(self.block)
    }

    /// The documents that the row is made of, in their order, each with its tokens in the row. Empty where the text has no documents.
    pub fn documents(&self) -> Vec<RowDocument<'a>> {
        let pieces = self.blocks.pieces(self.block);
        let documents = pieces.map(|Piece { document, tokens }| RowDocument {
            document,
            topic: self.blocks.topic(document),
            tokens,
        });
        documents.collect()
    }
}

/// The part of a document that lies in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowDocument<'a> {
    /// The number of the document in its split.
    pub document: usize,
    /// Its topic, where the source of the text has topics.
    pub topic: Option<&'a str>,
    /// Where its tokens stand in the row. A document's end-of-text token belongs to it.
    pub tokens: Range<usize>,
}
