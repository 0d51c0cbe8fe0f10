//! A milestone: a moment of the run at which hooks are called, with what the loop knows at that moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::event::{Axis, Event};
use crate::model::Role;

/// The mean next-token loss of each model on the held-out split: over the tokens of answers for a model that is trained for answers, else over all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The losses, in nats per token.
    pub losses: BTreeMap<Role, f64>,
}

impl Evaluation {
    /// The perplexity of a model: exp of its mean loss. None when it was not evaluated.
    pub fn perplexity(&self, role: Role) -> Option<f64> {
        self.losses.get(&role).map(|loss| loss.exp())
    }
}

/// How long the parts of the last step took. Hooks' own time does not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepTimes {
    /// Fetching the rows of all micro-batches.
    pub fetch: Duration,
    /// The forward passes of all micro-batches, of both models.
    pub forward: Duration,
    /// Their backward passes. On a device other than flex the passes are only begun meanwhile, and the time that they still take when the
    /// step's losses are asked for counts here.
    pub backward: Duration,
    /// Clipping and the optimisers' step.
    pub optimiser: Duration,
}

/// A moment of the run at which hooks are called.
#[derive(Debug, Clone)]
pub struct Milestone {
    /// What has just happened.
    pub event: Event,
    /// What another hook has emitted, for a hook that is called for that: [`Context::emit`](super::Context::emit).
    pub signal: Option<Arc<str>>,
    /// How far the run has come. In the middle of a step, that step is not counted yet; see [`Milestone::step`].
    pub clock: Clock,
    /// The optimiser step that this milestone belongs to, which is the x axis of everything reported here. In the middle of a step it is
    /// the number of that step.
    pub step: u64,
    /// The steps of the whole run if nothing stops it early.
    pub total_steps: u64,
    /// The mean training loss of the last step, in nats per token. Empty before the first step.
    pub losses: BTreeMap<Role, f64>,
    /// The learning rate of the last step; before the first step, that of the first.
    pub learning_rate: f64,
    /// How long the parts of the last whole step took in this process; in the middle of a step, the parts so far.
    pub times: StepTimes,
    /// The loop's evaluation at this step, if there was one.
    pub evaluation: Option<Evaluation>,
}

impl Milestone {
    /// The name of what the hook is called for: the signal, else the event.
    pub fn name(&self) -> &str {
        self.signal.as_deref().unwrap_or(self.event.as_str())
    }

    /// The optimiser step that the milestone belongs to. It is the x axis of all milestones except those of micro-batches and of batches of an evaluation.
    pub fn optimiser_step(&self) -> u64 {
        match self.event.axis() {
            Axis::Steps => self.step,
            Axis::MicroBatches => self.clock.step.0 + 1,
            Axis::EvaluationBatches => self.clock.step.0,
        }
    }
}
