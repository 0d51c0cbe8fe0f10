//! The thread that runs background hooks on snapshots of the pair, in the order of their milestones.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded, select, unbounded};

use super::outcome::RunError;
use super::recorder::Slot;
use crate::hook::{Batch, Context, Deadline, Hook, Live, Milestone, Output, Probes, Scene, Watch};
use crate::model::Pair;
use crate::random::{Purpose, name_hash, stream};

/// A hook that the loop and the worker can both call. Each call holds the lock.
pub(super) type SharedHook = Arc<Mutex<Box<dyn Hook>>>;

/// A call to make, and the place where its result belongs.
pub(super) struct Job {
    pub index: usize,
    pub slot: Slot,
    pub call: Call,
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
    pub took: Duration,
}

thread_local! {
    static IN_HOOK: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside a hook. A panic there is caught and reported, so the panic hook prints nothing.
pub fn in_hook() -> bool {
    IN_HOOK.get()
}

/// Makes a job's call and measures its time.
pub(super) fn work(job: Job, live: Live) -> Done {
    let start = Instant::now();
    Done {
        index: job.index,
        slot: job.slot,
        milestone: job.call.milestone.clone(),
        result: call(&job.call, live),
        took: start.elapsed(),
    }
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
    let outside = IN_HOOK.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(code));
    IN_HOOK.set(outside);
    outcome.unwrap_or_else(|panic| anyhow::bail!("panicked: {}", panic_text(panic.as_ref())))
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
}

impl Worker {
    pub fn start(queue: usize) -> std::io::Result<Self> {
        let (milestones, inbox) = bounded::<Vec<Job>>(queue);
        let (outbox, results) = unbounded();
        let thread = std::thread::Builder::new()
            .name("hooks".to_owned())
            .spawn(move || {
                for job in inbox.into_iter().flatten() {
                    if outbox.send(work(job, Live::NONE)).is_err() {
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
                    let finished = self.results.recv();
                    self.pending -= 1;
                    done(finished.map_err(|_| RunError::DeadWorker)?)?;
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

    /// Waits for the next finished job. None when no job is pending. `tick` is called about every 100 ms.
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
            // If the worker has died, its missing results were reported as an error.
            let _ = thread.join();
        }
    }
}
