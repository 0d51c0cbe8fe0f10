//! One model being trained: its weights, its optimiser, and the gradients of the step at hand.

use std::collections::BTreeSet;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use super::adamw::{AdamW, WeightDecay};
use super::loss_scale::LossScale;
use super::outcome::RunError;
use crate::device::has_kernels;
use crate::hook::Gradients;
use crate::model::{Network, checkpoint_name};
use crate::readback::{all_values, values};
use crate::record::Unusable;
use crate::thread::in_pool;

/// A model with its own AdamW (Loshchilov and Hutter 2019; betas 0.9 and 0.999, epsilon 1e-8).
pub struct Learner {
    /// The model, on an autodiff device.
    pub model: Network,
    /// The optimiser with its moments.
    pub optimiser: AdamW,
    /// The loss of the micro-batch at hand, summed, and not yet differentiated.
    pending: Option<Tensor<1>>,
    gradients: Option<GradientsParams>,
    /// What the gradients are still to be multiplied by.
    factor: f64,
    /// What each prediction's loss counts in the step's mean.
    share: f64,
    /// The summed loss of each micro-batch of the step so far, where the model is, and what it counts by.
    losses: Vec<(Tensor<1>, f64)>,
    /// The norm of the gradients, where it was read with the losses.
    norm: Option<f64>,
    /// What losses are multiplied by before they are differentiated, in half precision.
    scale: Option<LossScale>,
    /// The names of the parameters that get no gradient.
    frozen: BTreeSet<String>,
}

impl Learner {
    /// `model` must be on an autodiff device.
    pub fn new(model: Network, weight_decay: impl Into<WeightDecay>) -> Self {
        Self {
            optimiser: AdamW::new(weight_decay.into()),
            model,
            pending: None,
            gradients: None,
            factor: 1.0,
            share: 1.0,
            losses: Vec::new(),
            norm: None,
            scale: None,
            frozen: BTreeSet::new(),
        }
    }

    /// The same learner for passes in half precision: losses are scaled before they are differentiated. A step whose gradients are not finite moves
    /// nothing and makes the scale smaller.
    pub fn with_loss_scale(self) -> Self {
        Self {
            scale: Some(LossScale::default()),
            ..self
        }
    }

    /// The scale of its loss, in half precision.
    pub fn loss_scale(&self) -> Option<LossScale> {
        self.scale
    }

    /// Freezes the parameters of these names from the next backward pass on, and no others. They keep their values and moments.
    pub fn freeze(&mut self, names: BTreeSet<String>) {
        self.frozen = names;
    }

    /// Forward and backward pass of one micro-batch: see [`Learner::forward`].
    pub fn accumulate(
        &mut self,
        step_predictions: usize,
        loss: impl FnOnce(&Network) -> Tensor<1> + Send,
    ) {
        self.forward(step_predictions as f64, loss);
        self.backward();
    }

    /// Forward pass of one micro-batch of a step whose predictions weigh `step_weight` in all: their number, unless they have weights. `loss`
    /// gives the sum of the micro-batch's losses, in nats. Each prediction of the step counts by its weight, whatever the sizes of its
    /// micro-batches.
    pub fn forward(&mut self, step_weight: f64, loss: impl FnOnce(&Network) -> Tensor<1> + Send) {
        self.share = 1.0 / step_weight;
        self.factor = self.scale.map_or(self.share, |scale| 1.0 / scale.value());
        self.pending = Some(in_pool(|| loss(&self.model)));
    }

    /// Backward pass of the micro-batch whose forward pass was done last. Nothing waits for what another device makes of it.
    pub fn backward(&mut self) {
        let Some(sum) = self.pending.take() else {
            return;
        };
        in_pool(|| {
            let scaled = match &self.scale {
                None => sum.clone(),
                Some(scale) => sum.clone() * (scale.value() * self.share),
            };
            let mut gradients = GradientsParams::from_grads(scaled.backward(), &self.model);
            if !self.frozen.is_empty() {
                drop_frozen(&self.model, &self.frozen, &mut gradients);
            }
            self.losses.push((sum.inner(), self.share));
            self.norm = None;
            self.gradients = Some(match self.gradients.take() {
                Some(before) => added(&self.model, before, gradients),
                None => gradients,
            });
        });
    }

