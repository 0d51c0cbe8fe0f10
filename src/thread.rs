//! Threads, which a system short of memory does not start.

use std::error::Error;
use std::thread::{Builder, JoinHandle};

/// The system started no thread: there is no memory for its stack, or a limit of processes is reached.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "the system starts no thread for {name}: {reason}; free memory, or raise the limits of memory and of processes (`ulimit -v`, `ulimit -u`); --resume goes on from the last checkpoint"
)]
pub struct NoThread {
    name: &'static str,
    reason: String,
}

impl NoThread {
    /// The error of a thread for `name` that was not started because of `reason`.
    pub(crate) fn new(name: &'static str, reason: &dyn Error) -> Self {
        Self {
            name,
            reason: reason.to_string(),
        }
    }
}

/// Starts a thread that does `work`. `name` says what it is for, in errors and to the system.
///
/// # Errors
/// When the system starts no thread. `work` is then dropped.
pub(crate) fn start<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, NoThread> {
    let spawned = Builder::new().name(name.to_owned()).spawn(work);
    spawned.map_err(|error| NoThread::new(name, &error))
}

/// Starts the threads that kernels share. Without this the first kernel starts them, and panics where the system starts none.
///
/// # Errors
/// When the system starts no thread.
pub(crate) fn start_pool() -> Result<(), NoThread> {
    let Err(error) = rayon::ThreadPoolBuilder::new().build_global() else {
        return Ok(());
    };
    // Without a cause, they were started before.
    error
        .source()
        .map_or(Ok(()), |reason| Err(NoThread::new("kernels", reason)))
}
