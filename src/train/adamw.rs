//! AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) over the parameters of a network: one pass over each tensor on flex, and burn's operations
//! on other devices.

use std::collections::BTreeMap;

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn::module::{ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::hook::{Optimiser, ParameterValues};
use crate::model::{AdamWStep, Network, flattened_parameters};

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
}

/// The optimiser of one model, with the moments of its parameters by their names in the checkpoint.
#[derive(Debug, Clone)]
pub struct AdamW {
    decay: WeightDecay,
    steps: u64,
    moments: BTreeMap<String, Moments>,
}

impl AdamW {
    /// An optimiser that has taken no step.
    pub fn new(decay: WeightDecay) -> Self {
        Self {
            decay,
            steps: 0,
            moments: BTreeMap::new(),
        }
    }

    /// Moves the weights of `model`, on an autodiff device, by one step. Each gradient is multiplied by `factor` first.
    pub fn step(
        &mut self,
        model: &mut Network,
        gradients: &mut GradientsParams,
        factor: f64,
        learning_rate: f64,
    ) {
        self.steps = self.steps.saturating_add(1);
        let numbers = numbers(self.decay, self.steps, factor, learning_rate);
        let mut mapper = Mapper {
            optimiser: self,
            gradients,
            numbers,
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
            mean: moments(|moments| &moments.mean),
            square: moments(|moments| &moments.square),
            beta_2: BETA_2,
            epsilon: EPSILON,
        }
    }

    /// The bytes of a safetensors file: `mean.NAME` and `square.NAME` for each parameter that has moments, flattened, and the number of steps.
    ///
    /// # Errors
    /// When they cannot be put into that format.
    pub fn to_bytes(&self) -> Result<Vec<u8>, safetensors::SafeTensorError> {
        let mut parts: Vec<(String, TensorData)> = Vec::new();
        for (name, Moments { mean, square }) in &self.moments {
            parts.push((format!("mean.{name}"), mean.to_data()));
            parts.push((format!("square.{name}"), square.to_data()));
        }
        let views = parts.iter().map(|(name, data)| {
            let view = TensorView::new(Dtype::F32, data.shape().to_vec(), data.as_bytes())?;
            Ok((name.as_str(), view))
        });
        let views: Vec<(&str, TensorView)> =
            views.collect::<Result<_, safetensors::SafeTensorError>>()?;
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
        for (name, values) in flattened_parameters(model) {
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
        let mut moments = BTreeMap::new();
        // Before the first step there are none.
        for (name, &count) in known.iter().filter(|_| steps > 0) {
            let mean = read(&format!("mean.{name}"), count)?;
            let square = read(&format!("square.{name}"), count)?;
            moments.insert(name.clone(), Moments { mean, square });
        }
        if file.len() != 2 * moments.len() {
            return Err("it has moments of parameters that the model does not have".to_owned());
        }
        Ok(Self {
            decay: self.decay,
            steps,
            moments,
        })
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
    numbers: AdamWStep,
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
        let Some(gradient) = self.gradients.remove::<D>(param.id) else {
            return param;
        };
        let mut numbers = self.numbers;
        if D == 1 && !self.optimiser.decay.norms_and_biases {
            numbers.shrink = 1.0;
        }
        let (id, value, mapper) = param.consume();
        let is_trained = value.is_require_grad();
        let shape = value.shape();
        let count = shape.num_elements();
        let (weights, gradient) = (value.inner().reshape([count]), gradient.reshape([count]));
        let name = self.path.join(".");
        let moments = self.optimiser.moments.remove(&name).unwrap_or_else(|| {
            let zeros = || Tensor::zeros([count], &weights.device());
            Moments {
                mean: zeros(),
                square: zeros(),
            }
        });
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
    Moments { mean, square }: Moments,
    numbers: AdamWStep,
) -> (Tensor<1>, Moments) {
    let is_on_flex = |tensor: &Tensor<1>| tensor.clone().try_into_primitive::<Flex>().is_ok();
    if [&weights, &gradient, &mean, &square]
        .into_iter()
        .all(is_on_flex)
    {
        let [mut weights, gradient, mut mean, mut square] =
            [weights, gradient, mean, square].map(primitive);
        numbers.apply(
            weights.storage_mut::<f32>(),
            gradient.to_contiguous().storage::<f32>(),
            mean.storage_mut::<f32>(),
            square.storage_mut::<f32>(),
        );
        let [weights, mean, square] = [weights, mean, square].map(Tensor::from_primitive::<Flex>);
        return (weights, Moments { mean, square });
    }
    composed(weights, gradient, Moments { mean, square }, numbers)
}

/// The same of burn's operations.
fn composed(
    weights: Tensor<1>,
    gradient: Tensor<1>,
    Moments { mean, square }: Moments,
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
    (weights, Moments { mean, square })
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
