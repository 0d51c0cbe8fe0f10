//! The thread that runs background hooks on snapshots of the pair, in the order of their milestones.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded, select, unbounded};

use super::costed::costed;
use super::outcome::RunError;
use super::recorder::Slot;
use crate::device::{self, failed::Stopped};
use crate::foreign::{Reported, first_lines};
use crate::hook::{
    Batch, Context, Cost, Deadline, Hook, Live, Milestone, Output, Probes, Scene, Watch,
};
use crate::memory;
use crate::model::{Pair, Role};
use crate::random::{Purpose, name_hash, stream};
use crate::thread::{self, NoThread};

/// A hook that the loop and the worker can both call. Each call holds the lock.
pub(super) type SharedHook = Arc<Mutex<Box<dyn Hook>>>;

/// A call to make, and the place where its result belongs.
pub(super) struct Job {
    pub index: usize,
    pub slot: Slot,
    pub call: Call,
    /// The moment of its milestone.
    pub since: Instant,
}

/// Everything that a call of a hook needs.
pub(super) struct Call {
    pub name: Arc<str>,
    pub hook: SharedHook,
    pub milestone: Arc<Milestone>,
    pub pair: Arc<Pair>,
    pub start: Option<Arc<Pair>>,
    pub probes: Arc<Probes>,
    pub batch: Option<Arc<Batch>>,
    pub scene: Arc<Scene>,
    pub deadline: Option<u64>,
    pub watch: Option<Arc<Watch>>,
}

/// The result of a call.
pub(super) struct Done {
    pub index: usize,
    pub slot: Slot,
    pub milestone: Arc<Milestone>,
    pub result: Result<Output, String>,
    pub cost: Cost,
}

/// Makes a job's call in the loop. `alone` says that no other thread of the run is at work, so that the memory it takes is the call's.
pub(super) fn work_inline(job: Job, live: Live, alone: bool) -> Done {
    let before = if alone { memory::peak() } else { None };
    let (result, mut cost) = call_inline(&job.call, live);
    cost.training_waited = cost.took + cost.waited;
    cost.peak_rise = before.and_then(|before| Some(memory::peak()?.saturating_sub(before)));
    done(job, result, cost)
}

/// Makes a job's call beside the training, which is at `step`. It moves `weights` bytes of weights in a step.
fn work_beside(job: Job, step: &AtomicU64, weights: u64) -> Done {
    let queued = job.since.elapsed();
    let (result, mut cost) = costed(&|| Duration::ZERO, || call(&job.call, Live::NONE));
    cost.waited += queued;
    if step.load(Ordering::Relaxed) > job.call.milestone.clock.step.0 {
        cost.held_twice = weights;
    }
    done(job, result, cost)
}

fn done(job: Job, result: Result<Output, String>, cost: Cost) -> Done {
    Done {
        index: job.index,
        slot: job.slot,
        milestone: job.call.milestone,
        result,
        cost,
    }
}

/// Calls a hook between two waits for the devices of its pair: what they had still to do for others is no time of the hook's, and what the
/// hook leaves to them is.
pub(super) fn call_inline(call_of: &Call, live: Live) -> (Result<Output, String>, Cost) {
    let devices = || {
        let devices = Role::BOTH.map(|role| call_of.pair.get(role).device());
        devices.iter().map(device::wait_for).sum()
    };
    costed(&devices, || call(call_of, live))
}

/// Calls a method of a hook. A panic becomes an error. A hook that panicked may be called again when its `on_error` is `retry`, with its
/// state as the panic left it.
pub(super) fn guarded<T>(
    hook: &SharedHook,
    method: impl FnOnce(&mut dyn Hook) -> anyhow::Result<T>,
) -> Result<T, String> {
    let called = caught(|| {
        let mut hook = hook.lock().unwrap_or_else(PoisonError::into_inner);
        method(&mut **hook)
    });
    called.map_err(|error| format!("{error:#}"))
}

/// Calls code of a hook. A panic becomes an error.
pub(crate) fn caught<T>(code: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let reported = Reported::begin();
    let outcome = catch_unwind(AssertUnwindSafe(code));
    drop(reported);
    outcome.unwrap_or_else(|panic| match Stopped::of_panic(panic.as_ref()) {
        Some(Stopped::OutOfMemory(error)) => Err(error.into()),
        Some(Stopped::Failed(error)) => Err(error.into()),
        None => anyhow::bail!("panicked: {}", first_lines(panic_text(panic.as_ref()))),
    })
}

