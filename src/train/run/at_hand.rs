//! The text that the models read at the moment, for hooks.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::MicroBatch;
use crate::data::blocks::{Blocks, Piece};
use crate::event::{Axis, Event};
use crate::hook::{Batch, Pass};
use crate::model::Role;

/// The text to train on and to evaluate on, and the parts of it that are at hand.
pub(super) struct AtHand {
    pub blocks: Arc<Blocks>,
    pub held_out: Arc<Blocks>,
    /// The models that are trained.
    pub trained: Vec<Role>,
    /// The micro-batches of the step at hand. Empty between two steps.
    pub passes: Vec<Pass>,
    /// The batch of held-out text that was read last.
    pub evaluated: Option<Pass>,
}

impl AtHand {
    pub fn new(blocks: Blocks, held_out: Arc<Blocks>, trained: Vec<Role>) -> Self {
        Self {
            blocks: Arc::new(blocks),
            held_out,
            trained,
            passes: Vec::new(),
            evaluated: None,
        }
    }

    /// The weight of each prediction of the step, micro-batch by micro-batch and row by row: that of the topic of the document that the
    /// predicted token is in. None where no topic has a weight.
    pub fn weights(&self, of_topics: &BTreeMap<String, f64>) -> Option<Vec<Vec<f32>>> {
        if of_topics.is_empty() {
            return None;
        }
        let of_pass = |pass: &Pass| {
            let weights = pass.blocks.iter().flat_map(|&block| {
                let mut weights = vec![1.0; self.blocks.block()];
                for Piece { document, tokens } in self.blocks.pieces(block) {
                    let topic = self.blocks.topic(document);
                    if let Some(&weight) = topic.and_then(|topic| of_topics.get(topic)) {
                        weights[tokens].fill(weight as f32);
                    }
                }
                // The first token is not predicted.
                weights.split_off(1)
            });
            weights.collect()
        };
        Some(self.passes.iter().map(of_pass).collect())
    }

    /// What all predictions of the step weigh together.
    pub fn step_weight(&self, weights: Option<&[Vec<f32>]>) -> f64 {
        match weights {
            Some(weights) => weights.iter().flatten().copied().map(f64::from).sum(),
            None => {
                let rows: usize = self.passes.iter().map(|pass| pass.blocks.len()).sum();
                (rows * (self.blocks.block() - 1)) as f64
            }
        }
    }

    /// What hooks see at an event, when `done` micro-batches are done. None outside a step.
    pub fn batch(&self, event: Event, done: MicroBatch) -> Option<Batch> {
        let (blocks, passes) = match event.axis() {
            Axis::EvaluationBatches => (&self.held_out, self.evaluated.iter().cloned().collect()),
            Axis::Steps => (&self.blocks, self.passes.clone()),
            Axis::MicroBatches => {
                let now = match event {
                    Event::MicroBatchEnd => done.0.saturating_sub(1),
                    _ => done.0,
                };
                let passes = self.passes.iter();
                let pass = passes.filter(|pass| pass.micro_batch == Some(MicroBatch(now)));
                (&self.blocks, pass.cloned().collect::<Vec<Pass>>())
            }
        };
        (!passes.is_empty()).then(|| Batch::new(blocks.clone(), passes, self.trained.clone()))
    }
}
