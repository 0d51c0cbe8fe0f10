//! `text_interventions.json`: what was done to the text before the training, in counts and examples.

use serde_json::json;

use super::error::RecordError;
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
