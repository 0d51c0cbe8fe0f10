//! The thread that writes a checkpoint while training goes on.

use std::path::PathBuf;
use std::thread::JoinHandle;

use crossbeam_channel::bounded;

use super::outcome::RunError;
use crate::thread;

/// The folder of a saved checkpoint, or why it could not be saved.
pub(super) type Saved = Result<PathBuf, RunError>;

/// Holds the thread that is saving a checkpoint, or the result of one that was saved without a thread, until it is taken.
#[derive(Default)]
pub(super) struct Saver {
    saving: Option<Saving>,
}

enum Saving {
    Thread(JoinHandle<Saved>),
    Done(Saved),
}

impl Saver {
    /// Runs `work`, which writes a checkpoint, in a thread of its own. Where the system starts no thread, it is run here: training waits,
    /// and the checkpoint is saved. Call [`Saver::wait`] first, so that there is at most one such thread.
    pub fn start<F: FnOnce() -> Saved + Send + 'static>(&mut self, work: F) {
        // A thread that is refused drops what it was to do. So the work is handed to it when it runs.
        let (hand, take) = bounded::<F>(1);
        let thread = thread::start("a checkpoint", move || {
            take.recv().map_or(Err(RunError::DeadSaver), |work| work())
        });
        self.saving = Some(match thread {
            Ok(thread) => {
                // When the thread has ended, its result says so.
                let _ = hand.send(work);
                Saving::Thread(thread)
            }
            Err(_) => Saving::Done(work()),
        });
    }

    /// Whether the thread is at work.
    pub fn is_at_work(&self) -> bool {
        matches!(&self.saving, Some(Saving::Thread(thread)) if !thread.is_finished())
    }

    /// Returns the result of the checkpoint that is being saved if its thread is done, without waiting.
    pub fn arrived(&mut self) -> Option<Saved> {
        if self.is_at_work() { None } else { self.wait() }
    }

    /// Waits until the checkpoint that is being saved is in place, and returns the result. `None` when nothing is being saved.
    pub fn wait(&mut self) -> Option<Saved> {
        Some(match self.saving.take()? {
            Saving::Thread(thread) => thread.join().unwrap_or(Err(RunError::DeadSaver)),
            Saving::Done(saved) => saved,
        })
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        // The run's folder must stay locked until the thread is done. Callers that need the result have taken it before.
        drop(self.wait());
    }
}
