//! One hook of a run: whether it is due, its failures, and the time it took.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::gate::Gate;
use super::worker::{SharedHook, guarded};
use super::{HookSpec, HookTime, OnError, Reporter};
use crate::cadence::{Cadence, Moment, Spent};
use crate::clock::{Clock, Extent, Step};
use crate::event::Event;
use crate::hook::{Batch, Cost, Live, Milestone, Output, Request, Runs};
use crate::model::Pair;
use crate::record::HookFailure;
use crate::record::progress::HookState;

/// One event, as the loop passes it to the hooks.
pub(super) struct Firing<'a> {
    pub milestone: Milestone,
    /// The clock at the end of the previous step.
    pub before: &'a Clock,
    pub pair: &'a dyn Fn() -> Pair,
    pub batch: &'a dyn Fn() -> Option<Batch>,
    pub live: Live<'a>,
    /// Whether no thread is at work beside the loop's own, apart from background hooks.
    pub alone: bool,
}

/// A hook of the run.
pub(super) struct Listener {
    pub name: Arc<str>,
    prefix: String,
    /// Whether it uses the pair as it was before the first step.
    pub compares_with_start: bool,
    at: Cadence,
    on: Option<Event>,
    /// The signal that it is called for, in place of `on`.
    signal: Option<Arc<str>>,
    /// The signals that it may emit.
    pub emits: Vec<&'static str>,
    pub runs: Runs,
    on_error: OnError,
    pub deadline: Option<u64>,
    pub hook: SharedHook,
    /// The x axis value of its last call. It is called once per milestone, however many clauses or events name that.
    pub last_fired: Option<u64>,
    /// The run's elapsed time when its cadence was last checked.
    looked: Duration,
    pub disabled: bool,
    /// What else must be true for a call.
    pub gate: Gate,
    pub failures: Vec<HookFailure>,
    /// The time of its calls, including those before a resume.
    pub time: HookTime,
    /// The time of all its calls, including those before a resume, and of its last one.
    pub spent: Spent,
    /// The number of queued calls.
    pub pending: usize,
}

