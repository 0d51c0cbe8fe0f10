//! The interface to whoever watches a run: a progress bar, plain lines, or a test's trace.

use std::path::Path;
use std::sync::Arc;

use super::held::{Held, Next};
use crate::clock::Clock;
use crate::event::Event;
use crate::hook::{Milestone, Watch};

/// Is called for everything that happens in a run, in order. Its methods cannot fail, because a broken terminal must not end a run.
pub trait Reporter {
    /// An event has happened. `milestone` has what is known at that moment.
    fn event(&mut self, event: Event, milestone: &Milestone) {
        let _ = (event, milestone);
    }

    /// A hook was called (inline) or has finished (background), for the milestone of `step`, and took `seconds`.
    fn hook(&mut self, name: &str, step: u64, seconds: f64) {
        let _ = (name, step, seconds);
    }

    /// A message that a person should read at once.
    fn say(&mut self, line: &str) {
        let _ = line;
    }

    /// The callback for the progress of hooks' long measurements, if progress is shown.
    fn watch(&self) -> Option<Arc<Watch>> {
        None
    }

    /// The loop is waiting for background hooks. Called about ten times a second.
    fn waiting(&mut self) {}

    /// A checkpoint was saved at `path`.
    fn saved(&mut self, path: &Path) {
        let _ = path;
    }

    /// Whether the run stands still after the step that is done by `clock`. It is asked after every step.
    fn holds(&mut self, clock: &Clock) -> bool {
        let _ = clock;
        false
    }

    /// The run stands still. What it does next is asked again until it goes on or ends.
    fn held(&mut self, held: &Held) -> Next {
        let _ = held;
        Next::GoOn
    }
}

/// A reporter that shows nothing.
pub struct Silent;

impl Reporter for Silent {}
