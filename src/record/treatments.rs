//! `text_interventions.json`: what was done to the text before the training, in counts and examples.

use std::path::Path;

use serde_json::json;

use super::error::{RecordError, Unusable};
use super::folder::RunDirectory;
use super::layout::TREATMENTS;
use crate::treatment::Account;

/// Writes what each treatment of the text did, in their order. Without a treatment there is no file.
///
/// # Errors
/// When it cannot be written.
pub fn write(directory: &RunDirectory, accounts: &[Account]) -> Result<(), RecordError> {
    if accounts.is_empty() {
        return Ok(());
    }
    directory.update(TREATMENTS, format!("{:#}\n", json!(accounts)).as_bytes())
}

/// Reads what each treatment of a run's text did. Without the file there was none.
///
/// # Errors
/// When the file cannot be read, or is not what a run writes.
pub fn read(run: &Path) -> Result<Vec<Account>, Unusable> {
    let path = run.join(TREATMENTS);
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("not what was done to a text: {error}");
            Unusable::new(&path, &message)
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Unusable::new(&path, &error)),
    }
}
