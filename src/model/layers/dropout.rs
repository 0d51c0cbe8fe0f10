//! Dropout.

use burn::tensor::{Tensor, TensorData};

use super::operation::{FlexTensor, Inputs, Operation, shape, slice, tensor};
use super::{TrainingPass, device_mask};
use crate::device::is_host;
use crate::model::kernels::Mask;

/// `x` with dropout of probability `p` where the pass is a training pass.
pub(crate) fn drop<const D: usize>(
    training: &mut Option<&mut TrainingPass>,
    p: f64,
    x: Tensor<D>,
) -> Tensor<D> {
    let Some(mask) = training.as_mut().and_then(|pass| pass.mask(p)) else {
        return x;
    };
    let own = Inputs::default().with(x.clone()).apply(Through(mask));
    own.unwrap_or_else(|| through(mask, x))
}

/// `x` through a mask, by burn's operations.
pub(super) fn through<const D: usize>(mask: Mask, x: Tensor<D>) -> Tensor<D> {
    let count = x.shape().num_elements();
    let factors = if is_host(&x.device()) {
        let mut factors = vec![1.0; count];
        mask.apply(&mut factors);
        Tensor::from_data(TensorData::new(factors, [count]), &x.device())
    } else {
        device_mask::flat(mask, count, &x.device())
    };
    let shape = x.shape();
    x * factors.reshape(shape)
}

#[derive(Debug, Clone)]
struct Through(Mask);

impl Operation<1> for Through {
    type Saved = ();

    fn forward(&self, [x]: [&FlexTensor; 1], _: [bool; 1]) -> (FlexTensor, Option<()>) {
        let mut values = slice(x).to_vec();
        self.0.apply(&mut values);
        (tensor(values, shape(x)), Some(()))
    }

    fn backward(&self, (): (), mut gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        self.0.apply(gradient.storage_mut::<f32>());
        [Some(gradient)]
    }
}
