//! The lock of a folder, which lets only one process write into it.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::error::RecordError;
use super::layout::LOCK;

/// Locks a folder for this process as long as the returned file lives. The system releases the lock when the process dies.
///
/// # Errors
/// When another process has the lock, or the folder cannot be written.
pub fn lock(folder: &Path) -> Result<File, RecordError> {
    let name = folder.join(LOCK);
    let file = File::options().create(true).append(true).open(&name);
    let file = file.map_err(|source| RecordError::io(&name, source))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(RecordError::Busy {
            path: folder.to_owned(),
        }),
        // Some network file systems have no locks; there the folder is used without one.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}
