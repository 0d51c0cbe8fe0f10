//! Whoever watches the run: a progress bar, plain lines, a test's trace.

use std::path::Path;
use std::sync::Arc;

use crate::event::Event;
use crate::hook::{Milestone, Watch};

/// Told of everything that happens, in order. Must not fail: a broken terminal is no reason to lose a run.
pub trait Reporter {
    /// An event, with what is known at that moment.
    fn event(&mut self, event: Event, milestone: &Milestone) {
        let _ = (event, milestone);
    }

    /// A hook was called (inline) or has finished (background) for a milestone.
    fn hook(&mut self, name: &str, step: u64, seconds: f64) {
        let _ = (name, step, seconds);
    }

    /// Something that a person should read at once.
    fn say(&mut self, line: &str) {
        let _ = line;
    }

    /// Whom the hooks tell how far their long measurements are: what is being done, how many prompts are done, how many there are.
    fn watch(&self) -> Option<Arc<Watch>> {
        None
    }

    /// The loop waits for background hooks; called about ten times a second.
    fn waiting(&mut self) {}

    /// A checkpoint lies at `path`.
    fn saved(&mut self, path: &Path) {
        let _ = path;
    }
}

/// Says nothing.
pub struct Silent;

impl Reporter for Silent {}
