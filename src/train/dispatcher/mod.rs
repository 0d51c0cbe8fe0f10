//! The hooks of a run: calls or queues those that are due at an event, and turns their reports into records and requests.

mod calling;
mod excess;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::interveners::{Interveners, Situation};
use super::listener::Listener;
use super::loop_tags::{loop_tags, with_perplexities};
use super::outcome::RunError;
use super::recorder::{Record, Recorder};
use super::worker::{Done, Worker};
use super::{HookSpec, HookTime, InterventionSpec, Reporter};
use crate::cadence::{Moment, Spent};
use crate::clock::{Clock, Extent};
use crate::event::Event;
use crate::hook::{Milestone, Request, Runs, Scene, Values, Watch};
use crate::intervention::{Deed, InForce};
use crate::model::{Pair, Role};
use crate::record::progress::HookState;
use crate::record::{HookFailure, RunDirectory, columns};

/// The destinations of the run's reports, borrowed from the loop for one call.
pub(super) struct Sinks<'a> {
    pub recorder: &'a mut Recorder,
    pub reporter: &'a mut dyn Reporter,
    pub directory: &'a RunDirectory,
}

/// The hooks of a run.
pub(super) struct Dispatcher {
    entries: Vec<Listener>,
    worker: Option<Worker>,
    scene: Arc<Scene>,
    /// The pair before the first step, if a hook compares with it.
    start: Option<Arc<Pair>>,
    extent: Extent,
    pub interveners: Interveners,
    watch: Option<Arc<Watch>>,
    requests: Vec<Request>,
    /// What inline hooks have emitted and nobody was called for yet.
    signals: VecDeque<Arc<str>>,
    /// The last value of every tag that conditions may use.
    values: Values,
    /// The tags that belong to the loop, whoever reports them.
    of_the_loop: Vec<String>,
    /// The optimiser steps done, from which the lag is computed.
    step: u64,
    /// The limits of time that were said to be exceeded: of a hook, or of all.
    warned: BTreeSet<Option<usize>>,
}

impl Dispatcher {
    /// Makes the dispatcher of a run's hooks. `start` is called for the pair before the first step if a hook compares with it. A step of the
    /// training moves `weights` bytes of weights.
    pub fn new(
        specs: Vec<HookSpec>,
        scene: Arc<Scene>,
        start: impl FnOnce() -> Pair,
        extent: Extent,
        queue: usize,
        weights: u64,
    ) -> Result<Self, RunError> {
        let compares = specs.iter().any(|spec| spec.compares_with_start);
        let entries: Vec<Listener> = specs.into_iter().map(Listener::new).collect();
        let background = entries.iter().any(|entry| entry.runs == Runs::Background);
        let worker = background
            .then(|| Worker::start(queue, weights))
            .transpose();
        Ok(Self {
            entries,
            worker: worker?,
            scene,
            start: compares.then(|| Arc::new(start())),
            extent,
            interveners: Interveners::default(),
            watch: None,
            requests: Vec::new(),
            signals: VecDeque::new(),
            values: Values::default(),
            of_the_loop: loop_tags(&Role::BOTH),
            step: 0,
            warned: BTreeSet::new(),
        })
    }

    /// Sets the callback for the progress of long measurements.
    pub fn watched_by(mut self, watch: Option<Arc<Watch>>) -> Self {
        self.watch = watch;
        self
    }

    /// Sets the interventions, which see what conditions see.
    pub fn with_interventions(mut self, specs: Vec<InterventionSpec>) -> Self {
        self.interveners = Interveners::new(specs);
        self
    }

    /// Asks the interventions that are due at one of `moments`.
    ///
    /// # Errors
    /// When one errs.
    pub fn ask_interventions(
        &mut self,
        milestone: &Milestone,
        before: &Clock,
        moments: &[Moment],
        in_force: &InForce,
    ) -> Result<Vec<(String, Deed)>, RunError> {
        self.interveners.ask(&Situation {
            milestone,
            before,
            moments,
            extent: &self.extent,
            values: &self.values,
            in_force,
        })
    }

    /// Takes over the run's extent after data was passed over.
    pub fn measure_out(&mut self, extent: Extent) {
        self.extent = extent;
    }

    /// The pair before the first step, if a hook compares with it.
    pub fn start(&self) -> Option<Arc<Pair>> {
        self.start.clone()
    }

