//! Decides which hooks are due at an event, calls them inline or queues them, and turns their reports into records and requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::listener::{Firing, Listener};
use super::outcome::RunError;
use super::recorder::{Record, Recorder};
use super::worker::{Call, Done, Job, Worker, work};
use super::{HookSpec, HookTime, Reporter};
use crate::cadence::Spent;
use crate::clock::{Clock, Extent};
use crate::event::Event;
use crate::hook::{Probes, Request, Runs, Scene, Watch};
use crate::model::Pair;
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
    watch: Option<Arc<Watch>>,
    requests: Vec<Request>,
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

    /// Calls or queues every hook that is due.
    pub fn fire(&mut self, firing: Firing, sinks: &mut Sinks) -> Result<(), RunError> {
        self.step = firing.milestone.clock.step.0;
        self.drain(sinks)?;
        let spent = self.spent();
        let event = firing.milestone.event;
        let entries = self.entries.iter_mut().enumerate();
        let due: Vec<usize> = entries
            .filter_map(|(index, entry)| {
                let due = entry.is_due(&firing, &self.extent, spent) || entry.hears(event);
                due.then_some(index)
            })
            .collect();
        if due.is_empty() {
            return Ok(());
        }
        let milestone = Arc::new(firing.milestone);
        let pair = Arc::new((firing.pair)());
        let probes = Arc::new(Probes::default());
        let batch = (firing.batch)().map(Arc::new);
        let mut jobs = Vec::new();
        for index in due {
            let entry = &mut self.entries[index];
            entry.last_fired = Some(milestone.step);
            let call = Call {
                name: entry.name.clone(),
                hook: entry.hook.clone(),
                milestone: milestone.clone(),
                pair: pair.clone(),
                start: self.start.clone().filter(|_| entry.compares_with_start),
                probes: probes.clone(),
                batch: batch.clone(),
                scene: self.scene.clone(),
                deadline: entry.deadline,
                watch: self.watch.clone(),
            };
            let slot = sinks.recorder.reserve();
            let job = Job { index, slot, call };
            if entry.runs == Runs::Inline {
                let done = work(job, firing.live);
                self.commit(done, sinks)?;
            } else {
                self.entries[index].pending += 1;
                jobs.push(job);
            }
        }
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
        if entry.disabled {
            // The call was queued before the hook's failure was known. It is dropped, so that the record does not depend on how far the
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
            let state = match entry.state() {
                Ok(state) => state,
                Err(message) => {
                    if !entry.disabled {
                        let message = format!("its state cannot be saved: {message}");
                        entry.give_up(step, message, reporter);
                    }
                    entry.stateless()
                }
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
        mut states: BTreeMap<String, HookState>,
        reporter: &mut dyn Reporter,
    ) -> Result<(), RunError> {
        self.requests = requests;
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
        self.entries.into_iter().map(|entry| entry.time).collect()
    }
}
