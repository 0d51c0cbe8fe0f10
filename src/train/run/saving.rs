//! Checkpoints, on the way.

use std::path::PathBuf;

use super::Run;
use crate::cadence::Moment;
use crate::event::Event;
use crate::train::checkpoint::{self, State};
use crate::train::outcome::RunError;

impl Run<'_> {
    pub(super) fn save_if_due(&mut self) -> Result<(), RunError> {
        // The end of the run saves by itself, once everything else is written.
        let mut moments = self.moments();
        moments.retain(|moment| *moment != Moment::End);
        let save = self.training.save.as_ref();
        if save.is_some_and(|cadence| self.is_due(cadence, &moments)) {
            self.save(false)?;
            self.emit(Event::CheckpointSaved)?;
        }
        Ok(())
    }

    pub(super) fn save(&mut self, ended: bool) -> Result<PathBuf, RunError> {
        self.settle()?;
        self.clock.elapsed = self.started.elapsed();
        let state = State {
            clock: self.clock.clone(),
            lines: self.recorder.synced_length()?,
            spans: self.recorder.spans().clone(),
            hooks: self.dispatcher.states(),
            ended,
        };
        let path = checkpoint::save(&self.directory, &self.learners, &state)?;
        self.saved_at = Some(self.clock.step.0);
        self.reporter.saved(&path);
        Ok(path)
    }
}
