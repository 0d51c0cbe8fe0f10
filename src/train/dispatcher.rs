//! Decides which hooks are due at an event, calls them inline or queues them, and turns their reports into records and requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::listener::{Firing, Listener};
use super::loop_tags::{loop_tags, with_perplexities};
use super::outcome::RunError;
use super::recorder::{Record, Recorder};
use super::worker::{Call, Done, Job, Worker, work};
use super::{HookSpec, HookTime, Reporter};
use crate::cadence::Spent;
use crate::clock::{Clock, Extent};
use crate::event::Event;
use crate::hook::{Batch, Live, Milestone, Probes, Request, Runs, Scene, Seen, Values, Watch};
use crate::model::{Pair, Role};
use crate::record::progress::HookState;
use crate::record::{HookFailure, RunDirectory, columns};

/// The destinations of the run's reports, borrowed from the loop for one call.
pub(super) struct Sinks<'a> {
    pub recorder: &'a mut Recorder,
    pub reporter: &'a mut dyn Reporter,
    pub directory: &'a RunDirectory,
}

/// What all calls at one milestone share.
struct Calls<'a> {
    milestone: Arc<Milestone>,
    pair: &'a dyn Fn() -> Pair,
    batch: &'a dyn Fn() -> Option<Batch>,
    live: Live<'a>,
    /// The pair and the text at hand, once a call needs them.
    taken: Option<(Arc<Pair>, Option<Arc<Batch>>)>,
    probes: Arc<Probes>,
}

/// The hooks of a run.
pub(super) struct Dispatcher {
    entries: Vec<Listener>,
    worker: Option<Worker>,
    scene: Arc<Scene>,
    /// The pair before the first step, if a hook compares with it.
    start: Option<Arc<Pair>>,
    extent: Extent,
    watch: Option<Arc<Watch>>,
    requests: Vec<Request>,
    /// The last value of every tag that conditions may use.
    values: Values,
    /// The tags that belong to the loop, whoever reports them.
    of_the_loop: Vec<String>,
    /// The optimiser steps done, from which the lag is computed.
    step: u64,
}

impl Dispatcher {
    /// Makes the dispatcher of a run's hooks. `start` is called for the pair before the first step if a hook compares with it.
    pub fn new(
        specs: Vec<HookSpec>,
        scene: Arc<Scene>,
        start: impl FnOnce() -> Pair,
        extent: Extent,
        queue: usize,
    ) -> Result<Self, RunError> {
        let compares = specs.iter().any(|spec| spec.compares_with_start);
        let entries: Vec<Listener> = specs.into_iter().map(Listener::new).collect();
        let background = entries.iter().any(|entry| entry.runs == Runs::Background);
        let worker = background.then(|| Worker::start(queue)).transpose();
        Ok(Self {
            entries,
            worker: worker.map_err(RunError::Thread)?,
            scene,
            start: compares.then(|| Arc::new(start())),
            extent,
            watch: None,
            requests: Vec::new(),
            values: Values::default(),
            of_the_loop: loop_tags(&Role::BOTH),
            step: 0,
        })
    }

    /// Sets the callback for the progress of long measurements.
    pub fn watched_by(mut self, watch: Option<Arc<Watch>>) -> Self {
        self.watch = watch;
        self
    }