/// The context that a hook gets in this call.
pub(super) fn context<'a>(call: &'a Call, live: Live<'a>) -> Context<'a> {
    // A deadline that the clock cannot represent never comes.
    let deadline = call.deadline.and_then(|seconds| {
        let at = Instant::now().checked_add(Duration::from_secs(seconds))?;
        Some(Deadline { at, seconds })
    });
    let (seed, step) = (call.scene.seed, call.milestone.step);
    Context {
        milestone: &call.milestone,
        pair: &call.pair,
        start: call.start.as_deref(),
        scene: &call.scene,
        probes: &call.probes,
        batch: call.batch.as_deref(),
        live,
        rng: stream(seed, Purpose::Hook, name_hash(&call.name), step),
        deadline,
        watch: call.watch.as_deref(),
        output: Output::default(),
    }
}

/// Calls a hook at its milestone. A panic and an exceeded deadline become errors.
pub(super) fn call(job: &Call, live: Live) -> Result<Output, String> {
    guarded(&job.hook, |hook| {
        let mut context = context(job, live);
        hook.at_milestone(&mut context)?;
        Deadline::check(context.deadline)?;
        Ok(context.output)
    })
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("with something that is not text")
}

/// The thread and its two channels. The channel of milestones, each with its jobs, is bounded: training waits rather than keep more and
/// more snapshots. The channel of results needs no bound, since there is at most one per job.
pub(super) struct Worker {
    milestones: Option<Sender<Vec<Job>>>,
    results: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
    /// Jobs that were sent and have no result yet.
    pending: usize,
    /// The optimiser steps that the training has done.
    step: Arc<AtomicU64>,
}

impl Worker {
    /// Starts the thread. `queue` milestones may wait. A step of the training moves `weights` bytes of weights.
    pub fn start(queue: usize, weights: u64) -> Result<Self, NoThread> {
        let step = Arc::new(AtomicU64::new(0));
        let now = step.clone();
        let (milestones, inbox) = bounded::<Vec<Job>>(queue);
        let (outbox, results) = unbounded();
        let thread = thread::start("hooks", move || {
            for job in inbox.into_iter().flatten() {
                if outbox.send(work_beside(job, &now, weights)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self {
            milestones: Some(milestones),
            results,
            thread: Some(thread),
            pending: 0,
            step,
        })
    }

    /// Tells the thread how many steps the training has done.
    pub fn at_step(&self, step: u64) {
        self.step.store(step, Ordering::Relaxed);
    }

    /// Whether it has nothing to do.
    pub fn is_idle(&self) -> bool {
        self.pending == 0
    }

    /// Queues the jobs of a milestone. While the queue is full, passes finished ones to `done`.
    pub fn send(
        &mut self,
        jobs: Vec<Job>,
        mut done: impl FnMut(Done) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let Some(milestones) = self.milestones.clone() else {
            return Err(RunError::DeadWorker);
        };
        let count = jobs.len();
        let mut jobs = jobs;
        loop {
            match milestones.try_send(jobs) {
                Ok(()) => {
                    self.pending += count;
                    return Ok(());
                }
                Err(TrySendError::Full(full)) => {
                    jobs = full;
                    if let Some(finished) = self.next(|| ())? {
                        done(finished)?;
                    }
                }
                Err(TrySendError::Disconnected(_)) => return Err(RunError::DeadWorker),
            }
        }
    }

    /// Passes finished jobs to `done`, without waiting.
    pub fn drain(
        &mut self,
        mut done: impl FnMut(Done) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        loop {
            match self.results.try_recv() {
                Ok(finished) => {
                    self.pending -= 1;
                    done(finished)?;
                }
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(RunError::DeadWorker),
            }
        }
    }

    /// Waits for the next finished job, and adds that time to what it cost: the thread makes one call after the other, so it is this one
    /// that is waited for. None when no job is pending. `tick` is called about every 100 ms.
    pub fn next(&mut self, mut tick: impl FnMut()) -> Result<Option<Done>, RunError> {
        if self.pending == 0 {
            return Ok(None);
        }
        if let Ok(finished) = self.results.try_recv() {
            self.pending -= 1;
            return Ok(Some(finished));
        }
        let start = Instant::now();
        loop {
            select! {
                recv(self.results) -> finished => {
                    self.pending -= 1;
                    let mut finished = finished.map_err(|_| RunError::DeadWorker)?;
                    finished.cost.training_waited += start.elapsed();
                    return Ok(Some(finished));
                }
                default(Duration::from_millis(100)) => tick(),
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.milestones = None;
        if let Some(thread) = self.thread.take() {
            // If the worker has died, its missing results were reported as an error.
            let _ = thread.join();
        }
    }
}
