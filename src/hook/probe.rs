//! Probes: costly things that several hooks need at one milestone, computed once and shared.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Raised inside a probe when the hook that asked for it has used up its deadline.
#[derive(Debug, thiserror::Error)]
#[error("the hook's deadline of {0} s has passed")]
pub struct Stopped(pub u64);

type Shared = Arc<dyn Any + Send + Sync>;
/// A value once it is there. Its lock is held while it is computed.
type Cell = Arc<Mutex<Option<Shared>>>;

thread_local! {
    /// The probes that this thread is computing, the outermost first.
    static UNDER_WAY: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What has been computed at one milestone, by name and settings.
#[derive(Default)]
pub struct Probes {
    cells: Mutex<HashMap<String, Cell>>,
}

impl Probes {
    /// The value computed under `key` at this milestone, or else the one that `compute` gives, kept for the others. `compute` may ask for other
    /// probes. The key must name everything that the value depends on. A failure is not kept: the next hook tries again.
    ///
    /// # Errors
    /// Those of `compute`; when the key was used for another type; when a probe asks for itself.
    pub fn get<T: Send + Sync + 'static>(
        &self,
        key: &str,
        compute: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<Arc<T>> {
        let asks_for_itself = UNDER_WAY.with_borrow(|keys| keys.iter().any(|one| one == key));
        anyhow::ensure!(!asks_for_itself, "probe `{key}` asks for itself");
        // A hook that panicked has left the map, and its cell, as they were, so a poisoned lock is a good one.
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let cell = cells.entry(key.to_owned()).or_default().clone();
        drop(cells);
        // Held while computing: a second hook that needs the same thing waits for it and does not compute it again.
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

/// A probe that this thread computes as long as this lives, also when it panics.
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

/// When a hook must be done.
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