    /// Closes the step's accumulation and gives its mean loss, in nats a token.
    pub fn gather(&mut self) -> f64 {
        let values = all_values(self.to_read(false));
        self.take(&values)
    }

    /// What is to be read of a step: the loss of each micro-batch, and with `norm` what the norm of the gradients is made of, where it is not
    /// made here.
    pub(super) fn to_read(&self, norm: bool) -> Vec<Tensor<1>> {
        let losses = self.losses.iter().map(|(sum, _)| sum.clone());
        let mut all: Vec<Tensor<1>> = losses.collect();
        if (norm || self.scale.is_some()) && !has_kernels(&self.model.device()) {
            all.extend(self.gradients().squares());
        }
        all
    }

    /// Closes the step's accumulation with what was read, and gives its mean loss, in nats a token.
    pub(super) fn take(&mut self, read: &[f32]) -> f64 {
        let losses = std::mem::take(&mut self.losses);
        let (sums, squares) = read.split_at(losses.len());
        if !squares.is_empty() {
            self.norm = Some(self.gradients().norm_of(squares));
        }
        let losses = sums.iter().zip(losses);
        let loss: f64 = losses.fold(0.0, |sum, (loss, (_, share))| {
            sum + f64::from(*loss) * share
        });
        if loss.is_finite() {
            self.drop_overflow();
        }
        loss
    }

    /// Drops the step's gradients if they are not finite because of the scale of the loss, and changes the scale as its rule says.
    fn drop_overflow(&mut self) {
        let Some(mut scale) = self.scale else {
            return;
        };
        if self.gradient_norm().is_finite() {
            scale.held();
        } else if scale.back_off() {
            self.gradients = None;
        }
        self.scale = Some(scale);
    }

    /// L2 norm of all gradients together.
    pub fn gradient_norm(&self) -> f64 {
        self.norm.unwrap_or_else(|| self.gradients().global_norm())
    }

    /// Scales all gradients so that their common norm is at most `limit`, as PyTorch's `clip_grad_norm_` does: by
    /// `limit / (norm + 1e-6)` when that is below 1. It is done while the weights are moved.
    pub fn clip(&mut self, norm: f64, limit: f64) {
        let scale = (limit / (norm + 1e-6)).min(1.0);
        self.factor *= scale;
        self.norm = self.norm.map(|norm| norm * scale);
    }

