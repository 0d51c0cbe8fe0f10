//! Calls or queues the hooks that are due at an event.

use std::sync::Arc;
use std::time::Instant;

use super::{Dispatcher, Sinks};
use crate::clock::Clock;
use crate::event::Event;
use crate::hook::{Batch, Cost, Live, Milestone, Probes, Runs, Seen};
use crate::model::Pair;
use crate::train::listener::Firing;
use crate::train::outcome::RunError;
use crate::train::worker::{Call, Done, Job, Worker, work_inline};

/// What all calls at one milestone share.
struct Calls<'a> {
    milestone: Arc<Milestone>,
    pair: &'a dyn Fn() -> Pair,
    batch: &'a dyn Fn() -> Option<Batch>,
    live: Live<'a>,
    /// The pair and the text at hand, once a call needs them.
    taken: Option<(Arc<Pair>, Option<Arc<Batch>>)>,
    probes: Arc<Probes>,
    /// As in [`Firing`].
    alone: bool,
}

impl Dispatcher {
    /// Calls or queues every hook that is due and whose conditions are true.
    pub fn fire(&mut self, firing: Firing, sinks: &mut Sinks) -> Result<(), RunError> {
        self.step = firing.milestone.clock.step.0;
        let event = firing.milestone.event;
        let drained = self.drain(sinks);
        if event != Event::RunFailed {
            drained?;
        }
        if let Some(worker) = &self.worker {
            worker.at_step(self.step);
        }
        if event == Event::StepEnd {
            self.warn(&firing.milestone.clock, sinks.reporter);
        }
        let (last, due) = self.due(&firing);
        let mut calls = Calls {
            milestone: Arc::new(firing.milestone),
            pair: firing.pair,
            batch: firing.batch,
            live: firing.live,
            taken: None,
            probes: Arc::default(),
            alone: firing.alone,
        };
        let mut jobs = Vec::new();
        for index in due {
            jobs.extend(self.call(index, &mut calls, sinks)?);
        }
        self.queue(jobs, sinks)?;
        self.finalise(&last, &mut calls, sinks)?;
        self.answer_signals(firing.before, &mut calls, sinks)
    }

    /// Calls the hooks that listen to what the hooks of this moment have emitted, in the order in which it was emitted. What they emit
    /// themselves comes after that. No hook can wait for itself: such experiments are refused.
    fn answer_signals(
        &mut self,
        before: &Clock,
        calls: &mut Calls,
        sinks: &mut Sinks,
    ) -> Result<(), RunError> {
        while let Some(signal) = self.signals.pop_front() {
            let milestone = Milestone {
                signal: Some(signal),
                step: calls.milestone.optimiser_step(),
                ..Milestone::clone(&calls.milestone)
            };
            let firing = Firing {
                milestone: milestone.clone(),
                before,
                pair: calls.pair,
                batch: calls.batch,
                live: calls.live,
                alone: calls.alone,
            };
            let (_, due) = self.due(&firing);
            let at_hand = std::mem::replace(&mut calls.milestone, Arc::new(milestone));
            let mut jobs = Vec::new();
            for index in due {
                jobs.extend(self.call(index, calls, sinks)?);
            }
            calls.milestone = at_hand;
            self.queue(jobs, sinks)?;
        }
        Ok(())
    }

    /// The hooks that are due: those that end the run, and all others.
    fn due(&mut self, firing: &Firing) -> (Vec<usize>, Vec<usize>) {
        let spent = self.spent();
        let event = firing.milestone.event;
        let (mut last, mut due) = (Vec::new(), Vec::new());
        for (index, entry) in self.entries.iter_mut().enumerate() {
            if event.ends_the_run() && entry.hears(&firing.milestone) {
                last.push(index);
            } else if entry.hears(&firing.milestone) || entry.is_due(firing, &self.extent, spent) {
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
        let job = Job {
            index,
            slot,
            call,
            since: Instant::now(),
        };
        if entry.runs == Runs::Background {
            entry.pending += 1;
            return Ok(Some(job));
        }
        let idle = self.worker.as_ref().is_none_or(Worker::is_idle);
        let done = work_inline(job, calls.live, calls.alone && idle);
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
            cost: Cost::default(),
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
}
