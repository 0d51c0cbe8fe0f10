//! A layer `x W + b`, and GELU of it.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, module::linear};
use rayon::prelude::*;

use super::operation::{
    FlexTensor, Inputs, Operation, shape, shape_with_width, slice, tensor, width,
};
use super::{Adapter, Nonlinearity, Precision, TrainingPass, residual};
use crate::model::family::Adaptable;
use crate::model::kernels::{self, Matrix};

/// A dense layer whose weight W is stored as GPT-2 has it.
#[derive(Module, Debug)]
pub(crate) struct Linear {
    /// `[in, out]`
    pub weight: Param<Tensor<2>>,
    /// `[out]`
    pub bias: Param<Tensor<1>>,
    /// What is added to the product, where an adapter is trained.
    pub lora: Option<Adapter>,
}

impl Linear {
    /// What an adapter is put beside.
    pub fn adaptable(&mut self, saved_name: String) -> Adaptable<'_> {
        Adaptable {
            saved_name,
            weight: &mut self.weight,
            is_transposed: true,
            lora: &mut self.lora,
        }
    }
}

/// What is done with the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// Nothing.
    None,
    /// GELU in its tanh form.
    Gelu,
}

impl Activation {
    /// The function of each value.
    fn of<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::None => x,
            Self::Gelu => {
                let own = Inputs::default().with(x.clone()).apply(Gelu);
                own.unwrap_or_else(|| Nonlinearity::GeluTanh.of(x))
            }
        }
    }
}

/// `x W + b` over `x` `[.., in]`, with what an adapter adds, and its activation: `[.., out]`. The products have the precision of the pass.
pub(crate) fn dense<const D: usize>(
    layer: &Linear,
    x: Tensor<D>,
    activation: Activation,
    training: &mut Option<&mut TrainingPass>,
) -> Tensor<D> {
    let precision = Precision::of(training);
    let Some(adapter) = &layer.lora else {
        return of_layer(layer, x, activation, precision);
    };
    let y = of_layer(layer, x.clone(), Activation::None, precision);
    let added = adapter.forward(x, training);
    activation.of(residual(y, added, &mut None, 0.0))
}

/// The same without an adapter.
fn of_layer<const D: usize>(
    layer: &Linear,
    x: Tensor<D>,
    activation: Activation,
    precision: Precision,
) -> Tensor<D> {
    if precision == Precision::F32 {
        let inputs = Inputs::default().with(x.clone());
        let inputs = inputs.with(layer.weight.val()).with(layer.bias.val());
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
        Precision::F32 => linear(x, layer.weight.val(), Some(layer.bias.val())),
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
    let y = precision.product(x.reshape([rows, inner]), weight);
    (y + layer.bias.val().unsqueeze()).reshape(shape)
}

#[derive(Debug, Clone)]
struct Gelu;

impl Operation<1> for Gelu {
    /// The input.
    type Saved = FlexTensor;

    fn forward(
        &self,
        [x]: [&FlexTensor; 1],
        [wanted]: [bool; 1],
    ) -> (FlexTensor, Option<FlexTensor>) {
        let mut values = slice(x).to_vec();
        // A row is what an activation behind its product is made of.
        let rows = values.par_chunks_exact_mut(width(x));
        rows.for_each(kernels::gelu);
        (tensor(values, shape(x)), wanted.then(|| x.clone()))
    }

    fn backward(
        &self,
        x: FlexTensor,
        mut gradient: FlexTensor,
        _: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        kernels::gelu_slope_all(slice(&x), gradient.storage_mut::<f32>());
        [Some(gradient)]
    }
}

#[derive(Debug, Clone)]
struct Dense(Activation);

impl Operation<3> for Dense {
    /// Input where the gradient of the weight is wanted, weight, and the product where an activation follows.
    type Saved = (Option<FlexTensor>, FlexTensor, Option<FlexTensor>);

    fn forward(
        &self,
        [x, weight, bias]: [&FlexTensor; 3],
        wanted: [bool; 3],
    ) -> (FlexTensor, Option<Self::Saved>) {
        let Self(activation) = *self;
        let saves = wanted.contains(&true);
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
        let saved = |product| Some((wanted[1].then(|| x.clone()), weight.clone(), product));
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
        let [inner, outer] = [0, 1].map(|dimension| shape(&weight)[dimension]);
        let slopes = Matrix::new(slice(&gradient), outer);
        let d_x = of_x.then(|| {
            let matrix = Matrix::new(slice(&weight), outer).transposed();
            let found = kernels::product_on_all_cores("dense, of x", slopes, matrix);
            tensor(found, shape_with_width(&gradient, inner))
        });
        let d_weight = x.filter(|_| of_weight).map(|x| {
            let x = Matrix::new(slice(&x), inner).transposed();
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