impl Listener {
    pub fn new(spec: HookSpec) -> Self {
        // When the run ends, there is no training left to run beside.
        let runs = match spec.on {
            Some(on) if on.ends_the_run() => Runs::Inline,
            _ => spec.runs,
        };
        Self {
            time: HookTime {
                name: spec.name.clone(),
                calls: 0,
                cost: Cost::default(),
                longest_lag: 0,
                background: runs == Runs::Background,
                detached: None,
            },
            gate: Gate::new(spec.when, spec.wanted, spec.once),
            compares_with_start: spec.compares_with_start,
            prefix: spec.prefix,
            name: spec.name.into(),
            at: spec.at,
            on: spec.on,
            signal: spec.signal,
            emits: spec.emits,
            runs,
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

    /// Whether what it still reports is dropped: it was switched off, or it has ended its calls.
    pub fn is_silenced(&self) -> bool {
        self.disabled || self.gate.detached.is_some()
    }

    /// Whether it is never called again.
    fn is_over(&self) -> bool {
        self.is_silenced() || self.gate.once && self.last_fired.is_some()
    }

    /// Whether its time counts towards the budget.
    pub fn has_budget(&self) -> bool {
        self.at.by_budget() && !self.is_silenced()
    }

    /// The share of the run's time that its cadence keeps to, where it has a budget.
    pub fn budget(&self) -> Option<f64> {
        self.at.budget().filter(|_| !self.is_silenced())
    }

    /// Whether it must be called at this event. `spent` is the time that hooks with a budget have taken; None while that is not known.
    ///
    /// A clause of wall time that became due since the cadence was last checked is due now, however long ago that was.
    pub fn is_due(&mut self, firing: &Firing, extent: &Extent, spent: Option<Spent>) -> bool {
        let milestone = &firing.milestone;
        if self.is_over() || self.last_fired.is_some_and(|last| last >= milestone.step) {
            return false;
        }
        let Some((moment, now)) = self.moment(firing, extent) else {
            return false;
        };
        // When a run ends early, no step has passed since the last one, at whose end nobody was called for this event.
        let before = match now.step {
            step if step > firing.before.step || step == Step(0) => firing.before.clone(),
            step => extent.clock_after(Step(step.0 - 1)),
        };
        let before = Clock {
            elapsed: self.looked,
            ..before
        };
        if moment == Moment::Step {
            self.looked = now.elapsed;
        }
        let allowed = |spent| self.at.within_budget(&now, spent);
        self.at.due(moment, &before, &now, extent)
            || self.on.is_none() && moment == Moment::Step && spent.is_some_and(allowed)
    }

    /// Whether it will be called, or may be, at an event of the step after `before`.
    pub fn awaits(&self, event: Event, before: &Clock, extent: &Extent) -> bool {
        let end = extent.clock_after(Step(before.step.0 + 1));
        let is_due = || self.at.by_time() || self.at.due(Moment::Step, before, &end, extent);
        !self.is_over() && self.on == Some(event) && is_due()
    }

    /// The moment at which this hook's cadence is checked for an event, with the clock for the check. None when the hook does not listen to
    /// the event.
    fn moment(&self, firing: &Firing, extent: &Extent) -> Option<(Moment, Clock)> {
        let milestone = &firing.milestone;
        let now = milestone.clock.clone();
        if self.signal != milestone.signal {
            return None;
        }
        if self.signal.is_some() {
            return Some(Self::within(firing, extent));
        }
        match (self.on, milestone.event) {
            (None, Event::RunStart) => Some((Moment::Start, now)),
            (None, Event::StepEnd) => Some((Moment::Step, now)),
            (None, Event::EpochEnd) => Some((Moment::EpochEnd, now)),
            (None, Event::RunEnd) => Some((Moment::End, now)),
            (Some(on), event) if on == event => match event {
                // Cadences do not apply to them; see `hears`.
                event if event.ignores_cadences() => None,
                _ => Some(Self::within(firing, extent)),
            },
            _ => None,
        }
    }

    /// The moment and the clock of an event at which only hooks that listen to it are called.
    fn within(firing: &Firing, extent: &Extent) -> (Moment, Clock) {
        let now = firing.milestone.clock.clone();
        if firing.milestone.event.is_before_update() || firing.milestone.event == Event::EpochStart
        {
            // In the middle of a step, the clock at the end of the step decides.
            let mut end = extent.clock_after(Step(firing.before.step.0 + 1));
            end.elapsed = now.elapsed;
            return (Moment::Step, end);
        }
        let moment = match firing.milestone.event {
            Event::RunEnd => Moment::End,
            _ if now.step.0 == 0 => Moment::Start,
            _ => Moment::Step,
        };
        (moment, now)
    }

    /// Whether it is called at this moment regardless of its cadence. Interventions may act twice at a step, of which the second is a return to
    /// its checkpoint; hooks are called at the first.
    pub fn hears(&self, milestone: &Milestone) -> bool {
        let event = milestone.event;
        let was_called = self.last_fired.is_some_and(|last| last >= milestone.step);
        !self.is_over()
            && event.ignores_cadences()
            && self.on == Some(event)
            && self.signal.is_none()
            && !(event == Event::Intervened && was_called)
    }

    /// Adds the hook's prefix to its tags. It is empty for a hook with its kind's name.
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

    /// Records a failure. Returns the output to record instead of the hook's own, and the request to the loop if `on_error` has one.
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

    /// Switches it off regardless of `on_error`, and records why.
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

    /// Whether its failure ends the run.
    pub fn stops_the_run(&self) -> bool {
        self.on_error == OnError::Stop
    }

    /// Its state for a checkpoint.
    pub fn state(&self) -> Result<HookState, String> {
        let state = guarded(&self.hook, |hook| Ok(hook.state()))?;
        Ok(HookState {
            state,
            ..self.stateless()
        })
    }

    /// Its state for a checkpoint, without the hook's own part.
    pub fn stateless(&self) -> HookState {
        HookState {
            last_fired: self.last_fired,
            looked: self.looked,
            disabled: self.disabled,
            detached: self.gate.detached,
            condition: self.gate.memory(),
            state: serde_json::Value::Null,
            calls: self.time.calls,
            cost: self.time.cost,
            last: self.spent.last,
            longest_lag: self.time.longest_lag,
            failures: self.failures.clone(),
        }
    }

    /// Restores its state from a checkpoint.
    pub fn restore(&mut self, state: HookState) -> Result<(), String> {
        self.last_fired = state.last_fired;
        self.looked = state.looked;
        self.disabled = state.disabled;
        self.gate.restore(state.condition, state.detached);
        self.failures = state.failures;
        self.spent = Spent {
            total: state.cost.took,
            last: state.last,
        };
        self.time.calls = state.calls;
        self.time.cost = state.cost;
        self.time.longest_lag = state.longest_lag;
        if self.is_silenced() {
            return Ok(());
        }
        guarded(&self.hook, |hook| hook.restore(state.state))
    }
}