    /// The step's gradients, for hooks.
    pub fn gradients(&self) -> Gradients<'_> {
        Gradients::new(&self.model, self.gradients.as_ref(), self.factor)
    }

    /// Moves the weights by one optimiser step.
    pub fn step(&mut self, learning_rate: f64) {
        if let Some(mut gradients) = self.gradients.take() {
            in_pool(|| {
                let (optimiser, factor) = (&mut self.optimiser, self.factor);
                optimiser.step(&mut self.model, &mut gradients, factor, learning_rate);
            });
        }
    }

    /// The first weight that is NaN or infinite: the name of its tensor and its value.
    pub fn not_finite(&self) -> Option<(String, f64)> {
        let parameters = self.model.trained_parameters();
        let mut suspects = parameters.iter();
        if !has_kernels(&self.model.device()) {
            let finite = parameters.iter();
            let finite = finite.map(|(_, values)| values.clone().is_finite().all().float());
            let finite = all_values(finite.collect());
            let first = finite.iter().position(|finite| *finite == 0.0)?;
            suspects = parameters[first..].iter();
        }
        suspects.find_map(|(name, tensor)| {
            let values = values(tensor.clone());
            let wrong = values.iter().find(|value| !value.is_finite())?;
            Some((name.clone(), f64::from(*wrong)))
        })
    }

    /// Model and optimiser as they were saved: the model's directory, and the optimiser's file.
    ///
    /// # Errors
    /// When one of the two cannot be read, or is not what is expected there.
    pub fn restored(&self, model: &Path, optimiser: &Path) -> Result<(Network, AdamW), RunError> {
        let model = self.model.saved_in(model)?;
        let bytes = std::fs::read(optimiser).map_err(|error| unusable(optimiser, &error))?;
        let loaded = self.optimiser.restored(&bytes, &model);
        let loaded = loaded.map_err(|error| unusable(optimiser, &error))?;
        Ok((model, loaded))
    }

    /// The scale of its loss as it was saved. None in other than half precision, where none is saved.
    ///
    /// # Errors
    /// When it cannot be read, or is not one.
    pub fn restored_scale(&self, file: &Path) -> Result<Option<LossScale>, RunError> {
        if self.scale.is_none() {
            return Ok(None);
        }
        let bytes = std::fs::read(file).map_err(|error| unusable(file, &error))?;
        let scale = LossScale::parse(&bytes).map_err(|error| unusable(file, &error))?;
        Ok(Some(scale))
    }

    /// Takes back model, optimiser and scale of the loss.
    pub fn take_back(&mut self, model: Network, optimiser: AdamW, scale: Option<LossScale>) {
        (self.model, self.optimiser, self.scale) = (model, optimiser, scale);
    }
}

pub(super) fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> RunError {
    Unusable::new(path, reason).into()
}

/// Drops the gradients of the parameters with these names.
fn drop_frozen(model: &Network, frozen: &BTreeSet<String>, gradients: &mut GradientsParams) {
    struct Drop<'a> {
        frozen: &'a BTreeSet<String>,
        gradients: &'a mut GradientsParams,
        path: Vec<String>,
    }
    impl ModuleVisitor for Drop<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.frozen.contains(&checkpoint_name(&self.path)) {
                self.gradients.remove::<D>(param.id);
            }
        }
    }
    model.visit(&mut Drop {
        frozen,
        gradients,
        path: Vec::new(),
    });
}

/// The sums of two micro-batches' gradients.
fn added(model: &Network, before: GradientsParams, more: GradientsParams) -> GradientsParams {
    struct Add {
        sum: GradientsParams,
        more: GradientsParams,
    }
    impl ModuleVisitor for Add {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let Some(more) = self.more.remove::<D>(param.id) else {
                return;
            };
            let sum = match self.sum.remove::<D>(param.id) {
                Some(before) => before + more,
                None => more,
            };
            self.sum.register::<D>(param.id, sum);
        }
    }
    let mut add = Add { sum: before, more };
    model.visit(&mut add);
    add.sum
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::mini;
    use crate::model::{Role, next_token_loss};
    use crate::readback::rehearsed;

    #[test]
    fn a_norm_that_is_read_with_the_losses_is_that_of_the_gradients() {
        let model = mini::model(Role::Assistant, &Device::flex().autodiff()).unwrap();
        let mut learner = Learner::new(model, 0.0);
        let rows = [[5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 15, 16]];
        for rows in [&rows[..1], &rows] {
            let rows: Vec<&[u32]> = rows.iter().map(|row| &row[..]).collect();
            learner.accumulate(15, |model| next_token_loss(model, &rows, None).0);
        }
        let own = learner.gradient_norm();
        let ((loss, norm), reads) = rehearsed(|| {
            let read = all_values(learner.to_read(true));
            (learner.take(&read), learner.gradient_norm())
        })
        .unwrap();
        assert_eq!(reads, 1);
        assert!(
            loss > 0.0 && (norm / own - 1.0).abs() < 1e-5,
            "{norm} is not {own}"
        );
        // The next micro-batch has other gradients.
        learner.accumulate(5, |model| next_token_loss(model, &[&rows[0]], None).0);
        assert!((learner.gradient_norm() / norm - 1.0).abs() > 0.1);
    }
}
