//! The text that the models read at the moment, for hooks.

use std::sync::Arc;

use crate::clock::MicroBatch;
use crate::data::blocks::Blocks;
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
