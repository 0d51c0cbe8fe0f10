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
        wanted: [bool; 2],
    ) -> (FlexTensor, Option<Self::Saved>) {
        let (y, scales) = kernels::rms_norm(slice(x), slice(weight), self.0);
        let saved = wanted
            .contains(&true)
            .then(|| (x.clone(), weight.clone(), scales));
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{
        backward, differences, gradient, near, numbers, tensor, value, weighted, widened,
    };
    use super::RmsNorm;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn norms_of_any_size_are_burns(rows in 1usize..300, width in 1usize..150) {
            let make = || (
                RmsNorm::of(tensor(value(2, width), [width]), 1e-5),
                tensor(value(1, rows * width), [rows, width]),
            );
            let ((own, x), (other, its_x)) = (make(), make());
            let (y, its_y) = (own.forward(x.clone()), other.composed(its_x.clone()));
            let (g, its_g) = (backward(&y), backward(&its_y));
            near(&numbers(y), &widened(&numbers(its_y)), "y");
            near(&gradient(&own.weight.val(), &g), &widened(&gradient(&other.weight.val(), &its_g)), "weight");
            // A row of one value is normed to its sign: its gradient is all rounding.
            if width > 1 {
                near(&gradient(&x, &g), &widened(&gradient(&its_x, &its_g)), "x");
            }
        }
    }

    #[test]
    fn gradients_are_slopes() {
        let (rows, width) = (3, 6);
        let (x, weight) = (value(1, rows * width), value(2, width));
        let plain = |x: &[f64], weight: &[f64]| -> Vec<f64> {
            let rows = x.chunks(width).flat_map(|row| {
                let square = row.iter().map(|one| one * one).sum::<f64>() / width as f64;
                let normed = row.iter().map(move |one| one / (square + 1e-5).sqrt());
                let scaled = normed.zip(weight);
                scaled.map(|(one, weight)| one * weight).collect::<Vec<_>>()
            });
            rows.collect()
        };
        let norm = RmsNorm::of(tensor(weight.clone(), [width]), 1e-5);
        let input = tensor(x.clone(), [rows, width]);
        let y = norm.forward(input.clone());
        let found = backward(&y);
        let [wide_x, wide_weight] = [&x, &weight].map(|values| widened(values));
        near(&numbers(y), &plain(&wide_x, &wide_weight), "y");
        let of_x = differences(&|x| weighted(plain(x, &wide_weight)), &x);
        near(&gradient(&input, &found), &of_x, "x");
        let of_weight = differences(&|weight| weighted(plain(&wide_x, weight)), &weight);
        near(&gradient(&norm.weight.val(), &found), &of_weight, "weight");
    }
}
