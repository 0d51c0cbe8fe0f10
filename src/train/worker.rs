//! The thread that runs background hooks on snapshots of the pair, in the order in which their milestones came.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};

use super::recorder::Slot;
use crate::hook::{Context, Deadline, Gradients, Hook, Milestone, Output, Probes, Scene, Watch};
use crate::model::{Pair, Role};
use crate::random::{Purpose, name_hash, stream};

/// A hook that loop and worker can both reach; each call holds the lock.
pub(super) type SharedHook = Arc<Mutex<Box<dyn Hook>>>;

/// One call to make, and where its answer belongs.
pub(super) struct Job {
    pub index: usize,
    pub slot: Slot,
    pub call: Call,
}

/// One call of a hook.
pub(super) struct Call {
    pub name: Arc<str>,
    pub hook: SharedHook,
    pub milestone: Arc<Milestone>,
    pub pair: Arc<Pair>,
    pub start: Arc<Pair>,
    pub probes: Arc<Probes>,
    pub scene: Arc<Scene>,
    pub deadline: Option<u64>,
    pub watch: Option<Arc<Watch>>,
}

/// What came of it.
pub(super) struct Done {
    pub index: usize,
    pub slot: Slot,
    pub milestone: Arc<Milestone>,
    pub result: Result<Output, String>,
    pub took: Duration,
}

thread_local! {
    static IN_HOOK: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside a hook: a panic there is caught, reported and handled, and should not be printed a second time.
pub fn in_hook() -> bool {
    IN_HOOK.get()
}

/// Makes a job's call.
pub(super) fn work(job: Job, gradients: &[(Role, Gradients)]) -> Done {
    let start = Instant::now();
    Done {
        index: job.index,
        slot: job.slot,
        milestone: job.call.milestone.clone(),
        result: call(&job.call, gradients),
        took: start.elapsed(),
    }
}

/// What a hook sees in this call.
pub(super) fn context<'a>(call: &'a Call, gradients: &'a [(Role, Gradients<'a>)]) -> Context<'a> {
    // A deadline that no clock can show never passes.
    let deadline = call.deadline.and_then(|seconds| {
        let at = Instant::now().checked_add(Duration::from_secs(seconds))?;
        Some(Deadline { at, seconds })
    });
    let (seed, step) = (call.scene.seed, call.milestone.step);
    Context {
        milestone: &call.milestone,
        pair: &call.pair,
        start: &call.start,
        scene: &call.scene,
        probes: &call.probes,
        gradients,
        rng: stream(seed, Purpose::Hook, name_hash(&call.name), step),
        deadline,
        watch: call.watch.as_deref(),
        output: Output::default(),
    }
}

/// Calls a hook, with its panics and its deadline turned into errors.
pub(super) fn call(job: &Call, gradients: &[(Role, Gradients)]) -> Result<Output, String> {
    let mut context = context(job, gradients);
    let deadline = context.deadline;
    // A hook that panicked may be called again when its policy is to retry; its own state is its own affair.
    let mut hook = job.hook.lock().unwrap_or_else(PoisonError::into_inner);
    IN_HOOK.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(|| hook.at_milestone(&mut context)));
    IN_HOOK.set(false);
    match outcome {
        Ok(Ok(())) => match Deadline::check(deadline) {
            Ok(()) => Ok(std::mem::take(&mut context.output)),
            Err(stopped) => Err(stopped.to_string()),
        },
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(panic) => Err(format!("panicked: {}", panic_text(panic.as_ref()))),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("with something that is not text")
}

/// The thread and its two channels. Milestones, each with its jobs, are bounded: training waits rather than keep ever more snapshots. Results
/// need no bound of their own, there is at most one for each job.
pub(super) struct Worker {
    milestones: Option<Sender<Vec<Job>>>,
    results: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
    /// Jobs sent and not yet answered.
    pending: usize,
}

impl Worker {
    pub fn start(queue: usize) -> std::io::Result<Self> {
        let (milestones, inbox) = bounded::<Vec<Job>>(queue);
        let (outbox, results) = unbounded();
        let thread = std::thread::Builder::new()
            .name("hooks".to_owned())
            .spawn(move || {
                for job in inbox.into_iter().flatten() {
                    if outbox.send(work(job, &[])).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            milestones: Some(milestones),
            results,
            thread: Some(thread),
            pending: 0,
        })
    }

    /// Queues the jobs of a milestone; while the queue is full, hands finished ones to `done`.
    pub fn send<E>(
        &mut self,
        jobs: Vec<Job>,
        mut done: impl FnMut(Done) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(milestones) = &self.milestones else {
            return Ok(());
        };
        let count = jobs.len();
        let mut jobs = Some(jobs);
        while let Some(next) = jobs.take() {
            match milestones.try_send(next) {
                Ok(()) => self.pending += count,
                Err(full) => {
                    jobs = Some(full.into_inner());
                    let Ok(finished) = self.results.recv() else {
                        return Ok(());
                    };
                    self.pending -= 1;
                    done(finished)?;
                }
            }
        }
        Ok(())
    }

    /// Hands over what has finished, without waiting.
    pub fn drain<E>(&mut self, mut done: impl FnMut(Done) -> Result<(), E>) -> Result<(), E> {
        while let Ok(finished) = self.results.try_recv() {
            self.pending -= 1;
            done(finished)?;
        }
        Ok(())
    }

    /// Waits for the next one; None when nothing is under way. `tick` is called about every 100 ms of waiting.
    pub fn next(&mut self, mut tick: impl FnMut()) -> Option<Done> {
        while self.pending > 0 {
            select! {
                recv(self.results) -> finished => {
                    self.pending -= 1;
                    return finished.ok();
                }
                default(Duration::from_millis(100)) => tick(),
            }
        }
        None
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.milestones = None;
        if let Some(thread) = self.thread.take() {
            // A worker that panicked outside a hook has already shown itself by its missing results.
            let _ = thread.join();
        }
    }
}
