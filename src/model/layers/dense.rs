//! A layer `x W + b`, and GELU of it.

use burn::nn::Linear;
use burn::tensor::Tensor;

use super::operation::{
    FlexTensor, Inputs, Operation, shape, shape_with_width, slice, tensor, width,
};
use super::{Nonlinearity, Precision, TrainingPass};
use crate::model::kernels::{self, Matrix};

/// What is done with the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// Nothing.
    None,
    /// GELU in its tanh form.
    Gelu,
}

/// `x W + b` of a layer with bias over `x` `[.., in]`, and its activation: `[.., out]`. The product has the precision of the pass.
pub(crate) fn dense<const D: usize>(
    layer: &Linear,
    x: Tensor<D>,
    activation: Activation,
    training: &Option<&mut TrainingPass>,
) -> Tensor<D> {
    let precision = Precision::of(training);
    let bias = layer.bias.as_ref();
    if let Some(bias) = bias.filter(|_| precision == Precision::F32) {
        let inputs = Inputs::default().with(x.clone());
        let inputs = inputs.with(layer.weight.val()).with(bias.val());
        if let Some(y) = inputs.apply(Dense(activation)) {
            return y;
        }
    }
    composed(layer, x, activation, precision)
}

/// The same of burn's operations.
pub(super) fn composed<const D: usize>(
    layer: &Linear,
    x: Tensor<D>,
    activation: Activation,
    precision: Precision,
) -> Tensor<D> {
    let y = match precision {
        Precision::F32 => layer.forward(x),
        Precision::Bf16 | Precision::F16 => product_and_bias(layer, x, precision),
    };
    match activation {
        Activation::None => y,
        Activation::Gelu => Nonlinearity::GeluTanh.of(y),
    }
}

/// `x W + b` with the product in `precision`. It is one product over all rows, so that the weight's gradient is summed within it, in single
/// precision, as that of the bias is.
fn product_and_bias<const D: usize>(
    layer: &Linear,
    x: Tensor<D>,
    precision: Precision,
) -> Tensor<D> {
    let weight = layer.weight.val();
    let [inner, outer] = weight.dims();
    let mut shape = x.shape();
    let rows = shape.num_elements() / inner;
    shape[D - 1] = outer;
    let mut y = precision.product(x.reshape([rows, inner]), weight);
    if let Some(bias) = &layer.bias {
        y = y + bias.val().unsqueeze();
    }
    y.reshape(shape)
}

#[derive(Debug, Clone)]
struct Dense(Activation);

impl Operation<3> for Dense {
    /// Input, weight, and the product where an activation follows.
    type Saved = (FlexTensor, FlexTensor, Option<FlexTensor>);

    fn forward(
        &self,
        [x, weight, bias]: [&FlexTensor; 3],
        saves: bool,
    ) -> (FlexTensor, Option<Self::Saved>) {
        let Self(activation) = *self;
        let (values, matrix, bias) = (slice(x), slice(weight), slice(bias));
        let outer = bias.len();
        let rows = values.len() * outer / matrix.len();
        let finish: &(dyn Fn(&mut [f32]) + Sync) = match activation {
            Activation::Gelu if !saves => &kernels::gelu,
            _ => &|_| {},
        };
        let shape = shape_with_width(x, outer);
        if !saves && rows <= kernels::MOST_ROWS {
            return (
                tensor(kernels::product(values, matrix, bias, finish), shape),
                None,
            );
        }
        let (x_matrix, matrix) = (Matrix::new(values, width(x)), Matrix::new(matrix, outer));
        let mut y = kernels::product_on_all_cores("dense", x_matrix, matrix);
        let saved = |product| Some((x.clone(), weight.clone(), product));
        if saves && activation == Activation::Gelu {
            let active = kernels::add_bias_and_gelu(&mut y, bias);
            let product = tensor(y, shape.clone());
            return (tensor(active, shape), saved(Some(product)));
        }
        kernels::add_bias(&mut y, bias, finish);
        (tensor(y, shape), saves.then(|| saved(None)).flatten())
    }

    fn backward(
        &self,
        (x, weight, product): Self::Saved,
        mut gradient: FlexTensor,
        [of_x, of_weight, of_bias]: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        if let Some(product) = &product {
            kernels::gelu_slope_all(slice(product), gradient.storage_mut::<f32>());
        }
        let (values, matrix, slopes) = (slice(&x), slice(&weight), slice(&gradient));
        let (inner, outer) = (width(&x), width(&weight));
        let (slopes, matrix) = (Matrix::new(slopes, outer), Matrix::new(matrix, outer));
        let d_x = of_x.then(|| {
            let found = kernels::product_on_all_cores("dense, of x", slopes, matrix.transposed());
            tensor(found, shape(&x))
        });
        let d_weight = of_weight.then(|| {
            let x = Matrix::new(values, inner).transposed();
            let found = kernels::product_on_all_cores("dense, of W", x, slopes);
            tensor(found, shape(&weight))
        });
        let d_bias = of_bias.then(|| {
            let sums = kernels::column_sums(slice(&gradient), outer);
            tensor(sums, [outer])
        });
        [d_x, d_weight, d_bias]
    }
}
