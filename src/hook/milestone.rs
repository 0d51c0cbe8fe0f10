//! A milestone: one moment of the run, with what the loop knows of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::event::Event;
use crate::model::Role;

/// Mean next-token loss of each model on the held-out split.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// In nats a token.
    pub losses: BTreeMap<Role, f64>,
}

impl Evaluation {
    /// `exp` of the mean loss.
    pub fn perplexity(&self, role: Role) -> Option<f64> {
        self.losses.get(&role).map(|loss| loss.exp())
    }
}

/// A moment of the run.
#[derive(Debug, Clone)]
pub struct Milestone {
    /// What has just happened.
    pub event: Event,
    /// Where the run stands. In the middle of a step, the step counts as not done yet; see [`Milestone::step`].
    pub clock: Clock,
    /// The optimiser step that this milestone belongs to: the x axis of everything that is reported here. In the middle of a step
    /// this is the number that the step will have.
    pub step: u64,
    /// Steps that the run will have if nothing stops it.
    pub total_steps: u64,
    /// Mean training loss of the last step, in nats a token; empty before the first.
    pub losses: BTreeMap<Role, f64>,
    /// Learning rate of the last step (of the coming one before it).
    pub learning_rate: f64,
    /// The evaluation at this very step, if there was one.
    pub evaluation: Option<Evaluation>,
}
