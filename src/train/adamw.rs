//! AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) over the parameters of a network: one pass over each tensor on flex, and burn's operations
//! on other devices.

use std::collections::{BTreeMap, BTreeSet};

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn::module::{ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::hook::{Optimiser, ParameterValues};
use crate::model::{AdamWStep, Direction, Network, checkpoint_name};
use crate::readback::{data, is_rehearsed};

/// Decay of the mean of gradients.
const BETA_1: f64 = 0.9;
/// Decay of the mean of their squares.
const BETA_2: f64 = 0.999;
/// Added to the root of the mean of squares.
const EPSILON: f64 = 1e-8;

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

/// The means of a parameter's gradients and of their squares, value by value.
#[derive(Debug, Clone)]
struct Moments {
    mean: Tensor<1>,
    square: Tensor<1>,
    /// The steps in which the parameter was moved. While it is frozen it takes none, as in PyTorch.
    steps: u64,
}

/// The optimiser of one model, with the moments of its parameters by their names in the checkpoint.
#[derive(Debug, Clone)]
pub struct AdamW {
    decay: WeightDecay,
    steps: u64,
    /// Of each parameter that was ever moved.
    moments: BTreeMap<String, Moments>,
    /// The parameters that were frozen in each step so far.
    never_moved: BTreeSet<String>,
}

impl AdamW {
    /// An optimiser that has taken no step.
    pub fn new(decay: WeightDecay) -> Self {
        Self {
            decay,
            steps: 0,
            moments: BTreeMap::new(),
            never_moved: BTreeSet::new(),
        }
    }

    /// Moves the weights of `model`, on an autodiff device, by one step. Each gradient is multiplied by `factor` first. A parameter
    /// without a gradient stays as it is, with its moments.
    pub fn step(
        &mut self,
        model: &mut Network,
        gradients: &mut GradientsParams,
        factor: f64,
        learning_rate: f64,
    ) {
        self.steps = self.steps.saturating_add(1);
        let mut mapper = Mapper {
            optimiser: self,
            gradients,
            factor,
            learning_rate,
            path: Vec::new(),
        };
        model.change(&mut mapper);
    }

    /// Its state, for hooks.
    pub(super) fn seen(&self) -> Optimiser {
        let moments = |which: fn(&Moments) -> &Tensor<1>| {
            let named = self.moments.iter();
            let named = named.map(|(name, moments)| (name.clone(), which(moments).clone()));
            ParameterValues::named(named.collect())
        };
        Optimiser {
            steps: self.steps,
            steps_of: self.other_steps().collect(),
            mean: moments(|moments| &moments.mean),
            square: moments(|moments| &moments.square),
            beta_2: BETA_2,
            epsilon: EPSILON,
        }
    }

    /// A gradient, multiplied weight by weight by what the optimiser multiplies the mean of gradients by in a step at rate 1:
    /// `1 / (sqrt(v) + epsilon)`, where `v` is the mean of squares divided by `1 - beta_2^steps`, with each parameter's own number of steps.
    /// It is 0 for weights that have had no gradient but 0 so far, which were never moved.
    pub fn preconditioned(&self, gradient: Direction) -> Direction {
        gradient.map(|name, gradient| {
            let Some(Moments { square, steps, .. }) = self.moments.get(name) else {
                return gradient.zeros_like();
            };
            let correction = 1.0 - BETA_2.powf(*steps as f64);
            let size = square.clone().sqrt() * (1.0 / correction.sqrt()) + EPSILON;
            let never_moved = square.clone().equal_elem(0.0);
            (gradient / size).mask_fill(never_moved, 0.0)
        })
    }

    /// How much the gradient of step `from` weighs in the mean of gradients that step `to` moves the weights by, both counted from 1:
    /// `(1 - beta_1) beta_1^(to - from) / (1 - beta_1^to)`. Step `to` must not be the earlier one.
    pub fn momentum(from: u64, to: u64) -> f64 {
        let age = to.saturating_sub(from) as f64;
        (1.0 - BETA_1) * BETA_1.powf(age) / (1.0 - BETA_1.powf(to as f64))
    }

    /// The steps of parameters that were frozen for some steps and not for others: such a parameter's name, if there is one.
    pub fn frozen_at_times(&self) -> Option<String> {
        let mut others = self.other_steps();
        let other = others.find(|(_, steps)| *steps > 0);
        other.map(|(name, _)| name)
    }

    /// The parameters that have taken another number of steps than the optimiser, because they were frozen, with that number.
    fn other_steps(&self) -> impl Iterator<Item = (String, u64)> {
        let moved = self.moments.iter();
        let moved = moved.map(|(name, moments)| (name.clone(), moments.steps));
        let never = self.never_moved.iter().map(|name| (name.clone(), 0));
        let all = self.steps;
        moved.chain(never).filter(move |(_, steps)| *steps != all)
    }

    /// The bytes of a safetensors file: `mean.NAME` and `square.NAME` for each parameter that was ever moved, flattened, and the number of
    /// steps. For each parameter that took fewer steps there is `steps.NAME`.
    ///
    /// # Errors
    /// When they cannot be put into that format.
    pub fn to_bytes(&self) -> Result<Vec<u8>, safetensors::SafeTensorError> {
        let mut parts: Vec<(String, TensorData)> = Vec::new();
        for (name, moments) in &self.moments {
            parts.push((format!("mean.{name}"), data(moments.mean.clone())));
            parts.push((format!("square.{name}"), data(moments.square.clone())));
        }
        let steps = self.other_steps();
        let steps: Vec<(String, [u8; 8])> = steps
            .map(|(name, steps)| (format!("steps.{name}"), steps.to_le_bytes()))
            .collect();
        let mut views = Vec::new();
        for (name, data) in &parts {
            let view = TensorView::new(Dtype::F32, data.shape().to_vec(), data.as_bytes())?;
            views.push((name.as_str(), view));
        }
        for (name, bytes) in &steps {
            views.push((name.as_str(), TensorView::new(Dtype::U64, vec![1], bytes)?));
        }
        let metadata = [("steps".to_owned(), self.steps.to_string())];
        safetensors::serialize(views, Some(metadata.into()))
    }

    /// The optimiser of those bytes, with this one's weight decay.
    ///
    /// # Errors
    /// In words, when they are not those of an optimiser of `model`.
    pub fn restored(&self, bytes: &[u8], model: &Network) -> Result<Self, String> {
        let device = model.device().inner();
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
        let steps = header
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get("steps"));
        let steps = steps.and_then(|steps| steps.parse().ok());
        let steps = steps.ok_or("it does not say how many steps were taken")?;
        let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
        let mut known = BTreeMap::new();
        for (name, values) in model.trained_parameters() {
            known.insert(name, values.shape().num_elements());
        }
        let read = |name: &str, count: usize| -> Result<Tensor<1>, String> {
            let view = file.tensor(name).map_err(|error| error.to_string())?;
            if view.dtype() != Dtype::F32 || view.shape() != [count] {
                return Err(format!("`{name}` has another shape than its parameter"));
            }
            let (values, _) = view.data().as_chunks::<4>();
            let values: Vec<f32> = values
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect();
            Ok(Tensor::from_data(TensorData::new(values, [count]), &device))
        };
        let mut restored = Self {
            decay: self.decay,
            steps,
            moments: BTreeMap::new(),
            never_moved: BTreeSet::new(),
        };
        let mut used = 0;
        // Before the first step there are none.
        for (name, &count) in known.iter().filter(|_| steps > 0) {
            let own = match file.tensor(&format!("steps.{name}")) {
                Ok(view) => {
                    let bytes = <[u8; 8]>::try_from(view.data());
                    let bytes = bytes.map_err(|_| format!("`steps.{name}` is not one number"))?;
                    used += 1;
                    u64::from_le_bytes(bytes)
                }
                Err(_) => steps,
            };
            if own == 0 {
                restored.never_moved.insert(name.clone());
                continue;
            }
            let moments = Moments {
                mean: read(&format!("mean.{name}"), count)?,
                square: read(&format!("square.{name}"), count)?,
                steps: own,
            };
            used += 2;
            restored.moments.insert(name.clone(), moments);
        }
        if file.len() != used {
            return Err("it has moments of parameters that the model does not have".to_owned());
        }
        Ok(restored)
    }
}

