//! What a bench shows of a training besides gradients: the batch, the optimiser, the update of a step.

use burn::tensor::{Tensor, TensorData};

use super::Bench;
use super::models::gradients;
use super::moment::Moment;
use crate::event::{Axis, Event};
use crate::hook::{Batch, Gradients, Milestone, Optimiser, ParameterValues, Pass};
use crate::model::Role;

impl Bench {
    /// The held-out text, in place of the text that a run trains on.
    pub(super) fn batch(&self, event: Event) -> Option<Batch> {
        let is_of_step = event.is_before_update()
            || matches!(event, Event::WeightsUpdated | Event::StepEnd)
            || event.axis() == Axis::EvaluationBatches;
        let pass = Pass {
            micro_batch: None,
            blocks: (0..self.scene.held_out.len()).collect(),
        };
        is_of_step.then(|| Batch::new(self.scene.held_out.clone(), vec![pass], Vec::new()))
    }

    /// AdamW after one step with the gradients of the mean loss over the held-out text.
    pub(super) fn optimiser(&self, role: Role, moment: &Moment) -> Optimiser {
        let (model, values) = gradients(moment.pair.get(role), &self.scene.held_out);
        let gradients = Gradients::new(&model, Some(&values), 1.0);
        let moments = |of: fn(f32) -> f32| {
            let named = gradients.norms().into_iter().map(|(name, _)| {
                let values: Vec<f32> = gradients.values(&name).unwrap_or_default();
                let values: Vec<f32> = values.into_iter().map(of).collect();
                let count = values.len();
                let data = TensorData::new(values, [count]);
                (name, Tensor::from_data(data, &moment.pair.main.device()))
            });
            ParameterValues::named(named.collect())
        };
        Optimiser {
            steps: 1,
            steps_of: Default::default(),
            mean: moments(|gradient| 0.1 * gradient),
            square: moments(|gradient| 0.001 * gradient * gradient),
            beta_2: 0.999,
            epsilon: 1e-8,
        }
    }

    /// What the step before the moment added to each weight.
    pub(super) fn update(&self, role: Role, moment: &Moment) -> Option<ParameterValues> {
        let Milestone { event, step, .. } = moment.milestone;
        let before = self.pair_at(step.checked_sub(1)?);
        let of = || ParameterValues::difference(moment.pair.get(role), before.get(role));
        (event == Event::WeightsUpdated).then(of)
    }
}
