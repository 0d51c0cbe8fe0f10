//! Evaluation on the held-out split during a run.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use super::Run;
use crate::cadence::Moment;
use crate::event::Event;
use crate::hook::{Evaluation, Pass};
use crate::measure::evaluation::total;
use crate::model::Role;
use crate::readback::lists;
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
            let evaluation = self.evaluation()?;
            self.progress.evaluated = Some(Evaluated { step, evaluation });
            self.evaluation_is_news = true;
        }
        Ok(())
    }

    /// The mean loss of each model over the held-out split, or over its answers, batch by batch, with the events of each.
    fn evaluation(&mut self) -> Result<Evaluation, RunError> {
        let (blocks, batch) = (self.scene.held_out.clone(), self.scene.batch);
        if blocks.is_empty() {
            return Err(RunError::NoHeldOutText);
        }
        self.emit(Event::EvaluationStart)?;
        let mut sums: BTreeMap<Role, (Vec<Tensor<1>>, usize)> = BTreeMap::new();
        for first in (0..blocks.len()).step_by(batch) {
            let some = first..(first + batch).min(blocks.len());
            for (role, (loss, count)) in self.models.losses(&self.scene, some.clone()) {
                let of_role = sums.entry(role).or_default();
                of_role.0.push(loss);
                of_role.1 += count;
            }
            self.progress.evaluation_batches += 1;
            self.at_hand.evaluated = Some(Pass {
                micro_batch: None,
                blocks: some.collect(),
            });
            self.emit(Event::EvaluationBatchEnd)?;
        }
        self.at_hand.evaluated = None;
        let without = sums.iter().find(|(_, (_, count))| *count == 0);
        if let Some((role, _)) = without {
            return Err(RunError::NoHeldOutAnswers(*role));
        }
        let (roles, sums): (Vec<Role>, Vec<_>) = sums.into_iter().unzip();
        let (sums, counts): (Vec<_>, Vec<usize>) = sums.into_iter().unzip();
        let losses = roles.into_iter().zip(lists(sums)).zip(counts);
        let losses = losses.map(|((role, sums), count)| (role, total(&sums) / count as f64));
        Ok(Evaluation {
            losses: losses.collect(),
        })
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
