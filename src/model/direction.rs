//! Directions among a network's weights: the gradient of a function of its logits, and the network moved along a direction.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};

use super::Network;
use super::layers::token_tensor;
use super::parameters::{checkpoint_name, flattened_parameters};
use super::reading::values;

/// A number for each weight of a network.
#[derive(Debug, Clone)]
pub struct Direction {
    /// Of each parameter, in the order of the network, flattened and without autodiff.
    parts: Vec<(String, Tensor<1>)>,
}

impl Direction {
    /// The weights themselves.
    pub fn weights(network: &Network) -> Self {
        Self {
            parts: flattened_parameters(network),
        }
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
        let both = self.parts.iter().zip(&other.parts);
        let products = both.map(|((_, one), (_, other))| {
            let product = (one.clone() * other.clone()).into_data();
            product.iter::<f64>().sum::<f64>()
        });
        products.sum()
    }

    /// The L2 norm.
    pub fn norm(&self) -> f64 {
        self.dot(self).sqrt()
    }

    /// The network with `by` times this added to its weights, off autodiff.
    pub fn moved(&self, network: &Network, by: f64) -> Network {
        let mut onward = Onward {
            parts: &self.parts,
            by,
        };
        network.valid().map(&mut onward)
    }
}

/// Adds to each parameter.
struct Onward<'a> {
    /// Of the parameters that are still to come.
    parts: &'a [(String, Tensor<1>)],
    by: f64,
}

impl ModuleMapper for Onward<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(((_, part), rest)) = self.parts.split_first() else {
            return param;
        };
        self.parts = rest;
        param.map(|value| {
            let part = part.clone().reshape(value.shape());
            value + part * self.by
        })
    }
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
        let logits = rayon::scope(|_| {
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
        rayon::scope(|_| {
            let by_logits = TensorData::new(by_logits, self.logits.dims());
            let by_logits: Tensor<2> = Tensor::from_data(by_logits, &self.network.device().inner());
            let sum = (self.logits * Tensor::from_inner(by_logits)).sum();
            let mut found = Found {
                gradients: GradientsParams::from_grads(sum.backward(), self.network),
                path: Vec::new(),
                parts: Vec::new(),
            };
            self.network.visit(&mut found);
            Direction { parts: found.parts }
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
        let value = param.val().inner();
        let count = value.shape().num_elements();
        let gradient = self.gradients.remove::<D>(param.id);
        let gradient = gradient.unwrap_or_else(|| value.zeros_like());
        let name = checkpoint_name(&self.path);
        self.parts.push((name, gradient.reshape([count])));
    }
}
