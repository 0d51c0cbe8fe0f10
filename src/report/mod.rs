//! The report of a run: one page with figures, and the same numbers side by side for several runs.

mod attribution;
mod chart;
mod draft_positions;
pub mod export;
pub mod gap;
mod heat_map;
pub mod influence;
pub mod mixing;
pub mod number;
mod over_seeds;
mod page;
mod pooled_attribution;
mod pooled_heat_map;
mod pooled_positions;
mod pooled_rows;
pub mod pooling;
mod prompts;
pub mod provenance;
mod read;
mod record;
mod sections;
pub mod study;
mod table;
pub mod verdict;

use crate::record::RecordError;
use crate::record::layout::REPORT;
pub use draft_positions::{PositionInDraft, positions_in_draft};
pub use over_seeds::{LeftOut, left_out_of};
pub use page::page;
pub use pooled_attribution::{Effects, PooledAttribution, pooled_attributions};
pub use pooled_heat_map::{PooledCells, PooledHeatMap, pooled_heat_maps};
pub use pooled_positions::{PooledPosition, PooledPositions, pooled_positions};
pub use pooled_rows::{PooledRow, pooled_rows};
pub(crate) use record::dotted;
pub use record::{
    At, Missing, Moment, RecordedContrast, RecordedError, RecordedFile, RecordedHook, RecordedRun,
    name_of,
};

/// Writes the page on a run, `report.html`, into its directory.
///
/// # Errors
/// When the file cannot be written.
pub fn write_for(run: &RecordedRun) -> Result<(), RecordError> {
    let path = run.path.join(REPORT);
    let text = page(std::slice::from_ref(run));
    crate::atomic::write(&path, text.as_bytes()).map_err(|source| RecordError::Io { path, source })
}
