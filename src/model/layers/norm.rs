//! Layer normalisation.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::operation::{FlexTensor, Inputs, Operation, shape, slice, tensor};
use crate::model::kernels::{self, Moments};

/// Layer normalisation over the last dimension (Ba et al. 2016), of width D.
#[derive(Module, Debug)]
pub(crate) struct LayerNorm {
    /// `[D]`
    pub weight: Param<Tensor<1>>,
    /// `[D]`
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl LayerNorm {
    /// Weights 1 and biases 0.
    pub fn new(width: usize, epsilon: f64, device: &Device) -> Self {
        Self::of(
            Tensor::ones([width], device),
            Tensor::zeros([width], device),
            epsilon,
        )
    }

    /// Of these weights and biases `[D]`.
    pub fn of(weight: Tensor<1>, bias: Tensor<1>, epsilon: f64) -> Self {
        Self {
            weight: Param::from_tensor(weight),
            bias: Param::from_tensor(bias),
            epsilon,
        }
    }

    /// `(x - mean) / sqrt(variance + epsilon) * weight + bias` of each row of `x` `[.., D]`.
    pub fn forward<const R: usize>(&self, x: Tensor<R>) -> Tensor<R> {
        let inputs = Inputs::default().with(x.clone());
        let inputs = inputs.with(self.weight.val()).with(self.bias.val());
        if let Some(y) = inputs.apply(Normalise(self.epsilon as f32)) {
            return y;
        }
        self.composed(x)
    }

    /// The same of burn's operations.
    pub(super) fn composed<const R: usize>(&self, x: Tensor<R>) -> Tensor<R> {
        let centred = x.clone() - x.mean_dim(R - 1);
        let variance = centred.clone().square().mean_dim(R - 1);
        let normed = centred / (variance + self.epsilon).sqrt();
        normed * self.weight.val().unsqueeze() + self.bias.val().unsqueeze()
    }
}

/// By kernels, with this epsilon.
#[derive(Debug, Clone)]
struct Normalise(f32);

impl Operation<3> for Normalise {
    /// Input, weight, and the moments of each row.
    type Saved = (FlexTensor, FlexTensor, Vec<Moments>);

    fn forward(
        &self,
        [x, weight, bias]: [&FlexTensor; 3],
        wanted: [bool; 3],
    ) -> (FlexTensor, Option<Self::Saved>) {
        let (y, moments) = kernels::layer_norm(slice(x), slice(weight), slice(bias), self.0);
        let saved = wanted
            .contains(&true)
            .then(|| (x.clone(), weight.clone(), moments));
        (tensor(y, shape(x)), saved)
    }

    fn backward(
        &self,
        (x, weight, moments): Self::Saved,
        gradient: FlexTensor,
        _: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let [dx, d_weight, d_bias] =
            kernels::layer_norm_backward(slice(&x), slice(&weight), &moments, slice(&gradient));
        [
            Some(tensor(dx, shape(&x))),
            Some(tensor(d_weight, shape(&weight))),
            Some(tensor(d_bias, shape(&weight))),
        ]
    }
}
