//! Evaluation on the held-out split, on the way.

use super::Run;
use crate::cadence::Moment;
use crate::event::Event;
use crate::hook::Evaluation;
use crate::measure::evaluation::mean_loss;
use crate::model::Role;
use crate::train::outcome::RunError;

impl Run<'_> {
    /// Evaluates when one of `moments` is due, or a hook has asked for it, but never twice at one step.
    pub(super) fn evaluate_if_due(&mut self, moments: &[Moment]) -> Result<(), RunError> {
        let asked = std::mem::take(&mut self.evaluate_next);
        if (asked || self.is_due(&self.training.evaluate, moments))
            && self.evaluated_at != Some(self.clock.step.0)
        {
            self.evaluate()?;
        }
        Ok(())
    }

    pub(super) fn evaluate(&mut self) -> Result<(), RunError> {
        let pair = self.pair().snapshot();
        let mut evaluation = Evaluation::default();
        for role in Role::BOTH {
            let loss = mean_loss(
                pair.get(role),
                &self.scene.held_out,
                self.scene.batch,
                &|| Ok(()),
            );
            let loss = loss.map_err(|error| RunError::Evaluation(error.to_string()))?;
            evaluation.losses.insert(role, loss);
        }
        self.evaluated_at = Some(self.clock.step.0);
        self.evaluation = Some(evaluation);
        Ok(())
    }

    /// Records an evaluation that was just made and tells everyone.
    pub(super) fn announce_evaluation(&mut self) -> Result<(), RunError> {
        let Some(evaluation) = &self.evaluation else {
            return Ok(());
        };
        let losses = evaluation.losses.iter();
        let scalars = losses.map(|(role, loss)| (format!("eval/{role}/loss"), *loss));
        self.record("eval", Event::Evaluated, scalars.collect())?;
        self.recorder.flush()?;
        self.emit(Event::Evaluated)
    }
}
