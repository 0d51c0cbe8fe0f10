//! One model being trained: its weights, its optimiser, and the gradients of the step at hand.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::optim::{AdamWConfig, GradientsAccumulator, GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;

use super::outcome::RunError;
use crate::hook::{Gradients, square_sum};
use crate::model::{Network, checkpoint_name};
use crate::record::Unusable;

/// AdamW's decoupled weight decay: each step takes `learning rate x rate` of a weight away.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct WeightDecay {
    /// How much.
    pub rate: f64,
    /// Whether biases and layer norms decay too. Without it only matrices do, embeddings among them, as transformers' Trainer has it.
    pub norms_and_biases: bool,
}

impl From<f64> for WeightDecay {
    /// The decay of matrices alone.
    fn from(rate: f64) -> Self {
        Self {
            rate,
            norms_and_biases: false,
        }
    }
}

/// A model with its own AdamW (Loshchilov and Hutter 2019; betas 0.9 and 0.999, epsilon 1e-8).
pub struct Learner {
    /// The model, on an autodiff device.
    pub model: Network,
    /// The optimiser with its moments.
    pub optimiser: ModuleOptimizer,
    accumulator: GradientsAccumulator<Network>,
    gradients: GradientsParams,
    loss: f64,
}

impl Learner {
    /// `model` must be on an autodiff device.
    pub fn new(model: Network, weight_decay: impl Into<WeightDecay>) -> Self {
        Self {
            optimiser: optimiser(&model, weight_decay.into()),
            model,
            accumulator: GradientsAccumulator::new(),
            gradients: GradientsParams::new(),
            loss: 0.0,
        }
    }

    /// Forward and backward pass of one micro-batch of a step that has `step_predictions` predictions in all. `loss` gives the sum of the
    /// micro-batch's losses, in nats. Each prediction of the step weighs the same, whatever the sizes of its micro-batches.
    pub fn accumulate(
        &mut self,
        step_predictions: usize,
        loss: impl FnOnce(&Network) -> Tensor<1> + Send,
    ) {
        // In the thread pool itself: from outside, each of the many short parallel loops would wake it and wait.
        rayon::scope(|_| {
            let share = loss(&self.model) * (1.0 / step_predictions as f64);
            let gradients = GradientsParams::from_grads(share.backward(), &self.model);
            self.loss += f64::from(share.into_scalar::<f32>());
            self.accumulator.accumulate(&self.model, gradients);
        });
    }

    /// Closes the step's accumulation and gives its mean loss, in nats a token.
    pub fn gather(&mut self) -> f64 {
        self.gradients = self.accumulator.grads();
        std::mem::take(&mut self.loss)
    }

    /// L2 norm of all gradients together.
    pub fn gradient_norm(&self) -> f64 {
        struct Squares<'a>(&'a GradientsParams, f64);
        impl ModuleVisitor for Squares<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.1 += square_sum::<D>(self.0, param.id).unwrap_or(0.0);
            }
        }
        let mut squares = Squares(&self.gradients, 0.0);
        self.model.visit(&mut squares);
        squares.1.sqrt()
    }

    /// Scales all gradients so that their common norm is at most `limit`, as PyTorch's `clip_grad_norm_` does: by
    /// `limit / (norm + 1e-6)` when that is below 1.
    pub fn clip(&mut self, norm: f64, limit: f64) {
        struct Scale<'a>(&'a mut GradientsParams, f64);
        impl ModuleVisitor for Scale<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if let Some(gradient) = self.0.remove::<D>(param.id) {
                    self.0.register::<D>(param.id, gradient * self.1);
                }
            }
        }
        let factor = limit / (norm + 1e-6);
        if factor < 1.0 {
            self.model.visit(&mut Scale(&mut self.gradients, factor));
        }
    }

    /// The step's gradients, for hooks.
    pub fn gradients(&self) -> Gradients<'_> {
        Gradients::new(&self.model, &self.gradients)
    }

    /// Moves the weights by one optimiser step.
    pub fn step(&mut self, learning_rate: f64) {
        let gradients = std::mem::take(&mut self.gradients);
        self.model = self
            .optimiser
            .step(learning_rate, self.model.clone(), gradients);
    }

    /// The first weight that is NaN or infinite: the name of its tensor and its value.
    pub fn not_finite(&self) -> Option<(String, f64)> {
        struct Search {
            path: Vec<String>,
            found: Option<(String, f64)>,
        }
        impl ModuleVisitor for Search {
            fn enter_module(&mut self, name: &str, _: &str) {
                self.path.push(name.to_owned());
            }
            fn exit_module(&mut self, _: &str, _: &str) {
                self.path.pop();
            }
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if self.found.is_some() {
                    return;
                }
                let data = param.val().into_data();
                let values = data.as_slice::<f32>().unwrap_or_default();
                let wrong = values.iter().find(|value| !value.is_finite());
                self.found = wrong.map(|value| (checkpoint_name(&self.path), f64::from(*value)));
            }
        }
        let mut search = Search {
            path: Vec::new(),
            found: None,
        };
        self.model.visit(&mut search);
        search.found
    }

    /// Model and optimiser as they were saved: the model's directory, and the optimiser's file.
    ///
    /// # Errors
    /// When one of the two cannot be read, or is not what is expected there.
    pub fn restored(
        &self,
        model: &Path,
        optimiser: &Path,
    ) -> Result<(Network, ModuleOptimizer), RunError> {
        let model = Network::load(model, &self.model.device())?;
        let bytes = std::fs::read(optimiser).map_err(|error| unusable(optimiser, &error))?;
        let blank = self.optimiser.clone();
        // burn panics on some bytes that are not an optimiser.
        let loaded = catch_unwind(AssertUnwindSafe(|| {
            blank.from_bytes(burn::tensor::Bytes::from_bytes_vec(bytes))
        }));
        match loaded {
            Ok(Ok(loaded)) => Ok((model, loaded)),
            Ok(Err(error)) => Err(unusable(optimiser, &error)),
            Err(_) => Err(unusable(optimiser, &"not a readable optimiser")),
        }
    }
}

pub(super) fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> RunError {
    Unusable::new(path, reason).into()
}

/// AdamW for the parameters of a model.
fn optimiser(model: &Network, decay: WeightDecay) -> ModuleOptimizer {
    let adam = AdamWConfig::new()
        .with_beta_1(0.9)
        .with_beta_2(0.999)
        .with_epsilon(1e-8)
        .with_weight_decay(decay.rate as f32);
    let optimiser = adam.init();
    if decay.rate == 0.0 || decay.norms_and_biases {
        return optimiser;
    }
    let spared = ParamGroup::from_ids(norms_and_biases(model));
    optimiser.with_group(spared, adam.with_weight_decay(0.0).build(), None)
}

/// The parameters of one dimension: biases, and the weights of layer norms.
fn norms_and_biases(model: &Network) -> Vec<ParamId> {
    struct Vectors(Vec<ParamId>);
    impl ModuleVisitor for Vectors {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if D == 1 {
                self.0.push(param.id);
            }
        }
    }
    let mut vectors = Vectors(Vec::new());
    model.visit(&mut vectors);
    vectors.0
}
