//! What a run found, to read: one page with figures, and the same numbers side by side for several runs.

mod attribution;
mod chart;
pub mod gap;
pub mod number;
mod page;
mod record;
mod sections;
pub mod verdict;

use std::path::Path;

pub use page::page;
pub use record::{RecordedError, RecordedPair, RecordedRun};

/// Reads a run and writes its `report.html` into its directory.
///
/// # Errors
/// When the run cannot be read or the file cannot be written.
pub fn write_for(run: &Path) -> anyhow::Result<()> {
    let text = page(&[RecordedRun::read(run)?]);
    let path = run.join("report.html");
    crate::atomic::write(&path, text.as_bytes())
        .map_err(|source| crate::train::RecordError::Io { path, source })?;
    Ok(())
}
