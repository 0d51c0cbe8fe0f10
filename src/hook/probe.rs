//! Probes: costly values that several hooks need at one milestone, computed once and shared.

use std::any::Any;
use std::cell::{Cell as Slot, RefCell};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// The error inside a probe when the hook that asked for it has exceeded its deadline.
#[derive(Debug, thiserror::Error)]
#[error("the hook's deadline of {0} s has passed")]
pub struct Stopped(pub u64);

type Shared = Arc<dyn Any + Send + Sync>;
/// A value, once it is computed. Its lock is held during the computation.
type Cell = Arc<Mutex<Option<Shared>>>;

thread_local! {
    /// The keys of the probes that this thread is computing, the outermost first.
    static UNDER_WAY: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static TIMES: Slot<ProbeTimes> = const { Slot::new(ProbeTimes::NONE) };
}

/// The time that a thread has spent on probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProbeTimes {
    /// Computing them. A probe that another one asks for is a part of that one.
    pub computing: Duration,
    /// Waiting for another thread that was computing them.
    pub waiting: Duration,
}

impl ProbeTimes {
    const NONE: Self = Self {
        computing: Duration::ZERO,
        waiting: Duration::ZERO,
    };

    /// The times of this thread since the last call of this function.
    pub fn take() -> Self {
        TIMES.replace(Self::NONE)
    }
}

/// The values computed at one milestone, by key.
#[derive(Default)]
pub struct Probes {
    cells: Mutex<HashMap<String, Cell>>,
}

impl Probes {
    /// Returns the value of `key` at this milestone. The first call computes it with `compute` and keeps it for the others. `compute` may
    /// ask for other probes. The key must name everything that the value depends on. A failure is not kept: the next hook tries again.
    ///
    /// # Errors
    /// Those of `compute`, and when the key was used for another type or when a probe asks for itself.
    pub fn get<T: Send + Sync + 'static>(
        &self,
        key: &str,
        compute: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<Arc<T>> {
        let asks_for_itself = UNDER_WAY.with_borrow(|keys| keys.iter().any(|one| one == key));
        anyhow::ensure!(!asks_for_itself, "probe `{key}` asks for itself");
        // A panic of a hook leaves the map and its cells intact, so a poisoned lock can be used.
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let cell = cells.entry(key.to_owned()).or_default().clone();
        drop(cells);
        // Held during the computation, so that a second hook with the same key waits and does not compute it again.
        let mut value = locked(&cell);
        if let Some(value) = &*value {
            return value
                .clone()
                .downcast::<T>()
                .map_err(|_| anyhow::anyhow!("probe `{key}` is used for two different types"));
        }
        let computed = {
            let _under_way = UnderWay::of(key);
            Arc::new(compute()?)
        };
        *value = Some(computed.clone());
        Ok(computed)
    }
}

/// Locks the value of a probe. Where another thread is computing it, the wait is counted as one, outside of other probes.
fn locked(cell: &Mutex<Option<Shared>>) -> MutexGuard<'_, Option<Shared>> {
    match cell.try_lock() {
        Ok(value) => value,
        Err(TryLockError::Poisoned(value)) => value.into_inner(),
        Err(TryLockError::WouldBlock) => {
            let began = Instant::now();
            let value = cell.lock().unwrap_or_else(PoisonError::into_inner);
            if UNDER_WAY.with_borrow(Vec::is_empty) {
                let mut times = TIMES.get();
                times.waiting += began.elapsed();
                TIMES.set(times);
            }
            value
        }
    }
}

/// Marks a probe as being computed by this thread until it is dropped, also by a panic.
struct UnderWay {
    /// When it began, for one that no other probe has asked for.
    began: Option<Instant>,
}

impl UnderWay {
    fn of(key: &str) -> Self {
        UNDER_WAY.with_borrow_mut(|keys| {
            let began = keys.is_empty().then(Instant::now);
            keys.push(key.to_owned());
            Self { began }
        })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        UNDER_WAY.with_borrow_mut(|keys| keys.pop());
        if let Some(began) = self.began {
            let mut times = TIMES.get();
            times.computing += began.elapsed();
            TIMES.set(times);
        }
    }
}

/// The time at which a hook must be done, and the limit in seconds for the message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    pub at: Instant,
    pub seconds: u64,
}

impl Deadline {
    pub fn check(this: Option<Self>) -> Result<(), Stopped> {
        match this {
            Some(deadline) if Instant::now() > deadline.at => Err(Stopped(deadline.seconds)),
            _ => Ok(()),
        }
    }
}
