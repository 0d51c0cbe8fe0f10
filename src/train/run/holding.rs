//! A run that is held: it stands still between two steps for as long as whoever watches it wants.

use std::time::Instant;

use super::Run;
use crate::event::Event;
use crate::train::held::{Held, Next};
use crate::train::outcome::{RunError, StopReason};

impl Run<'_> {
    /// Stands still after a step where the reporter holds it there, and does what it is told until it may go on. That time does not count
    /// as the run's. Returns the reason to end the run here, if it is to end.
    pub(super) fn hold(&mut self) -> Result<Option<StopReason>, RunError> {
        if !self.reporter.holds(&self.progress.clock) {
            return Ok(None);
        }
        self.settle()?;
        self.wait_for_checkpoint()?;
        let milestone = self.milestone(Event::StepEnd);
        let elapsed = milestone.clock.elapsed;
        loop {
            let evaluated = self.progress.evaluated.as_ref();
            let held = Held {
                milestone: milestone.clone(),
                extent: &self.extent,
                evaluated: evaluated.map(|one| (one.step, &one.evaluation)),
                saved: self.saved_at == Some(milestone.step),
                directory: self.directory.path(),
                scene: &self.scene,
                pair: &|| self.models.pair(),
                start: self.dispatcher.start(),
            };
            let next = self.reporter.held(&held);
            self.started = (Instant::now(), elapsed);
            match next {
                Next::GoOn => return Ok(None),
                Next::End(reason) => return Ok(Some(StopReason::Interrupted(reason))),
                Next::Save => {
                    self.save(false)?;
                    self.wait_for_checkpoint()?;
                }
            }
        }
    }
}