/// The numbers of step `steps`, the first of which is 1.
fn numbers(decay: WeightDecay, steps: u64, factor: f64, learning_rate: f64) -> AdamWStep {
    let correction = |beta: f64| 1.0 - beta.powf(steps as f64);
    AdamWStep {
        factor: factor as f32,
        beta_1: BETA_1 as f32,
        rest_1: (1.0 - BETA_1) as f32,
        beta_2: BETA_2 as f32,
        rest_2: (1.0 - BETA_2) as f32,
        rate: (learning_rate / correction(BETA_1)) as f32,
        square_scale: (1.0 / correction(BETA_2).sqrt()) as f32,
        epsilon: EPSILON as f32,
        shrink: (1.0 - learning_rate * decay.rate) as f32,
    }
}

/// Takes the step, parameter by parameter.
struct Mapper<'a> {
    optimiser: &'a mut AdamW,
    gradients: &'a mut GradientsParams,
    factor: f64,
    learning_rate: f64,
    path: Vec<String>,
}

impl ModuleMapper for Mapper<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !param.val().is_require_grad() {
            return param;
        }
        let name = checkpoint_name(&self.path);
        let Some(gradient) = self.gradients.remove::<D>(param.id) else {
            if !self.optimiser.moments.contains_key(&name) {
                self.optimiser.never_moved.insert(name);
            }
            return param;
        };
        let (id, value, mapper) = param.consume();
        let is_trained = value.is_require_grad();
        let shape = value.shape();
        let count = shape.num_elements();
        let (weights, gradient) = (value.inner().reshape([count]), gradient.reshape([count]));
        self.optimiser.never_moved.remove(&name);
        let mut moments = self.optimiser.moments.remove(&name).unwrap_or_else(|| {
            let zeros = || Tensor::zeros([count], &weights.device());
            Moments {
                mean: zeros(),
                square: zeros(),
                steps: 0,
            }
        });
        moments.steps = moments.steps.saturating_add(1);
        let decay = self.optimiser.decay;
        let mut numbers = numbers(decay, moments.steps, self.factor, self.learning_rate);
        if D == 1 && !decay.norms_and_biases {
            numbers.shrink = 1.0;
        }
        let (weights, moments) = moved(weights, gradient, moments, numbers);
        self.optimiser.moments.insert(name, moments);
        let value = Tensor::from_inner(weights.reshape(shape));
        Param::from_mapped_value(id, value.set_require_grad(is_trained), mapper)
    }
}

