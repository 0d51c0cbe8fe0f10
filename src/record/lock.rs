//! The lock of a folder that one process writes into.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::error::RecordError;
use super::layout::LOCK;

/// Takes a folder for this process alone, as long as what is returned lives; the system forgets it when the process dies.
///
/// # Errors
/// When another process has it, or nothing can be written there.
pub fn lock(folder: &Path) -> Result<File, RecordError> {
    let name = folder.join(LOCK);
    let file = File::options().create(true).append(true).open(&name);
    let file = file.map_err(|source| RecordError::io(&name, source))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(RecordError::Busy {
            path: folder.to_owned(),
        }),
        // Some network file systems have no locks: then it is as it would be without.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}
