//! A layer `x W' + b` whose weight W is stored as PyTorch's `Linear` has it.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::operation::{FlexTensor, Inputs, Operation, shape, shape_with_width, slice, tensor};
use super::{Precision, TrainingPass};
use crate::model::kernels::{self, Matrix};

/// A dense layer, with a bias or without.
#[derive(Module, Debug)]
pub(crate) struct Projection {
    /// `[out, in]`
    pub weight: Param<Tensor<2>>,
    /// `[out]`
    pub bias: Option<Param<Tensor<1>>>,
}

impl Projection {
    /// A layer of this weight `[out, in]`, with biases of 0 where it has a bias.
    pub fn new(weight: Param<Tensor<2>>, has_bias: bool, device: &Device) -> Self {
        let [out, _] = weight.val().dims();
        Self {
            bias: has_bias.then(|| Param::from_tensor(Tensor::zeros([out], device))),
            weight,
        }
    }

    /// `x W' + b` of `x` `[batch, time, in]`: `[batch, time, out]`. The product has the precision of the pass.
    pub fn forward(&self, x: Tensor<3>, training: &Option<&mut TrainingPass>) -> Tensor<3> {
        let [batch, time, inner] = x.dims();
        let x = x.reshape([batch * time, inner]);
        let precision = Precision::of(training);
        let own = match precision {
            Precision::F32 => self.by_kernels(x.clone()),
            Precision::Bf16 | Precision::F16 => None,
        };
        let y = own.unwrap_or_else(|| precision.product(x, self.weight.val().transpose()));
        let y = match &self.bias {
            Some(bias) => y + bias.val().unsqueeze(),
            None => y,
        };
        let [_, outer] = y.dims();
        y.reshape([batch, time, outer])
    }

    fn by_kernels(&self, x: Tensor<2>) -> Option<Tensor<2>> {
        let inputs = Inputs::default().with(x).with(self.weight.val());
        inputs.apply(Project)
    }
}

#[derive(Debug, Clone)]
struct Project;

impl Operation<2> for Project {
    /// Input and weight.
    type Saved = (FlexTensor, FlexTensor);

    fn forward(
        &self,
        [x, weight]: [&FlexTensor; 2],
        saves: bool,
    ) -> (FlexTensor, Option<Self::Saved>) {
        let [outer, inner] = [0, 1].map(|dimension| shape(weight)[dimension]);
        let matrix = Matrix::new(slice(weight), inner).transposed();
        let y = kernels::product_on_all_cores("projection", Matrix::new(slice(x), inner), matrix);
        let saved = saves.then(|| (x.clone(), weight.clone()));
        (tensor(y, shape_with_width(x, outer)), saved)
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
            tensor(found, shape(&x))
        });
        let d_weight = of_weight.then(|| {
            let x = Matrix::new(slice(&x), inner);
            let found = kernels::product_on_all_cores("projection, of W", slopes.transposed(), x);
            tensor(found, shape(&weight))
        });
        [d_x, d_weight]
    }
}
