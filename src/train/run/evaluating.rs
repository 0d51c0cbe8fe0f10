//! Evaluation on the held-out split during a run.

use super::Run;
use crate::cadence::Moment;
use crate::event::Event;
use crate::record::progress::Evaluated;
use crate::train::outcome::RunError;

impl Run<'_> {
    /// Evaluates when `train.evaluate` is due at one of `moments` or a hook has asked for it, but at most once per step.
    pub(super) fn evaluate_if_due(&mut self, moments: &[Moment]) -> Result<(), RunError> {
        let asked = std::mem::take(&mut self.progress.evaluate_next);
        let looked = self.progress.looked.evaluate;
        let due = self.is_due(&self.training.evaluate, looked, moments);
        if moments.contains(&Moment::Step) {
            self.progress.looked.evaluate = self.clock().elapsed;
        }
        let step = self.clock().step.0;
        let evaluated = self.progress.evaluated.as_ref();
        let is_new = evaluated.is_none_or(|one| one.step != step);
        if (asked || due) && is_new {
            let evaluation = self.models.evaluate(&self.scene)?;
            self.progress.evaluated = Some(Evaluated { step, evaluation });
            self.evaluation_is_news = true;
        }
        Ok(())
    }

    /// Records an evaluation that was just made, and emits its event.
    pub(super) fn announce_evaluation(&mut self) -> Result<(), RunError> {
        if !std::mem::take(&mut self.evaluation_is_news) {
            return Ok(());
        }
        let Some(Evaluated { evaluation, .. }) = &self.progress.evaluated else {
            return Ok(());
        };
        let losses = evaluation.losses.iter();
        let scalars = losses.map(|(role, loss)| (format!("eval/{role}/loss"), *loss));
        self.record("eval", Event::Evaluated, scalars.collect())?;
        self.recorder.flush()?;
        self.emit(Event::Evaluated)
    }
}
