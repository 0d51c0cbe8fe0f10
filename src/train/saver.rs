//! The thread that writes a checkpoint while training goes on.

use std::path::PathBuf;
use std::thread::JoinHandle;

use super::outcome::RunError;

/// The folder of a saved checkpoint, or why it could not be saved.
pub(super) type Saved = Result<PathBuf, RunError>;

/// Holds the thread that is saving a checkpoint, if there is one.
#[derive(Default)]
pub(super) struct Saver {
    thread: Option<JoinHandle<Saved>>,
}

impl Saver {
    /// Runs `work`, which writes a checkpoint, in a thread of its own. Call [`Saver::wait`] first, so that there is at most one such
    /// thread.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub fn start(&mut self, work: impl FnOnce() -> Saved + Send + 'static) -> Result<(), RunError> {
        let thread = std::thread::Builder::new().name("checkpoint".to_owned());
        self.thread = Some(thread.spawn(work).map_err(RunError::Thread)?);
        Ok(())
    }

    /// Whether the thread is at work.
    pub fn is_at_work(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }

    /// Returns the result of the checkpoint that is being saved if its thread is done, without waiting.
    pub fn arrived(&mut self) -> Option<Saved> {
        if self.thread.as_ref()?.is_finished() {
            self.wait()
        } else {
            None
        }
    }

    /// Waits until the checkpoint that is being saved is in place, and returns the result. `None` when nothing is being saved.
    pub fn wait(&mut self) -> Option<Saved> {
        let thread = self.thread.take()?;
        Some(thread.join().unwrap_or(Err(RunError::DeadSaver)))
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        // The run's folder must stay locked until the thread is done. Callers that need the result have taken it before.
        drop(self.wait());
    }
}
