//! A layer `x W' + b` whose weight W is stored as PyTorch's `Linear` has it.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::operation::{FlexTensor, Inputs, Operation, shape, shape_with_width, slice, tensor};
use super::{Adapter, Precision, TrainingPass, residual};
use crate::model::family::Adaptable;
use crate::model::kernels::{self, Matrix};

/// A dense layer, with a bias or without.
#[derive(Module, Debug)]
pub(crate) struct Projection {
    /// `[out, in]`
    pub weight: Param<Tensor<2>>,
    /// `[out]`
    pub bias: Option<Param<Tensor<1>>>,
    /// What is added to the product, where an adapter is trained.
    pub lora: Option<Adapter>,
}

impl Projection {
    /// A layer of this weight `[out, in]`, with biases of 0 where it has a bias.
    pub fn new(weight: Param<Tensor<2>>, has_bias: bool, device: &Device) -> Self {
        let [out, _] = weight.val().dims();
        Self {
            bias: has_bias.then(|| Param::from_tensor(Tensor::zeros([out], device))),
            weight,
            lora: None,
        }
    }

    /// `x W' + b` of `x` `[batch, time, in]`, with what an adapter adds: `[batch, time, out]`. The products have the precision of the pass.
    pub fn forward(&self, x: Tensor<3>, training: &mut Option<&mut TrainingPass>) -> Tensor<3> {
        let [batch, time, inner] = x.dims();
        let x = x.reshape([batch * time, inner]);
        let y = projected(x.clone(), self.weight.val(), Precision::of(training));
        let y = match &self.bias {
            Some(bias) => y + bias.val().unsqueeze(),
            None => y,
        };
        let y = match &self.lora {
            Some(adapter) => residual(y, adapter.forward(x, training), &mut None, 0.0),
            None => y,
        };
        let [_, outer] = y.dims();
        y.reshape([batch, time, outer])
    }

    /// What an adapter is put beside.
    pub fn adaptable(&mut self, saved_name: String) -> Adaptable<'_> {
        Adaptable {
            saved_name,
            weight: &mut self.weight,
            is_transposed: false,
            lora: &mut self.lora,
        }
    }
}

/// `x W'` of `x` `[rows, in]` and W `[out, in]`, in this precision: `[rows, out]`.
pub(super) fn projected(x: Tensor<2>, weight: Tensor<2>, precision: Precision) -> Tensor<2> {
    let own = match precision {
        Precision::F32 => {
            let inputs = Inputs::default().with(x.clone()).with(weight.clone());
            inputs.apply(Project)
        }
        Precision::Bf16 | Precision::F16 => None,
    };
    own.unwrap_or_else(|| precision.product(x, weight.transpose()))
}

#[derive(Debug, Clone)]
struct Project;

impl Operation<2> for Project {
    /// Input where the gradient of the weight is wanted, and weight.
    type Saved = (Option<FlexTensor>, FlexTensor);

    fn forward(
        &self,
        [x, weight]: [&FlexTensor; 2],
        wanted: [bool; 2],
    ) -> (FlexTensor, Option<Self::Saved>) {
        let [outer, inner] = [0, 1].map(|dimension| shape(weight)[dimension]);
        let matrix = Matrix::new(slice(weight), inner).transposed();
        let y = kernels::product_on_all_cores("projection", Matrix::new(slice(x), inner), matrix);
        let saved = (wanted[1].then(|| x.clone()), weight.clone());
        let y = tensor(y, shape_with_width(x, outer));
        (y, wanted.contains(&true).then_some(saved))
    }

    fn backward(
        &self,
        (x, weight): Self::Saved,
        gradient: FlexTensor,
        [of_x, of_weight]: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let [outer, inner] = [0, 1].map(|dimension| shape(&weight)[dimension]);
        let slopes = Matrix::new(slice(&gradient), outer);
        let d_x = of_x.then(|| {
            let weight = Matrix::new(slice(&weight), inner);
            let found = kernels::product_on_all_cores("projection, of x", slopes, weight);
            tensor(found, shape_with_width(&gradient, inner))
        });
        let d_weight = x.filter(|_| of_weight).map(|x| {
            let x = Matrix::new(slice(&x), inner);
            let found = kernels::product_on_all_cores("projection, of W", slopes.transposed(), x);
            tensor(found, shape(&weight))
        });
        [d_x, d_weight]
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use proptest::prelude::*;

    use super::super::tests::{backward, gradient, near, numbers, tensor, value};
    use super::Projection;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Against sums in double precision, with a bias and without.
        #[test]
        fn products_and_gradients_are_sums(rows in 1usize..140, inner in 1usize..30, outer in 1usize..30, has_bias: bool) {
            let (x, weight, bias) = (value(1, rows * inner), value(2, outer * inner), value(3, outer));
            let layer = Projection {
                weight: Param::from_tensor(tensor(weight.clone(), [outer, inner])),
                bias: has_bias.then(|| Param::from_tensor(tensor(bias.clone(), [outer]))),
                lora: None,
            };
            let input = tensor(x.clone(), [1, rows, inner]);
            let y = layer.forward(input.clone(), &mut None);
            let gradients = backward(&y);
            let slopes = value(99, rows * outer);
            let sum = |count: usize, of: &dyn Fn(usize) -> f64| (0..count).map(of).sum::<f64>();
            let [x, weight, bias, slopes] = [x, weight, bias, slopes]
                .map(|values| values.into_iter().map(f64::from).collect::<Vec<f64>>());
            let bias = |column: usize| if has_bias { bias[column] } else { 0.0 };
            let expected = (0..rows * outer).map(|at| {
                let (row, column) = (at / outer, at % outer);
                bias(column) + sum(inner, &|k| x[row * inner + k] * weight[column * inner + k])
            });
            near(&numbers(y), &expected.collect::<Vec<_>>(), "output");
            let expected = (0..rows * inner).map(|at| {
                let (row, k) = (at / inner, at % inner);
                sum(outer, &|column| slopes[row * outer + column] * weight[column * inner + k])
            });
            near(&gradient(&input, &gradients), &expected.collect::<Vec<_>>(), "x");
            let expected = (0..outer * inner).map(|at| {
                let (column, k) = (at / inner, at % inner);
                sum(rows, &|row| slopes[row * outer + column] * x[row * inner + k])
            });
            near(&gradient(&layer.weight.val(), &gradients), &expected.collect::<Vec<_>>(), "weight");
            if let Some(bias) = &layer.bias {
                let expected = (0..outer).map(|column| sum(rows, &|row| slopes[row * outer + column]));
                near(&gradient(&bias.val(), &gradients), &expected.collect::<Vec<_>>(), "bias");
            }
        }
    }
}
