//! GELU in its tanh form, `0.5 x (1 + tanh u)` with `u = sqrt(2/pi) (x + 0.044715 x^3)` (Hendrycks and Gimpel 2016, arXiv 1606.08415): by kernels of our
//! own on flex, where burn's elementwise operations take as long as the matrix product before them, and by burn's operations elsewhere.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;

use crate::model::kernels;

/// A tensor of the backend flex.
type FlexTensor = FloatTensor<Flex>;

/// GELU of every value.
pub(crate) fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if let Ok(x) = x.clone().try_into_primitive::<Autodiff<Flex>>() {
        let guards = [x.node()];
        let x = x.into_primitive().to_contiguous();
        let y = of(x.clone());
        let prepared = GeluBackward
            .prepare::<NoCheckpointing>(guards)
            .compute_bound();
        let y = match prepared.stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(x, y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        };
        return Tensor::from_primitive::<Autodiff<Flex>>(y);
    }
    if let Ok(x) = x.clone().try_into_primitive::<Flex>() {
        return Tensor::from_primitive::<Flex>(of(x.to_contiguous()));
    }
    // The same function as `x sigmoid(2u)`.
    let scale = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
    let square = x.clone() * x.clone();
    let twice_u = x.clone() * (square * (0.044715 * scale) + scale);
    x * sigmoid(twice_u)
}

fn of(mut x: FlexTensor) -> FlexTensor {
    kernels::gelu_all(x.storage_mut::<f32>());
    x
}

/// Keeps x, and multiplies what comes back by the derivative there.
#[derive(Debug)]
struct GeluBackward;

impl Backward<Flex, 1> for GeluBackward {
    type State = FlexTensor;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let mut gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let [Some(parent)] = ops.parents else { return };
        kernels::gelu_slope_all(ops.state.storage::<f32>(), gradient.storage_mut::<f32>());
        gradients.register::<Flex>(parent.id, gradient);
    }
}