    /// Whether a hook will be called, or may be, at an event of the coming step. `before` is the clock at the end of the step before it.
    pub fn awaits(&self, event: Event, before: &Clock) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| entry.awaits(event, before, &self.extent))
    }

    /// Calls or queues every hook that is due and whose conditions are true.
    pub fn fire(&mut self, firing: Firing, sinks: &mut Sinks) -> Result<(), RunError> {
        self.step = firing.milestone.clock.step.0;
        let event = firing.milestone.event;
        let drained = self.drain(sinks);
        if event != Event::RunFailed {
            drained?;
        }
        let (last, due) = self.due(&firing);
        let mut calls = Calls {
            milestone: Arc::new(firing.milestone),
            pair: firing.pair,
            batch: firing.batch,
            live: firing.live,
            taken: None,
            probes: Arc::default(),
        };
        let mut jobs = Vec::new();
        for index in due {
            jobs.extend(self.call(index, &mut calls, sinks)?);
        }
        self.queue(jobs, sinks)?;
        self.finalise(&last, &mut calls, sinks)
    }

    /// The hooks that are due: those that end the run, and all others.
    fn due(&mut self, firing: &Firing) -> (Vec<usize>, Vec<usize>) {
        let spent = self.spent();
        let event = firing.milestone.event;
        let (mut last, mut due) = (Vec::new(), Vec::new());
        for (index, entry) in self.entries.iter_mut().enumerate() {
            if event.ends_the_run() && entry.hears(event) {
                last.push(index);
            } else if entry.hears(event) || entry.is_due(firing, &self.extent, spent) {
                due.push(index);
            }
        }
        (last, due)
    }

    /// Calls the hooks that end the run, the last of the experiment first. Everything that was measured before is recorded by then, except
    /// after an error. An error of one call does not keep the others from theirs.
    fn finalise(
        &mut self,
        last: &[usize],
        calls: &mut Calls,
        sinks: &mut Sinks,
    ) -> Result<(), RunError> {
        if !last.is_empty() && calls.milestone.event == Event::RunEnd {
            self.settle(sinks)?;
        }
        let mut result = Ok(());
        for &index in last.iter().rev() {
            let called = self.call(index, calls, sinks);
            result = result.and(called.map(drop));
        }
        result
    }

    /// Calls an inline hook, if its conditions are true, or returns the job of a background hook.
    fn call(
        &mut self,
        index: usize,
        calls: &mut Calls,
        sinks: &mut Sinks,
    ) -> Result<Option<Job>, RunError> {
        let seen = Seen {
            milestone: &calls.milestone,
            values: &self.values,
        };
        match self.entries[index].gate.is_open(&seen) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(message) => {
                self.refuse(index, message, calls, sinks)?;
                return Ok(None);
            }
        }
        let entry = &mut self.entries[index];
        entry.last_fired = Some(calls.milestone.step);
        let (pair, batch) = calls.taken.get_or_insert_with(|| {
            let batch = (calls.batch)().map(Arc::new);
            (Arc::new((calls.pair)()), batch)
        });
        let call = Call {
            name: entry.name.clone(),
            hook: entry.hook.clone(),
            milestone: calls.milestone.clone(),
            pair: pair.clone(),
            start: self.start.clone().filter(|_| entry.compares_with_start),
            probes: calls.probes.clone(),
            batch: batch.clone(),
            scene: self.scene.clone(),
            deadline: entry.deadline,
            watch: self.watch.clone(),
        };
        let slot = sinks.recorder.reserve();
        let job = Job { index, slot, call };
        if entry.runs == Runs::Background {
            entry.pending += 1;
            return Ok(Some(job));
        }
        let done = work(job, calls.live);
        self.commit(done, sinks)?;
        Ok(None)
    }

    /// Records that a hook could not be called. Its queued calls are recorded before, so that the record does not depend on how far the
    /// worker was.
    fn refuse(
        &mut self,
        index: usize,
        message: String,
        calls: &Calls,
        sinks: &mut Sinks,
    ) -> Result<(), RunError> {
        self.settle(sinks)?;
        let done = Done {
            index,
            slot: sinks.recorder.reserve(),
            milestone: calls.milestone.clone(),
            result: Err(message),
            took: Duration::ZERO,
        };
        self.commit(done, sinks)
    }

    /// Hands jobs to the worker.
    fn queue(&mut self, jobs: Vec<Job>, sinks: &mut Sinks) -> Result<(), RunError> {
        if jobs.is_empty() {
            return Ok(());
        }
        let Some(mut worker) = self.worker.take() else {
            return Ok(());
        };
        let sent = worker.send(jobs, |done| self.commit(done, sinks));
        self.worker = Some(worker);
        sent
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
    }

    /// The last values of all tags that conditions may use.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The time that hooks with a budget have taken together. None while one of them is running: hooks that share probes should be called
    /// at the same milestones.
    fn spent(&self) -> Option<Spent> {
        let mut all = Spent::default();
        for entry in self.entries.iter().filter(|entry| entry.has_budget()) {
            if entry.pending > 0 {
                return None;
            }
            all.total += entry.spent.total;
            all.last += entry.spent.last;
        }
        Some(all)
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
        let (step, took) = (done.milestone.step, done.took);
        entry.time.calls += 1;
        entry.time.total += took;
        entry.spent = Spent {
            total: entry.spent.total + took,
            last: took,
        };
        let lag = self.step.saturating_sub(done.milestone.clock.step.0);
        entry.time.longest_lag = entry.time.longest_lag.max(lag);
        sinks.reporter.hook(&entry.name, step, took.as_secs_f64());
        let checked = done.result.and_then(|mut output| {
            entry.prefix_tags(&mut output);
            let spans = sinks.recorder.spans();
            let last = |tag: &str| spans.get(tag).map(|span| span.last.0);
            output.check(step, self.scene.templates.prompts().len(), last)?;
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
        let times = [
            (format!("hook/{}/seconds", entry.name), took.as_secs_f64()),
            (format!("hook/{}/lag_steps", entry.name), lag as f64),
        ];
        let record = Record {
            event: done.milestone.event.as_str(),
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

    /// The time that each hook took.
    pub fn into_times(self) -> Vec<HookTime> {
        let entries = self.entries.into_iter();
        let times = entries.map(|entry| HookTime {
            detached: entry.gate.detached,
            ..entry.time
        });
        times.collect()
    }
}
