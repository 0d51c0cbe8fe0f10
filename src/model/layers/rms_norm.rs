//! Normalisation by the root of the mean square.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::operation::{FlexTensor, Inputs, Operation, shape, slice, tensor};
use crate::model::kernels;

/// RMS normalisation over the last dimension (Zhang and Sennrich 2019, arXiv 1910.07467), of width D.
#[derive(Module, Debug)]
pub(crate) struct RmsNorm {
    /// `[D]`
    pub weight: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl RmsNorm {
    /// Weights 1.
    pub fn new(width: usize, epsilon: f64, device: &Device) -> Self {
        Self::of(Tensor::ones([width], device), epsilon)
    }

    /// Of these weights `[D]`.
    pub fn of(weight: Tensor<1>, epsilon: f64) -> Self {
        Self {
            weight: Param::from_tensor(weight),
            epsilon,
        }
    }

    /// `x / sqrt(mean square + epsilon) * weight` of each row of `x` `[.., D]`.
    pub fn forward<const R: usize>(&self, x: Tensor<R>) -> Tensor<R> {
        let inputs = Inputs::default().with(x.clone()).with(self.weight.val());
        let own = inputs.apply(Normalise(self.epsilon as f32));
        own.unwrap_or_else(|| self.composed(x))
    }

    /// The same of burn's operations.
    pub(super) fn composed<const R: usize>(&self, x: Tensor<R>) -> Tensor<R> {
        let square = x.clone().square().mean_dim(R - 1);
        let normed = x / (square + self.epsilon).sqrt();
        normed * self.weight.val().unsqueeze()
    }
}

/// By kernels, with this epsilon.
#[derive(Debug, Clone)]
struct Normalise(f32);

impl Operation<2> for Normalise {
    /// Input, weight, and what each row was multiplied by.
    type Saved = (FlexTensor, FlexTensor, Vec<f32>);

    fn forward(
        &self,
        [x, weight]: [&FlexTensor; 2],
        saves: bool,
    ) -> (FlexTensor, Option<Self::Saved>) {
        let (y, scales) = kernels::rms_norm(slice(x), slice(weight), self.0);
        let saved = saves.then(|| (x.clone(), weight.clone(), scales));
        (tensor(y, shape(x)), saved)
    }

    fn backward(
        &self,
        (x, weight, scales): Self::Saved,
        gradient: FlexTensor,
        _: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let [dx, d_weight] =
            kernels::rms_norm_backward(slice(&x), slice(&weight), &scales, slice(&gradient));
        [
            Some(tensor(dx, shape(&x))),
            Some(tensor(d_weight, shape(&weight))),
        ]
    }
}
