//! A linear layer while reading on: by a kernel of our own where the rows are few.

use burn::backend::Flex;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, TensorData};

use super::gelu;
use crate::model::kernels;

/// `x W + b` of a layer, and GELU of it if so wanted: by our own kernel where the rows are few and their values at hand.
pub(crate) fn linear(layer: &Linear, x: Tensor<2>, with_gelu: bool) -> Tensor<2> {
    let [rows, _] = x.dims();
    let own = if rows <= kernels::MOST_ROWS {
        few_rows(layer, x.clone(), with_gelu)
    } else {
        None
    };
    own.unwrap_or_else(|| {
        let y = layer.forward(x);
        if with_gelu { gelu(y) } else { y }
    })
}

/// None on another device than flex.
fn few_rows(layer: &Linear, x: Tensor<2>, with_gelu: bool) -> Option<Tensor<2>> {
    let of = |tensor: Tensor<2>| tensor.try_into_primitive::<Flex>().ok();
    let (weight, bias) = (of(layer.weight.val())?, layer.bias.as_ref()?.val());
    let (bias, x) = (of(bias.unsqueeze())?, of(x)?);
    let finish: &(dyn Fn(&mut [f32]) + Sync) = if with_gelu { &kernels::gelu } else { &|_| {} };
    let bias = bias.as_slice::<f32>()?;
    let y = kernels::product(x.as_slice()?, weight.as_slice()?, bias, finish);
    let shape = [y.len() / bias.len(), bias.len()];
    Some(Tensor::from_data(
        TensorData::new(y, shape),
        &Device::flex(),
    ))
}