/// Weights and moments after the step. On flex they are changed where they lie if nothing else holds them.
fn moved(
    weights: Tensor<1>,
    gradient: Tensor<1>,
    Moments {
        mean,
        square,
        steps,
    }: Moments,
    numbers: AdamWStep,
) -> (Tensor<1>, Moments) {
    let is_on_flex = |tensor: &Tensor<1>| tensor.clone().try_into_primitive::<Flex>().is_ok();
    let all = [&weights, &gradient, &mean, &square];
    if !is_rehearsed() && all.into_iter().all(is_on_flex) {
        let [mut weights, gradient, mut mean, mut square] =
            [weights, gradient, mean, square].map(primitive);
        numbers.apply(
            weights.storage_mut::<f32>(),
            gradient.to_contiguous().storage::<f32>(),
            mean.storage_mut::<f32>(),
            square.storage_mut::<f32>(),
        );
        let [weights, mean, square] = [weights, mean, square].map(Tensor::from_primitive::<Flex>);
        let moments = Moments {
            mean,
            square,
            steps,
        };
        return (weights, moments);
    }
    let moments = Moments {
        mean,
        square,
        steps,
    };
    composed(weights, gradient, moments, numbers)
}

/// The same of burn's operations.
fn composed(
    weights: Tensor<1>,
    gradient: Tensor<1>,
    Moments {
        mean,
        square,
        steps,
    }: Moments,
    numbers: AdamWStep,
) -> (Tensor<1>, Moments) {
    let AdamWStep {
        factor,
        beta_1,
        rest_1,
        beta_2,
        rest_2,
        rate,
        square_scale,
        epsilon,
        shrink,
    } = numbers;
    let gradient = gradient * factor;
    let mean = mean * beta_1 + gradient.clone() * rest_1;
    let square = square * beta_2 + gradient.square() * rest_2;
    let size = square.clone().sqrt() * square_scale + epsilon;
    let weights = weights * shrink - mean.clone() / size * rate;
    let moments = Moments {
        mean,
        square,
        steps,
    };
    (weights, moments)
}