    /// Whether a hook will be called, or may be, at an event of the coming step. `before` is the clock at the end of the step before it.
    pub fn awaits(&self, event: Event, before: &Clock) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| entry.awaits(event, before, &self.extent))
    }

    /// Lets conditions see what the loop has recorded after `step`.
    pub fn see(&mut self, step: u64, scalars: &[(String, f64)]) {
        for (tag, value) in with_perplexities(scalars) {
            self.see_value(step, &tag, value);
        }
    }

    fn see_value(&mut self, step: u64, tag: &str, value: f64) {
        self.values.see(tag, value);
        for entry in &mut self.entries {
            entry.gate.see(step, tag, value);
        }
        self.interveners.see(step, tag, value);
    }

    /// The last values of all tags that conditions may use.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The time that hooks with a budget have taken together. None while one of them is running: hooks that share probes should be called
    /// at the same milestones.
    fn spent(&self) -> Option<Spent> {
        let mut entries = self.entries.iter();
        let runs = entries.any(|entry| entry.has_budget() && entry.pending > 0);
        (!runs).then(|| self.spent_so_far())
    }

    /// The same, without the call that may be running.
    fn spent_so_far(&self) -> Spent {
        let mut all = Spent::default();
        for entry in self.entries.iter().filter(|entry| entry.has_budget()) {
            all.total += entry.spent.total;
            all.last += entry.spent.last;
        }
        all
    }

    /// Records the results of background hooks that have finished, without waiting.
    pub fn drain(&mut self, sinks: &mut Sinks) -> Result<(), RunError> {
        let Some(mut worker) = self.worker.take() else {
            return Ok(());
        };
        let drained = worker.drain(|done| self.commit(done, sinks));
        self.worker = Some(worker);
        drained
    }

    /// Waits until every queued call is recorded.
    pub fn settle(&mut self, sinks: &mut Sinks) -> Result<(), RunError> {
        let Some(mut worker) = self.worker.take() else {
            return Ok(());
        };
        let result = loop {
            match worker.next(|| sinks.reporter.waiting()) {
                Ok(Some(done)) => {
                    if let Err(error) = self.commit(done, sinks) {
                        break Err(error);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.worker = Some(worker);
        result
    }

    fn commit(&mut self, done: Done, sinks: &mut Sinks) -> Result<(), RunError> {
        let entry = &mut self.entries[done.index];
        entry.pending = entry.pending.saturating_sub(1);
        if entry.is_silenced() {
            // The call was queued before it was known that the hook failed or ended its calls. It is dropped, so that the record does not depend on how far the
            // worker was.
            return sinks.recorder.abandon(done.slot);
        }
        let (step, cost) = (done.milestone.step, done.cost);
        entry.time.calls += 1;
        entry.time.cost += cost;
        entry.spent = Spent {
            total: entry.spent.total + cost.took,
            last: cost.took,
        };
        let lag = self.step.saturating_sub(done.milestone.clock.step.0);
        entry.time.longest_lag = entry.time.longest_lag.max(lag);
        sinks
            .reporter
            .hook(&entry.name, step, cost.took.as_secs_f64());
        let checked = done.result.and_then(|mut output| {
            entry.prefix_tags(&mut output);
            let spans = sinks.recorder.spans();
            let last = |tag: &str| spans.get(tag).map(|span| span.last.0);
            output.check(step, self.scene.templates.prompts().len(), last)?;
            output.check_emitted(&entry.emits)?;
            Ok(output)
        });
        let output = match checked {
            Ok(output) => output,
            Err(message) => {
                let (output, stop) = entry.fail(step, message, sinks.reporter);
                self.requests.extend(stop);
                output
            }
        };
        let values = &output.per_template;
        let columns = if values.is_empty() {
            None
        } else {
            let (name, templates) = (&entry.name, &self.scene.templates);
            let written = columns::write(sinks.directory, step, name, templates, values);
            Some(written?)
        };
        let times = cost.times(&entry.name, entry.runs == Runs::Background, lag);
        let record = Record {
            event: done.milestone.name(),
            source: &entry.name,
            step,
            clock: &done.milestone.clock,
            output: &output,
            times: &times,
            columns,
        };
        sinks.recorder.fill(done.slot, record)?;
        sinks.recorder.flush()?;
        self.requests.extend(output.requests);
        if output.detached {
            self.entries[done.index].gate.detached = Some(step);
        }
        if self.entries[done.index].runs == Runs::Inline {
            self.signals
                .extend(output.emitted.into_iter().map(Arc::from));
            let step = done.milestone.optimiser_step();
            for (tag, value) in output.scalars {
                if !self.of_the_loop.contains(&tag) {
                    self.see_value(step, &tag, value);
                }
            }
        }
        Ok(())
    }

    /// Takes the requests that hooks have made since the last call.
    pub fn take_requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }

    /// The requests that nobody has taken yet.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// All failures of hooks, including those before a resume.
    pub fn failures(&self) -> Vec<HookFailure> {
        let entries = self.entries.iter();
        entries.flat_map(|entry| entry.failures.clone()).collect()
    }

    /// The states of all hooks for a checkpoint. Call it only after [`Dispatcher::settle`]. A hook whose state cannot be saved is switched
    /// off, because a resume could not continue it.
    pub fn states(&mut self, reporter: &mut dyn Reporter) -> BTreeMap<String, HookState> {
        let step = self.step;
        let mut states = BTreeMap::new();
        for entry in &mut self.entries {
            let state = if entry.is_silenced() {
                entry.stateless()
            } else {
                entry.state().unwrap_or_else(|message| {
                    let message = format!("its state cannot be saved: {message}");
                    entry.give_up(step, message, reporter);
                    entry.stateless()
                })
            };
            states.insert(entry.name.to_string(), state);
        }
        states
    }

    /// Restores the hooks' states from a checkpoint. Hooks that are not in it start afresh. A hook that cannot restore its state is
    /// switched off.
    ///
    /// # Errors
    /// When such a hook has `on_error = "stop"`.
    pub fn restore(
        &mut self,
        step: u64,
        requests: Vec<Request>,
        values: Values,
        mut states: BTreeMap<String, HookState>,
        reporter: &mut dyn Reporter,
    ) -> Result<(), RunError> {
        self.requests = requests;
        self.values = values;
        self.signals.clear();
        self.step = step;
        for entry in &mut self.entries {
            let Some(state) = states.remove(&*entry.name) else {
                continue;
            };
            let Err(message) = entry.restore(state) else {
                continue;
            };
            let message = format!("it cannot take its saved state back: {message}");
            if entry.stops_the_run() {
                return Err(RunError::Hook {
                    name: entry.name.to_string(),
                    message,
                });
            }
            entry.give_up(step, message, reporter);
        }
        Ok(())
    }

    /// What each hook cost.
    pub fn into_times(self) -> Vec<HookTime> {
        let entries = self.entries.into_iter();
        let times = entries.map(|entry| HookTime {
            detached: entry.gate.detached,
            ..entry.time
        });
        times.collect()
    }
}
