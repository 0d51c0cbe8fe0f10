//! What must be true, besides its cadence, for a hook to be called.

use std::sync::Arc;

use super::worker::caught;
use crate::condition::{Condition, Memory, Watched};
use crate::hook::{Predicate, Seen};

/// The conditions of a hook.
pub(super) struct Gate {
    /// That of the experiment.
    when: Option<Watched>,
    /// That of the hook's kind.
    wanted: Option<Arc<Predicate>>,
    /// Whether the hook is called only once.
    pub once: bool,
    /// The step of the call in which the hook ended its calls.
    pub detached: Option<u64>,
}

impl Gate {
    pub fn new(when: Option<Condition>, wanted: Option<Arc<Predicate>>, once: bool) -> Self {
        Self {
            when: when.map(Watched::new),
            wanted,
            once,
            detached: None,
        }
    }

    /// Sees a value that was recorded; `step` is the optimiser step that it belongs to.
    pub fn see(&mut self, step: u64, tag: &str, value: f64) {
        if let Some(when) = &mut self.when {
            when.see(step, tag, value);
        }
    }

    /// Whether all conditions are true at a moment.
    ///
    /// # Errors
    /// When the kind's condition panics.
    pub fn is_open(&self, seen: &Seen) -> Result<bool, String> {
        let done = seen.milestone().clock.step.0;
        if self.when.as_ref().is_some_and(|when| !when.holds(done)) {
            return Ok(false);
        }
        let Some(wanted) = &self.wanted else {
            return Ok(true);
        };
        caught(|| Ok(wanted(seen))).map_err(|error| format!("the condition of its kind {error}"))
    }

    /// What the experiment's condition remembers, for a checkpoint.
    pub fn memory(&self) -> Memory {
        let when = self.when.as_ref();
        when.map_or_else(Memory::default, |when| when.memory().clone())
    }

    /// Takes back what a checkpoint has kept.
    pub fn restore(&mut self, memory: Memory, detached: Option<u64>) {
        if let Some(when) = &mut self.when {
            when.restore(memory);
        }
        self.detached = detached;
    }
}
