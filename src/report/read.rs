//! A run with the results computed from its records, for the parts of its report.

use super::gap::{Course, Gap, Incomplete, all_gaps, course};
use super::record::{RecordedContrast, RecordedRun};

/// A run with the results computed from its records.
pub(super) struct Read<'a> {
    pub run: &'a RecordedRun,
    pub contrasts: Vec<ReadContrast<'a>>,
}

/// A contrast of a run with the results computed from its records.
pub(super) struct ReadContrast<'a> {
    pub contrast: &'a RecordedContrast,
    pub course: Option<Course>,
    pub gaps: Vec<Gap>,
    /// Measures without a value at the start or at the end.
    pub incomplete: Vec<Incomplete>,
}

impl<'a> Read<'a> {
    pub fn new(run: &'a RecordedRun) -> Self {
        let (gaps, incomplete) = all_gaps(run);
        let contrasts = run.contrasts.iter().map(|contrast| {
            let name = &contrast.names.name;
            let gaps = gaps.iter().filter(|gap| gap.contrast == *name);
            let incomplete = incomplete.iter().filter(|one| one.contrast == *name);
            ReadContrast {
                contrast,
                course: course(run, contrast),
                gaps: gaps.cloned().collect(),
                incomplete: incomplete.cloned().collect(),
            }
        });
        Self {
            run,
            contrasts: contrasts.collect(),
        }
    }
}
