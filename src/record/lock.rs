//! The lock of a folder, which lets only one process write into it.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use super::error::RecordError;
use super::layout::LOCK;

/// How long a lock that is held is tried again. A process that is being started has a copy of the lock of the one that starts it, until its
/// own program begins.
const PATIENCE: Duration = Duration::from_millis(300);

/// Locks a folder for this process as long as the returned file lives. The system releases the lock when the process dies.
///
/// # Errors
/// When another process has the lock for longer than 0.3 seconds, or the folder cannot be written.
pub fn lock(folder: &Path) -> Result<File, RecordError> {
    let name = folder.join(LOCK);
    let file = File::options().create(true).append(true).open(&name);
    let file = file.map_err(|source| RecordError::io(&name, source))?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(RecordError::Busy {
                    path: folder.to_owned(),
                });
            }
            // Some network file systems have no locks; there the folder is used without one.
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(file),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_lock_that_is_soon_gone_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path()).unwrap();
        let refused = lock(folder.path());
        assert!(matches!(refused, Err(RecordError::Busy { .. })));
        // As a process has it that is being started.
        let copy = held.try_clone().unwrap();
        let started = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(copy);
        });
        drop(held);
        assert!(lock(folder.path()).is_ok());
        started.join().unwrap();
    }
}
