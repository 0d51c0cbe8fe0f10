//! What a run found, to read: one page with figures, and the same numbers side by side for several runs.

mod attribution;
mod chart;
pub mod gap;
pub mod mixing;
pub mod number;
mod page;
pub mod pooling;
pub mod provenance;
mod record;
mod sections;
mod table;
pub mod verdict;

pub use page::page;
pub use record::{At, Missing, Moment, RecordedContrast, RecordedError, RecordedHook, RecordedRun};

/// Writes the page on a run, `report.html`, into its directory.
///
/// # Errors
/// When the file cannot be written.
pub fn write_for(run: &RecordedRun) -> Result<(), crate::train::RecordError> {
    let path = run.path.join("report.html");
    let text = page(std::slice::from_ref(run));
    crate::atomic::write(&path, text.as_bytes())
        .map_err(|source| crate::train::RecordError::Io { path, source })
}
