//! The moments at which a test calls a hook.

use std::collections::BTreeMap;

use crate::event::Event;
use crate::hook::{Evaluation, Kind};
use crate::model::Role;

/// A moment of the run, with the losses that the loop should know. A number of steps converts to one: `0` is the start and `4` the end of
/// step 4. If the kind is called at an event of its own, it is that event of the step.
#[derive(Debug, Clone, Default)]
pub struct At {
    step: u64,
    event: Option<Event>,
    losses: BTreeMap<Role, f64>,
    evaluation: Option<Evaluation>,
}

impl At {
    /// The moment of this step, the x axis of what is reported.
    pub fn step(step: u64) -> Self {
        Self {
            step,
            ..Self::default()
        }
    }

    /// The moment of an event of this step.
    pub fn event(event: Event, step: u64) -> Self {
        Self {
            event: Some(event),
            ..Self::step(step)
        }
    }

    /// Sets the training loss of the last step, in nats per token, in place of the one that the bench computes.
    pub fn loss(mut self, role: Role, nats: f64) -> Self {
        self.losses.insert(role, nats);
        self
    }

    /// Sets a held-out loss, in nats per token, as if the loop had evaluated at this step.
    pub fn evaluated(mut self, role: Role, nats: f64) -> Self {
        let evaluation = self.evaluation.get_or_insert_default();
        evaluation.losses.insert(role, nats);
        self
    }

    /// The event at which a hook of `kind` is called at this moment.
    pub(super) fn event_for(&self, kind: &Kind) -> Event {
        let settled = match self.step {
            0 => Event::RunStart,
            _ => Event::StepEnd,
        };
        self.event.or(kind.on).unwrap_or(settled)
    }

    pub(super) fn number(&self) -> u64 {
        self.step
    }

    pub(super) fn losses(&self) -> &BTreeMap<Role, f64> {
        &self.losses
    }

    pub(super) fn evaluation(&self) -> Option<&Evaluation> {
        self.evaluation.as_ref()
    }
}

impl From<u64> for At {
    fn from(step: u64) -> Self {
        Self::step(step)
    }
}
