//! One hook of a run: when it is due, how often it was, what became of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::worker::SharedHook;
use super::{HookFailure, HookSpec, HookTime, OnError, Reporter};
use crate::cadence::{Cadence, Moment, Spent};
use crate::clock::{Clock, Extent, Step};
use crate::event::Event;
use crate::hook::{Gradients, Milestone, Output, Request, Runs};
use crate::model::{Pair, Role};

/// One event, as the loop hands it over.
pub(super) struct Firing<'a> {
    pub milestone: Milestone,
    /// The clock at the end of the step before.
    pub before: &'a Clock,
    pub pair: &'a dyn Fn() -> Pair,
    pub gradients: &'a [(Role, Gradients<'a>)],
}

/// A hook of the run.
pub(super) struct Listener {
    pub name: Arc<str>,
    prefix: String,
    at: Cadence,
    on: Option<Event>,
    pub runs: Runs,
    on_error: OnError,
    pub deadline: Option<u64>,
    pub hook: SharedHook,
    /// The x axis value of the last call: one milestone is one call, however many clauses or events name it.
    pub last_fired: Option<u64>,
    pub disabled: bool,
    pub failures: Vec<HookFailure>,
    pub time: HookTime,
    /// What all its calls have cost, also those before a resume, and its last one.
    pub spent: Spent,
    /// Calls that are queued.
    pub pending: usize,
}

impl Listener {
    pub fn new(spec: HookSpec) -> Self {
        let prefix = match spec.name == spec.kind {
            true => String::new(),
            false => format!("{}/", spec.name),
        };
        Self {
            time: HookTime {
                name: spec.name.clone(),
                calls: 0,
                total: Duration::ZERO,
                longest_lag: 0,
                background: spec.runs == Runs::Background,
            },
            name: spec.name.into(),
            prefix,
            at: spec.at,
            on: spec.on,
            runs: spec.runs,
            on_error: spec.on_error,
            deadline: spec.deadline,
            hook: Arc::new(Mutex::new(spec.hook)),
            last_fired: None,
            disabled: false,
            failures: Vec::new(),
            spent: Spent::default(),
            pending: 0,
        }
    }

    /// Whether its cost is part of the budget.
    pub fn has_budget(&self) -> bool {
        self.at.by_budget() && !self.disabled
    }

    /// Whether it is to be called at this event. `spent` is what the hooks with a budget have cost; None while it is not known.
    pub fn is_due(&self, firing: &Firing, extent: &Extent, spent: Option<Spent>) -> bool {
        let milestone = &firing.milestone;
        if self.disabled || self.last_fired.is_some_and(|last| last >= milestone.step) {
            return false;
        }
        let due = |moment, now: &Clock| self.at.due(moment, firing.before, now, extent);
        match (self.on, milestone.event) {
            (None, Event::RunStart) => due(Moment::Start, &milestone.clock),
            (None, Event::StepEnd) => {
                let allowed = |spent| self.at.within_budget(&milestone.clock, spent);
                due(Moment::Step, &milestone.clock) || spent.is_some_and(allowed)
            }
            (None, Event::EpochEnd) => due(Moment::EpochEnd, &milestone.clock),
            (None, Event::RunEnd) => due(Moment::End, &milestone.clock),
            (Some(Event::RunFailed), Event::RunFailed) => true,
            (Some(on), event) if on == event => {
                // In the middle of a step, whether the hook is due is decided by where the clock will be at its end.
                let mut end = extent.clock_after(Step(firing.before.step.0 + 1));
                end.elapsed = milestone.clock.elapsed;
                match event {
                    Event::RunStart => due(Moment::Start, &milestone.clock),
                    Event::Evaluated if milestone.step == 0 => due(Moment::Start, &milestone.clock),
                    Event::EpochEnd => due(Moment::EpochEnd, &milestone.clock),
                    Event::RunEnd => due(Moment::End, &milestone.clock),
                    Event::StepEnd | Event::Evaluated | Event::CheckpointSaved => {
                        due(Moment::Step, &milestone.clock)
                    }
                    _ => due(Moment::Step, &end),
                }
            }
            _ => false,
        }
    }

    /// Puts the name of a hook that is not its kind's first before its tags.
    pub fn prefix_tags(&self, output: &mut Output) {
        if self.prefix.is_empty() {
            return;
        }
        let tags = (output.scalars.iter_mut().map(|(tag, _)| tag))
            .chain(output.histograms.iter_mut().map(|(tag, _)| tag))
            .chain(output.texts.iter_mut().map(|(tag, _)| tag));
        for tag in tags {
            tag.insert_str(0, &self.prefix);
        }
    }

    /// Notes a failure and gives what to record in place of the hook's output, and what its policy asks of the loop.
    pub fn fail(
        &mut self,
        step: u64,
        message: String,
        reporter: &mut dyn Reporter,
    ) -> (Output, Option<Request>) {
        let consequence = match self.on_error {
            OnError::Disable => "it is switched off",
            OnError::Stop => "the run ends (on_error = \"stop\")",
            OnError::Retry => "it will be called again at its next milestone",
        };
        self.disabled = self.on_error != OnError::Retry;
        let name = &self.name;
        reporter.say(&format!(
            "hook `{name}` failed at step {step}: {message}; {consequence}"
        ));
        let output = Output {
            texts: vec![(format!("hook/{name}/error"), message.clone())],
            ..Output::default()
        };
        let stop = (self.on_error == OnError::Stop)
            .then(|| Request::Stop(format!("hook `{name}` failed: {message}")));
        self.failures.push(HookFailure {
            name: name.to_string(),
            step,
            message,
        });
        (output, stop)
    }
}
