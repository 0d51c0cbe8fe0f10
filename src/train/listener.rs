//! One hook of a run: when it is due, how often it was, what became of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::worker::{SharedHook, guarded};
use super::{HookSpec, HookTime, OnError, Reporter};
use crate::cadence::{Cadence, Moment, Spent};
use crate::clock::{Clock, Extent, Step};
use crate::event::Event;
use crate::hook::{Gradients, Milestone, Output, Request, Runs};
use crate::model::{Pair, Role};
use crate::record::HookFailure;
use crate::record::progress::HookState;

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
    /// Whether it looks at the pair as it was before the first step.
    pub compares_with_start: bool,
    at: Cadence,
    on: Option<Event>,
    pub runs: Runs,
    on_error: OnError,
    pub deadline: Option<u64>,
    pub hook: SharedHook,
    /// The x axis value of the last call: one milestone is one call, however many clauses or events name it.
    pub last_fired: Option<u64>,
    /// The run's elapsed time when its cadence was last looked at.
    looked: Duration,
    pub disabled: bool,
    pub failures: Vec<HookFailure>,
    /// Its calls, also those before a resume.
    pub time: HookTime,
    /// What all its calls have cost, also those before a resume, and its last one.
    pub spent: Spent,
    /// Calls that are queued.
    pub pending: usize,
}

impl Listener {
    pub fn new(spec: HookSpec) -> Self {
        Self {
            time: HookTime {
                name: spec.name.clone(),
                calls: 0,
                total: Duration::ZERO,
                longest_lag: 0,
                background: spec.runs == Runs::Background,
            },
            compares_with_start: spec.compares_with_start,
            prefix: spec.prefix,
            name: spec.name.into(),
            at: spec.at,
            on: spec.on,
            runs: spec.runs,
            on_error: spec.on_error,
            deadline: spec.deadline,
            hook: Arc::new(Mutex::new(spec.hook)),
            last_fired: None,
            looked: Duration::ZERO,
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
    ///
    /// What has become due by wall time since the cadence was last looked at is due now, however long that is ago.
    pub fn is_due(&mut self, firing: &Firing, extent: &Extent, spent: Option<Spent>) -> bool {
        let milestone = &firing.milestone;
        if self.disabled || self.last_fired.is_some_and(|last| last >= milestone.step) {
            return false;
        }
        let Some((moment, now)) = self.moment(firing, extent) else {
            return false;
        };
        let before = Clock {
            elapsed: self.looked,
            ..firing.before.clone()
        };
        if moment == Moment::Step {
            self.looked = now.elapsed;
        }
        let allowed = |spent| self.at.within_budget(&now, spent);
        self.at.due(moment, &before, &now, extent)
            || self.on.is_none() && moment == Moment::Step && spent.is_some_and(allowed)
    }

    /// The moment that an event is to this hook's cadence, with the clock to look at; None where the hook does not listen.
    fn moment(&self, firing: &Firing, extent: &Extent) -> Option<(Moment, Clock)> {
        let milestone = &firing.milestone;
        let now = milestone.clock.clone();
        match (self.on, milestone.event) {
            (None, Event::RunStart) => Some((Moment::Start, now)),
            (None, Event::StepEnd) => Some((Moment::Step, now)),
            (None, Event::EpochEnd) => Some((Moment::EpochEnd, now)),
            (None, Event::RunEnd) => Some((Moment::End, now)),
            (Some(on), event) if on == event => match event {
                Event::Evaluated if milestone.step == 0 => Some((Moment::Start, now)),
                Event::Evaluated | Event::CheckpointSaved => Some((Moment::Step, now)),
                // No cadence names a failure; see `hears`.
                Event::RunFailed => None,
                // In the middle of a step, whether the hook is due is decided by where the clock will be at its end.
                _ => {
                    let mut end = extent.clock_after(Step(firing.before.step.0 + 1));
                    end.elapsed = now.elapsed;
                    Some((Moment::Step, end))
                }
            },
            _ => None,
        }
    }

    /// Whether it is called at this event whatever its cadence says.
    pub fn hears(&self, event: Event) -> bool {
        !self.disabled && event == Event::RunFailed && self.on == Some(Event::RunFailed)
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
        self.disabled |= self.on_error != OnError::Retry;
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

    /// Switches it off whatever its policy says, and notes why.
    pub fn give_up(&mut self, step: u64, message: String, reporter: &mut dyn Reporter) {
        self.disabled = true;
        reporter.say(&format!(
            "hook `{}` failed at step {step}: {message}; it is switched off",
            self.name
        ));
        self.failures.push(HookFailure {
            name: self.name.to_string(),
            step,
            message,
        });
    }

    /// Whether a failure of it ends the run.
    pub fn stops_the_run(&self) -> bool {
        self.on_error == OnError::Stop
    }

    /// What a checkpoint keeps of it.
    pub fn state(&self) -> Result<HookState, String> {
        let state = guarded(&self.hook, |hook| Ok(hook.state()))?;
        Ok(HookState {
            state,
            ..self.stateless()
        })
    }

    /// The same without what only the hook itself knows.
    pub fn stateless(&self) -> HookState {
        HookState {
            last_fired: self.last_fired,
            looked: self.looked,
            disabled: self.disabled,
            state: serde_json::Value::Null,
            calls: self.time.calls,
            total: self.spent.total,
            last: self.spent.last,
            longest_lag: self.time.longest_lag,
            failures: self.failures.clone(),
        }
    }

    /// Takes back what a checkpoint kept of it.
    pub fn restore(&mut self, state: HookState) -> Result<(), String> {
        self.last_fired = state.last_fired;
        self.looked = state.looked;
        self.disabled = state.disabled;
        self.failures = state.failures;
        self.spent = Spent {
            total: state.total,
            last: state.last,
        };
        self.time.calls = state.calls;
        self.time.total = state.total;
        self.time.longest_lag = state.longest_lag;
        if self.disabled {
            return Ok(());
        }
        guarded(&self.hook, |hook| hook.restore(state.state))
    }
}
