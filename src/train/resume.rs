//! Resuming from a checkpoint: it is found and verified first, and only then is the run's folder changed.

use std::path::{Path, PathBuf};

use super::learners::Trained;
use super::outcome::RunError;
use super::recorder::Recorder;
use crate::checksum::Sum;
use crate::record::checkpoint::{self, Found};
use crate::record::layout::{MILESTONES, MODELS, OUTCOME, REPORT};
use crate::record::progress::Progress;
use crate::record::{RunDirectory, Unusable, columns};
use crate::tensorboard::EventsFile;

/// The point from which a run continues. The default is its beginning.
#[derive(Default)]
pub(super) struct Start {
    /// The run's state at that point.
    pub progress: Progress,
    /// The event file whose first records belong to it; None at the beginning of a run.
    events: Option<PathBuf>,
    /// The checkpoint; None at the beginning of a run.
    pub checkpoint: Option<PathBuf>,
    /// Newer checkpoints that cannot be used.
    damaged: Vec<Found>,
}

/// Finds the newest checkpoint that can be used, and restores its weights and optimisers into `models`. A run that has saved nothing begins
/// anew. `say` is called with a message for each checkpoint that cannot be used.
///
/// # Errors
/// When there are checkpoints but none can be used.
pub(super) fn find(
    directory: &RunDirectory,
    models: &mut dyn Trained,
    say: &mut dyn FnMut(&str),
) -> Result<Start, RunError> {
    let mut damaged = Vec::new();
    let mut newest_error = None;
    for found in checkpoint::all(directory.path())?.into_iter().rev() {
        match load(&found, directory, models) {
            Ok((progress, events)) => {
                return Ok(Start {
                    progress,
                    events: Some(events),
                    checkpoint: Some(found.path),
                    damaged,
                });
            }
            Err(error) => {
                say(&format!(
                    "the checkpoint of step {} cannot be used: {error}",
                    found.step
                ));
                newest_error.get_or_insert(error);
                damaged.push(found);
            }
        }
    }
    match newest_error {
        Some(error) => Err(RunError::NoCheckpoint(Box::new(error))),
        None => Ok(Start::default()),
    }
}

/// Reads a checkpoint completely, and checks the run's files that belong to it.
fn load(
    found: &Found,
    directory: &RunDirectory,
    models: &mut dyn Trained,
) -> Result<(Progress, PathBuf), RunError> {
    let progress = found.verified()?;
    let recorded = &progress.recorded;
    let lines = directory.path().join(MILESTONES);
    let unusable = |path: &Path, message: String| Unusable::new(path, &message);
    let there = Sum::of_first(&lines, recorded.lines.bytes)
        .map_err(|error| unusable(&lines, error.to_string()))?
        .end();
    if there.bytes < recorded.lines.bytes {
        let message = format!(
            "lines are lost: it has {} bytes of the {} that were written when the checkpoint was saved",
            there.bytes, recorded.lines.bytes
        );
        return Err(unusable(&lines, message).into());
    }
    if there != recorded.lines {
        let message = "its lines up to the checkpoint are not what was written (SHA-256)";
        return Err(unusable(&lines, message.to_owned()).into());
    }
    let events = EventsFile::find(directory.path(), &recorded.events)?;
    let Some(events) = events else {
        let message = "no event file here begins as it did when the checkpoint was saved";
        return Err(unusable(directory.path(), message.to_owned()).into());
    };
    models.restore(&found.path)?;
    Ok((progress, events))
}

impl Start {
    /// Returns everything in the run's folder to the state at this point: outcome, models, lines, values per prompt and event file.
    ///
    /// # Errors
    /// When something cannot be written or removed. The same call can then be repeated.
    pub fn go_back(&self, directory: &RunDirectory) -> Result<Recorder, RunError> {
        for found in &self.damaged {
            found.set_aside()?;
        }
        // The outcome is removed first: without it, nobody takes the later changes for the end of the run.
        directory.remove(OUTCOME)?;
        directory.remove(REPORT)?;
        directory.discard(MODELS)?;
        let recorded = &self.progress.recorded;
        columns::cut(directory, &recorded.columns)?;
        let events = self.events.as_deref();
        Recorder::go_back(directory.path(), recorded, events)
    }
}
