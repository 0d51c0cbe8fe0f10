//! Probes: costly things that several hooks need at one milestone, computed once and shared.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Raised inside a probe when the hook that asked for it has used up its deadline.
#[derive(Debug, thiserror::Error)]
#[error("the hook's deadline of {0} s has passed")]
pub struct Stopped(pub u64);

type Shared = Arc<dyn Any + Send + Sync>;

/// What has been computed at one milestone, by name and settings.
#[derive(Default)]
pub struct Probes {
    done: Mutex<HashMap<String, Shared>>,
}

impl Probes {
    /// The value computed under `key` at this milestone, or else the one that `compute` gives, kept for the others.
    /// The key must name everything that the value depends on. A failure is not kept: the next hook tries again.
    ///
    /// # Errors
    /// Those of `compute`, and when the key was used for another type.
    pub fn get<T: Send + Sync + 'static>(
        &self,
        key: &str,
        compute: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<Arc<T>> {
        // Held while computing: a second hook that needs the same thing should wait for it, not compute it again.
        // A hook that panicked here has left the map as it was, so a poisoned lock is a good one.
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = done.get(key) {
            return value
                .clone()
                .downcast::<T>()
                .map_err(|_| anyhow::anyhow!("probe `{key}` is used for two different types"));
        }
        let value = Arc::new(compute()?);
        done.insert(key.to_owned(), value.clone());
        Ok(value)
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
