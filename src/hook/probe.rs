//! Probes: costly values that several hooks need at one milestone, computed once and shared.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

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
        let mut value = cell.lock().unwrap_or_else(PoisonError::into_inner);
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

/// Marks a probe as being computed by this thread until it is dropped, also by a panic.
struct UnderWay;

impl UnderWay {
    fn of(key: &str) -> Self {
        UNDER_WAY.with_borrow_mut(|keys| keys.push(key.to_owned()));
        Self
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        UNDER_WAY.with_borrow_mut(|keys| keys.pop());
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
