//! What an intervention sees at one of its moments, and what it may ask for.

use std::collections::BTreeSet;

use super::{Action, Deed, InForce};
use crate::hook::{Milestone, Seen, Values};
use crate::model::Role;

/// A moment between two steps, in the hands of one intervention.
pub struct Control<'a> {
    pub(crate) name: &'a str,
    pub(crate) milestone: &'a Milestone,
    pub(crate) values: &'a Values,
    /// The tags that were recorded since the last call.
    pub(crate) news: &'a BTreeSet<String>,
    pub(crate) in_force: &'a InForce,
    pub(crate) deeds: Vec<Deed>,
}

impl<'a> Control<'a> {
    /// The moment: step, clock, training losses and learning rate of the last step, the evaluation if there was one.
    pub fn milestone(&self) -> &'a Milestone {
        self.milestone
    }

    /// The last value of a tag. None before the first. The tag must be one of [`Intervention::tags`](super::Intervention::tags).
    pub fn last(&self, tag: &str) -> Option<f64> {
        let seen = Seen {
            milestone: self.milestone,
            values: self.values,
        };
        seen.last(tag)
    }

    /// The last value of a tag, if it was recorded since the last call of this intervention.
    pub fn news(&self, tag: &str) -> Option<f64> {
        self.last(tag).filter(|_| self.news.contains(tag))
    }

    /// What interventions have changed so far.
    pub fn in_force(&self) -> &'a InForce {
        self.in_force
    }

    /// How often this intervention has acted so far.
    pub fn actions(&self) -> usize {
        self.in_force.actions_of(self.name)
    }

    /// How often this intervention has gone back to a checkpoint.
    pub fn rollbacks(&self) -> usize {
        self.in_force.rollbacks_of(self.name)
    }

    /// Ends the run.
    pub fn stop(&mut self, reason: impl Into<String>) {
        self.act(Action::Stop, reason);
    }

    /// Passes over the rest of the epoch's data. At the end of an epoch it does nothing.
    pub fn end_epoch(&mut self, reason: impl Into<String>) {
        self.act(Action::EndEpoch, reason);
    }

    /// Goes back to the newest checkpoint. With `pass_over`, the data of the undone steps is passed over. Training that is rolled back and
    /// not changed comes to the same place again, so pass over that data, or change the learning rate by a `rate_factor` that is not 1. Only
    /// a kind that declares [`InterventionKind::rolls_back`](super::InterventionKind::rolls_back) may. What other interventions ask for at
    /// the same moment is dropped.
    pub fn roll_back(&mut self, pass_over: bool, rate_factor: f64, reason: impl Into<String>) {
        let action = Action::RollBack {
            pass_over,
            rate_factor,
        };
        self.act(action, reason);
    }

    /// Multiplies the learning rate of all further steps.
    pub fn scale_rate(&mut self, factor: f64, reason: impl Into<String>) {
        self.act(Action::ScaleRate(factor), reason);
    }

    /// Freezes parameters of a model, by their names in its checkpoint.
    pub fn freeze(&mut self, role: Role, names: BTreeSet<String>, reason: impl Into<String>) {
        self.act(Action::Freeze(role, names), reason);
    }

    /// Lets frozen parameters learn again.
    pub fn thaw(&mut self, role: Role, names: BTreeSet<String>, reason: impl Into<String>) {
        self.act(Action::Thaw(role, names), reason);
    }

    /// Gives the predictions in documents of a topic a weight in the loss of all further steps. It must be above 0.
    pub fn weigh(&mut self, topic: &str, weight: f64, reason: impl Into<String>) {
        let topic = topic.to_owned();
        self.act(Action::Weigh { topic, weight }, reason);
    }

    fn act(&mut self, action: Action, reason: impl Into<String>) {
        let reason = reason.into();
        self.deeds.push(Deed { action, reason });
    }
}
