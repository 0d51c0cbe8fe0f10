//! The thread that runs background hooks on snapshots of the pair, in the order in which their milestones came.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded, select, unbounded};

use super::outcome::RunError;
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
    pub start: Option<Arc<Pair>>,
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

/// Calls a method of a hook, with its panics turned into errors. A hook that panicked may be called again when its policy is to retry; its own
/// state is its own affair.
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

/// Calls code of a hook; a panic in it is an error.
pub(crate) fn caught<T>(code: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let outside = IN_HOOK.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(code));
    IN_HOOK.set(outside);
    outcome.unwrap_or_else(|panic| anyhow::bail!("panicked: {}", panic_text(panic.as_ref())))
}

/// What a hook sees in this call.
pub(super) fn context<'a>(call: &'a Call, gradients: &'a [(Role, Gradients<'a>)]) -> Context<'a> {
    // A deadline beyond what the clock can tell never comes.
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
        gradients,
        rng: stream(seed, Purpose::Hook, name_hash(&call.name), step),
        deadline,
        watch: call.watch.as_deref(),
        output: Output::default(),
    }
}

/// Calls a hook at its milestone, with its panics and its deadline turned into errors.
pub(super) fn call(job: &Call, gradients: &[(Role, Gradients)]) -> Result<Output, String> {
    guarded(&job.hook, |hook| {
        let mut context = context(job, gradients);
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
                    let finished = self.results.recv();
                    self.pending -= 1;
                    done(finished.map_err(|_| RunError::DeadWorker)?)?;
                }
                Err(TrySendError::Disconnected(_)) => return Err(RunError::DeadWorker),
            }
        }
    }

    /// Hands over what has finished, without waiting.
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

    /// Waits for the next one; None when nothing is under way. `tick` is called about every 100 ms of waiting.
    pub fn next(&mut self, mut tick: impl FnMut()) -> Result<Option<Done>, RunError> {
        while self.pending > 0 {
            select! {
                recv(self.results) -> finished => {
                    self.pending -= 1;
                    return finished.map(Some).map_err(|_| RunError::DeadWorker);
                }
                default(Duration::from_millis(100)) => tick(),
            }
        }
        Ok(None)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.milestones = None;
        if let Some(thread) = self.thread.take() {
            // A worker that died has shown itself by its missing results.
            let _ = thread.join();
        }
    }
}
