//! The text that the models read at the moment, for hooks.

use std::collections::BTreeMap;
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

/// What the predictions of a step weigh for one model.
pub(super) struct StepWeighing {
    /// Each of them, micro-batch by micro-batch and row by row. None where all weigh 1.
    pub each: Option<Vec<Vec<f32>>>,
    /// All of them together.
    pub all: f64,
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

    /// What the predictions of the step weigh. With `answers`, those of tokens in a prompt weigh nothing.
    pub fn weighing(&self, of_topics: &BTreeMap<String, f64>, answers: bool) -> StepWeighing {
        StepWeighing {
            each: self.weights(of_topics, answers),
            all: self.step_weight(of_topics, answers),
        }
    }

    /// The weight of each prediction of the step, micro-batch by micro-batch and row by row: that of the topic of the document that the
    /// predicted token is in, and 0 where the document does not count. None where all weigh 1.
    fn weights(&self, of_topics: &BTreeMap<String, f64>, answers: bool) -> Option<Vec<Vec<f32>>> {
        if of_topics.is_empty() && !self.blocks.leaves_out() && !answers {
            return None;
        }
        let counted = |document: usize| f32::from(u8::from(self.blocks.counts(document)));
        let weigh = |document: usize| counted(document) * self.topic_weight(of_topics, document);
        Some(self.of_documents(answers, &weigh))
    }

    /// What all predictions of the step weigh together. Where only a subset of the documents counts, it is the subset's share of what all
    /// weigh: a step's gradient is then a sum over the tokens that count, divided by a number that does not depend on which do. It is 1 where
    /// none weighs anything, so that such a step has no loss and no gradient.
    fn step_weight(&self, of_topics: &BTreeMap<String, f64>, answers: bool) -> f64 {
        let all = if of_topics.is_empty() && !answers {
            let rows: usize = self.passes.iter().map(|pass| pass.blocks.len()).sum();
            (rows * (self.blocks.block() - 1)) as f64
        } else {
            let weigh = |document: usize| self.topic_weight(of_topics, document);
            let weights = self.of_documents(answers, &weigh);
            weights.iter().flatten().copied().map(f64::from).sum()
        };
        if all == 0.0 {
            return 1.0;
        }
        all * self.blocks.share()
    }

    fn topic_weight(&self, of_topics: &BTreeMap<String, f64>, document: usize) -> f32 {
        let topic = self.blocks.topic(document);
        let weight = topic.and_then(|topic| of_topics.get(topic));
        weight.map_or(1.0, |&weight| weight as f32)
    }

    /// The weights of the predictions of each micro-batch, row by row, as [`Blocks::weights`] has them.
    fn of_documents(&self, answers: bool, weigh: &dyn Fn(usize) -> f32) -> Vec<Vec<f32>> {
        let of_pass = |pass: &Pass| {
            let blocks = pass.blocks.iter();
            let weights = blocks.flat_map(|&block| self.blocks.weights(block, answers, weigh));
            weights.collect()
        };
        self.passes.iter().map(of_pass).collect()
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
