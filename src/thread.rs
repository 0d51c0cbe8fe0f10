//! Threads, which a system short of memory does not start.

use std::error::Error;
use std::thread::{Builder, JoinHandle};

use crate::foreign::{Reported, depth};

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

/// Does `work` in the threads that kernels share. From outside, each of its many short parallel loops would wake them and wait for them. Who reports the
/// panics of this thread reports those of `work`.
pub(crate) fn in_pool<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let depth = depth();
    rayon::scope(|_| {
        let _reported = Reported::with(depth);
        work()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foreign::{call, is_reported};

    #[test]
    fn a_panic_in_the_pool_is_reported_by_whom_it_works_for() {
        let reported = || in_pool(|| is_reported(&"a panic"));
        assert_eq!(call(reported), Ok(true));
        assert!(!reported());
        let failed: Result<(), String> = call(|| in_pool(|| panic!("no")));
        assert_eq!(failed, Err("no".to_owned()));
        assert!(!reported());
    }
}
