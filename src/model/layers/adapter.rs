//! What a low-rank adapter (LoRA, Hu et al. 2021, arXiv 2106.09685) adds to a layer's product.

// The matrices have the names of PEFT's files, which are those of the paper.
#![allow(non_snake_case)]

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::projection::projected;
use super::{Precision, TrainingPass, drop};

/// The factors of what is added to the weight of a layer: `scale B A`.
#[derive(Module, Debug)]
pub(crate) struct Adapter {
    /// `[rank, in]`
    pub lora_A: Factor,
    /// `[out, rank]`
    pub lora_B: Factor,
    /// What the product is multiplied by.
    #[module(skip)]
    pub scale: f64,
    /// The probability that a value of the input is dropped in training.
    #[module(skip)]
    pub dropout: f64,
}

/// A matrix of an adapter.
#[derive(Module, Debug)]
pub(crate) struct Factor {
    pub weight: Param<Tensor<2>>,
}

impl Adapter {
    /// `scale (x A') B'` of `x` `[.., in]`, which has dropout in training: `[.., out]`. The products have the precision of the pass.
    pub fn forward<const D: usize>(
        &self,
        x: Tensor<D>,
        training: &mut Option<&mut TrainingPass>,
    ) -> Tensor<D> {
        let (a, b) = (self.lora_A.weight.val(), self.lora_B.weight.val());
        let ([_, inner], [outer, _]) = (a.dims(), b.dims());
        let mut shape = x.shape();
        let rows = shape.num_elements() / inner;
        shape[D - 1] = outer;
        let precision = Precision::of(training);
        let x = drop(training, self.dropout, x.reshape([rows, inner]));
        let narrow = projected(x, a, precision) * self.scale;
        projected(narrow, b, precision).reshape(shape)
    }

    /// What is added to a weight `[out, in]`.
    pub fn product(&self) -> Tensor<2> {
        let (a, b) = (self.lora_A.weight.val(), self.lora_B.weight.val());
        b.matmul(a) * self.scale
    }
}
