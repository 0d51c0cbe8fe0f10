//! How many passes of an estimate are done.

use std::cell::Cell;

/// Counts passes, and asks before each whether to go on.
pub(super) struct Passes<'a> {
    done: Cell<usize>,
    all: usize,
    progress: &'a dyn Fn(usize, usize) -> anyhow::Result<()>,
}

impl<'a> Passes<'a> {
    pub(super) fn new(
        all: usize,
        progress: &'a dyn Fn(usize, usize) -> anyhow::Result<()>,
    ) -> Self {
        Self {
            done: Cell::new(0),
            all,
            progress,
        }
    }

    /// Asks whether to go on.
    pub(super) fn ask(&self) -> anyhow::Result<()> {
        (self.progress)(self.done.get(), self.all)
    }

    /// Asks whether to go on, and counts the pass that follows.
    pub(super) fn next(&self) -> anyhow::Result<()> {
        self.ask()?;
        self.done.set(self.done.get() + 1);
        Ok(())
    }
}
