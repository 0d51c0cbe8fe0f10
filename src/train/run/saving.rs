//! When a run saves a checkpoint, and what it refuses to save.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Run;
use crate::cadence::Moment;
use crate::event::Event;
use crate::record::checkpoint;
use crate::record::progress::{FORM, Progress, Span};
use crate::train::outcome::RunError;

impl Run<'_> {
    /// Saves after a step if that is due or a hook has asked for it.
    pub(super) fn save_if_due(&mut self) -> Result<(), RunError> {
        let moments = self.moments();
        self.save_if(&moments)
    }

    /// Saves if `train.save` is due at one of `moments` or a hook has asked for it.
    pub(super) fn save_if(&mut self, moments: &[Moment]) -> Result<(), RunError> {
        let looked = self.progress.looked.save;
        let save = self.training.save.as_ref();
        let due = save.is_some_and(|cadence| self.is_due(cadence, looked, moments));
        if moments.contains(&Moment::Step) {
            self.progress.looked.save = self.clock().elapsed;
        }
        if due || std::mem::take(&mut self.save_asked) {
            self.save(true)?;
        }
        Ok(())
    }

    /// Saves a checkpoint of the state after the last step. With `announced`, hooks get `checkpoint-saved` first, so that their reports
    /// belong to the checkpoint. The saver's thread writes the files; [`Self::wait_for_checkpoint`] waits for it.
    ///
    /// # Errors
    /// When a weight is not finite, when a file cannot be written, or when the previous checkpoint could not be saved. Older checkpoints
    /// are not changed.
    pub(super) fn save(&mut self, announced: bool) -> Result<(), RunError> {
        self.refuse_nonfinite_weights()?;
        self.wait_for_checkpoint()?;
        if announced {
            self.emit(Event::CheckpointSaved)?;
            self.progress.own_checkpoint = Some(self.clock().step.0);
        }
        self.settle()?;
        self.save_asked = false;
        self.progress.clock.elapsed = self.elapsed();
        let recorded = self.recorder.recorded()?;
        self.progress.best = self.best(&recorded.spans);
        let progress = Progress {
            form: FORM,
            requests: self.dispatcher.requests().to_vec(),
            hooks: self.dispatcher.states(self.reporter),
            values: self.dispatcher.values().clone(),
            interventions: self.dispatcher.interveners.states()?,
            recorded,
            ..self.progress.clone()
        };
        let models = self.models.frozen();
        let (directory, record) = (self.directory.clone(), self.recorder.files());
        let keep = self.training.keep;
        let best = progress.best.map(|(step, _)| step);
        let spared = [best, progress.own_checkpoint];
        self.saver.start(move || {
            let path = checkpoint::write(&directory, models, &progress, &record)?;
            if let Some(keep) = keep {
                checkpoint::prune(&directory, keep, spared)?;
            }
            Ok(path)
        });
        self.saved_at = Some(self.clock().step.0);
        Ok(())
    }

    /// Reports the folder of the checkpoint that is being saved, if it is in place by now. Does not wait.
    ///
    /// # Errors
    /// When the checkpoint could not be saved.
    pub(super) fn look_for_checkpoint(&mut self) -> Result<(), RunError> {
        if let Some(saved) = self.saver.arrived() {
            self.reporter.saved(&saved?);
        }
        Ok(())
    }

    /// Waits until the checkpoint that is being saved is in place, reports its folder and returns it. `None` when nothing is being saved.
    ///
    /// # Errors
    /// When the checkpoint could not be saved.
    pub(super) fn wait_for_checkpoint(&mut self) -> Result<Option<PathBuf>, RunError> {
        let Some(saved) = self.saver.wait() else {
            return Ok(None);
        };
        let path = saved?;
        self.reporter.saved(&path);
        Ok(Some(path))
    }

    /// Saves the weights before an error ends the run, if they are finite. Returns a sentence that says where they are, or why they were
    /// not saved.
    pub(super) fn save_what_is_good(&mut self) -> Result<String, RunError> {
        if let Some((role, tensor, value)) = self.models.not_finite() {
            return Ok(format!(
                "the weights before it are not finite either (`{tensor}` of the {role} model holds {value}), so nothing was saved now"
            ));
        }
        self.save(false)?;
        let path = self.wait_for_checkpoint()?.unwrap_or_default();
        Ok(format!(
            "the weights before it are saved in {}",
            path.display()
        ))
    }

    /// Ends the run when a weight is NaN or infinite.
    pub(super) fn refuse_nonfinite_weights(&self) -> Result<(), RunError> {
        match self.models.not_finite() {
            None => Ok(()),
            Some((role, tensor, value)) => Err(RunError::NotFinite {
                what: format!("weight `{tensor}`"),
                role,
                value,
                step: self.clock().step.0,
                rate: self.rate(),
                saved: "they were not saved".to_owned(),
            }),
        }
    }

    /// The step and value of the best checkpoint by `train.keep_best`, including this step. `None` without that key.
    fn best(&self, spans: &BTreeMap<String, Span>) -> Option<(u64, f64)> {
        let wanted = self.training.keep_best.as_ref()?;
        let before = self.progress.best;
        let step = self.clock().step.0;
        let now = spans.get(&wanted.tag).map(|span| span.last);
        let Some((_, value)) = now.filter(|(at, value)| *at == step && value.is_finite()) else {
            return before;
        };
        match before {
            Some((_, best)) if !wanted.is_better(value, best) => before,
            _ => Some((step, value)),
        }
    }
}
