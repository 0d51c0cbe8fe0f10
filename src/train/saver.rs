//! The thread that brings a checkpoint to the disk while training goes on: the disk takes longer than everything else about it.

use std::path::PathBuf;
use std::thread::JoinHandle;

use super::outcome::RunError;

/// What came of a checkpoint: where it lies.
pub(super) type Saved = Result<PathBuf, RunError>;

/// At most one checkpoint on its way.
#[derive(Default)]
pub(super) struct Saver {
    thread: Option<JoinHandle<Saved>>,
}

impl Saver {
    /// Has `work` done, which brings a checkpoint to the disk and puts it in place. Only after [`Saver::wait`].
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(&mut self, work: impl FnOnce() -> Saved + Send + 'static) -> Result<(), RunError> {
        let thread = std::thread::Builder::new().name("checkpoint".to_owned());
        self.thread = Some(thread.spawn(work).map_err(RunError::Thread)?);
        Ok(())
    }

    /// What came of the checkpoint on its way, if it has arrived.
    pub fn arrived(&mut self) -> Option<Saved> {
        if self.thread.as_ref()?.is_finished() {
            self.wait()
        } else {
            None
        }
    }

    /// Waits for the checkpoint on its way, if there is one.
    pub fn wait(&mut self) -> Option<Saved> {
        let thread = self.thread.take()?;
        Some(thread.join().unwrap_or(Err(RunError::DeadSaver)))
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        // Whoever asks for it has had it before; the folder stays locked until here.
        drop(self.wait());
    }
}
