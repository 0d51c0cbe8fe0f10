//! Directions among a network's weights: gradients of functions of its logits and of losses.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use super::Network;
use super::layers::{on_flex, slice, token_tensor};
use super::loss::weighted_loss;
use super::parameters::checkpoint_name;
use crate::readback::{all_values, values};
use crate::thread::in_pool;

/// Values that are added up together.
const CHUNK: usize = 1 << 14;

/// A number for each weight of a network.
#[derive(Debug, Clone)]
pub struct Direction {
    /// Of each parameter, in the order of the network, flattened and without autodiff.
    parts: Vec<(String, Tensor<1>)>,
}

impl Direction {
    /// The gradient of the next-token cross-entropy of one text, summed over those of its tokens that `counts` has 1 for: `[time - 1]`, the first
    /// token is not predicted. `network` must be on an autodiff device. There is no dropout.
    pub fn of_losses(network: &Network, text: &[u32], counts: &[f32]) -> Self {
        in_pool(|| Self::of(weighted_loss(network, &[text], Some(counts), None), network))
    }

    /// The gradient of a number.
    fn of(number: Tensor<1>, network: &Network) -> Self {
        let mut found = Found {
            gradients: GradientsParams::from_grads(number.backward(), network),
            path: Vec::new(),
            parts: Vec::new(),
        };
        network.visit(&mut found);
        Self { parts: found.parts }
    }

    /// The same with each parameter's numbers changed by `rule`, which gets its name in the checkpoint.
    pub fn map(self, rule: impl Fn(&str, Tensor<1>) -> Tensor<1>) -> Self {
        let parts = self.parts.into_iter().map(|(name, part)| {
            let part = rule(&name, part);
            (name, part)
        });
        Self {
            parts: parts.collect(),
        }
    }

    /// The sum with another direction of the same network.
    pub fn plus(self, other: Self) -> Self {
        let both = self.parts.into_iter().zip(other.parts);
        let parts = both.map(|((name, one), (_, other))| (name, one + other));
        Self {
            parts: parts.collect(),
        }
    }

    /// The sum over all weights of the product with another direction of the same network.
    pub fn dot(&self, other: &Self) -> f64 {
        let (mut sum, mut elsewhere) = (0.0, Vec::new());
        for ((_, one), (_, other)) in self.parts.iter().zip(&other.parts) {
            match (on_flex(one), on_flex(other)) {
                (Some(one), Some(other)) => sum += product(slice(&one), slice(&other)),
                _ => elsewhere.extend(products(one, other)),
            }
        }
        let elsewhere = all_values(elsewhere).into_iter();
        elsewhere.fold(sum, |sum, chunk| sum + f64::from(chunk))
    }
}

/// The sum of the products of two tensors' values, added up in double precision.
fn product(one: &[f32], other: &[f32]) -> f64 {
    let both = one.par_chunks(CHUNK).zip(other.par_chunks(CHUNK));
    let sums = both.map(|(one, other)| {
        let both = one.iter().zip(other);
        both.map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum::<f64>()
    });
    sums.collect::<Vec<f64>>().into_iter().sum()
}

/// The sums of the products of each chunk of two tensors' values, where the tensors are.
fn products(one: &Tensor<1>, other: &Tensor<1>) -> Vec<Tensor<1>> {
    let products = one.clone() * other.clone();
    let [count] = products.dims();
    let (chunks, rest) = (count / CHUNK, count % CHUNK);
    let mut sums = Vec::new();
    if chunks > 0 {
        let whole = products.clone().narrow(0, 0, chunks * CHUNK);
        let whole = whole.reshape([chunks, CHUNK]).sum_dim(1);
        sums.push(whole.reshape([chunks]));
    }
    if rest > 0 {
        sums.push(products.narrow(0, count - rest, rest).sum());
    }
    sums
}

/// A pass over texts of one length, whose logits after the last token can be gone back from.
pub struct LastLogits<'a> {
    network: &'a Network,
    /// `[batch, vocab]`, with autodiff.
    logits: Tensor<2>,
}

impl<'a> LastLogits<'a> {
    /// Reads `rows` of one length without dropout. `network` must be on an autodiff device.
    pub fn of(network: &'a Network, rows: &[&[u32]]) -> Self {
        let logits = in_pool(|| {
            let hidden = network.hidden(token_tensor(rows, &network.device()), None);
            let [batch, time, width] = hidden.dims();
            let last = hidden.narrow(1, time - 1, 1).reshape([batch, width]);
            network.head(last)
        });
        Self { network, logits }
    }

    /// The logits, row by row: `[batch x vocab]`.
    pub fn values(&self) -> Vec<f32> {
        values(self.logits.clone().inner())
    }

    /// The gradient, by all weights, of a function of the logits whose derivatives by them are `by_logits` `[batch x vocab]`.
    pub fn gradient(self, by_logits: Vec<f32>) -> Direction {
        in_pool(|| {
            let by_logits = TensorData::new(by_logits, self.logits.dims());
            let by_logits: Tensor<2> = Tensor::from_data(by_logits, &self.network.device().inner());
            let sum = (self.logits * Tensor::from_inner(by_logits)).sum();
            Direction::of(sum, self.network)
        })
    }
}

/// Each parameter's gradient; 0 where the function does not depend on it.
struct Found {
    gradients: GradientsParams,
    path: Vec<String>,
    parts: Vec<(String, Tensor<1>)>,
}

impl ModuleVisitor for Found {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        // A weight beside an adapter is not trained.
        if !param.val().is_require_grad() {
            return;
        }
        let value = param.val().inner();
        let count = value.shape().num_elements();
        let gradient = self.gradients.remove::<D>(param.id);
        let gradient = gradient.unwrap_or_else(|| value.zeros_like());
        let name = checkpoint_name(&self.path);
        self.parts.push((name, gradient.reshape([count])));
    }
}
