//! How far a run is, by what is in its folder.

use std::path::Path;

use super::experiment;
use super::outcome::{Ended, Stop};

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing is there yet.
    Missing,
    /// It was killed or stopped, or is under way.
    Begun,
    /// It is over.
    Done,
    /// It ended by an error that would come again.
    Failed,
}

impl State {
    /// How far the run in a folder is. With less than its experiment on disk there is nothing to go on from.
    pub fn of(run: &Path) -> Self {
        let begun = experiment::is_there(run);
        match Ended::read(run).map(|ended| ended.map(|ended| ended.stop)) {
            Ok(Some(Stop::Failed)) => Self::Failed,
            Ok(Some(Stop::Complete | Stop::Incomplete | Stop::Requested)) => Self::Done,
            Ok(Some(Stop::Interrupted) | None) | Err(_) if begun => Self::Begun,
            Ok(Some(Stop::Interrupted) | None) | Err(_) => Self::Missing,
        }
    }
}
