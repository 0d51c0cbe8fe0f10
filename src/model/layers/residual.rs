//! What a part of the network adds to the residual stream.

use burn::tensor::Tensor;

use super::TrainingPass;
use super::dropout::through;
use super::operation::{FlexTensor, Inputs, Operation, shape, slice, tensor};
use crate::model::kernels::{self, Mask};

/// `x` plus `y`, the latter with dropout of probability `p` where the pass is a training pass.
pub(crate) fn residual<const D: usize>(
    x: Tensor<D>,
    y: Tensor<D>,
    training: &mut Option<&mut TrainingPass>,
    p: f64,
) -> Tensor<D> {
    let mask = training.as_mut().and_then(|pass| pass.mask(p));
    let inputs = Inputs::default().with(x.clone()).with(y.clone());
    if let Some(sum) = inputs.apply(Residual(mask)) {
        return sum;
    }
    match mask {
        Some(mask) => x + through(mask, y),
        None => x + y,
    }
}

#[derive(Debug, Clone)]
pub(super) struct Residual(pub Option<Mask>);

impl Operation<2> for Residual {
    type Saved = ();

    fn forward(&self, [x, y]: [&FlexTensor; 2], _: [bool; 2]) -> (FlexTensor, Option<()>) {
        let sum = kernels::add(slice(x), slice(y), self.0);
        (tensor(sum, shape(x)), Some(()))
    }

    fn backward(&self, (): (), gradient: FlexTensor, _: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let mut added = gradient.clone();
        if let Some(mask) = self.0 {
            mask.apply(added.storage_mut::<f32>());
        }
        [Some(gradient), Some(added)]
    }
}