/// The primitive of a tensor that is on flex.
fn primitive(tensor: Tensor<1>) -> FloatTensor<Flex> {
    match tensor.try_into_primitive::<Flex>() {
        Ok(tensor) => tensor,
        Err(error) => unreachable!("it is on flex: {error:?}"),
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn values(seed: usize, count: usize) -> Vec<f32> {
        let numbers = (0..count).map(|index| ((index + seed) * 7919 + 13) % 101);
        numbers.map(|number| number as f32 / 50.0 - 1.0).collect()
    }

    fn tensor(values: Vec<f32>) -> Tensor<1> {
        let count = values.len();
        Tensor::from_data(TensorData::new(values, [count]), &Device::flex())
    }

    fn held(tensor: Tensor<1>) -> Vec<f32> {
        tensor.into_data().try_into_vec::<f32>().unwrap()
    }

    /// Three steps by the kernel, by burn's operations, and by the formula in double precision.
    #[test]
    fn the_kernel_is_the_formula() {
        for count in [1, 7, 16_384, 16_385, 40_001] {
            let zeros = || Moments {
                mean: tensor(vec![0.0; count]),
                square: tensor(vec![0.0; count]),
                steps: 0,
            };
            let mut own = (tensor(values(1, count)), zeros());
            let mut other = (tensor(values(1, count)), zeros());
            let mut plain: Vec<[f64; 3]> = values(1, count)
                .iter()
                .map(|&one| [f64::from(one), 0.0, 0.0])
                .collect();
            for step in 1..4 {
                let (rate, decay, factor) = (1e-2, 0.1, 0.5);
                let correction = |beta: f64| 1.0 - beta.powi(step);
                let numbers = super::numbers(decay.into(), step as u64, factor, rate);
                let gradient = values(10 * step as usize, count);
                own = moved(own.0, tensor(gradient.clone()), own.1, numbers);
                other = composed(other.0, tensor(gradient.clone()), other.1, numbers);
                for ([weight, mean, square], gradient) in plain.iter_mut().zip(gradient) {
                    let gradient = f64::from(gradient) * factor;
                    *mean = BETA_1 * *mean + (1.0 - BETA_1) * gradient;
                    *square = BETA_2 * *square + (1.0 - BETA_2) * gradient * gradient;
                    let size = (*square / correction(BETA_2)).sqrt() + EPSILON;
                    *weight =
                        *weight * (1.0 - rate * decay) - rate * *mean / correction(BETA_1) / size;
                }
            }
            for (found, other) in [(own.0, 0), (other.0, 0), (own.1.mean, 1), (own.1.square, 2)] {
                for (found, plain) in held(found).iter().zip(&plain) {
                    assert!((f64::from(*found) - plain[other]).abs() < 2e-6, "{count}");
                }
            }
        }
    }
}
