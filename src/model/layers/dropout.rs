//! Dropout whose masks are functions of keys from a generator of our own, so that the training's randomness is a function of (seed, model,
//! micro-batch) alone: no hook can disturb it, and nothing of it has to be saved for a resume. The masks are the same on every device.

use burn::tensor::{Tensor, TensorData};
use rand::RngCore;
use rand_chacha::ChaCha8Rng;

use super::operation::{FlexTensor, Inputs, Operation, shape, slice, tensor};
use crate::model::Role;
use crate::model::kernels::Mask;
use crate::random::{Purpose, stream};

/// Dropout masks of one forward pass.
pub struct Dropout {
    rng: ChaCha8Rng,
}

impl Dropout {
    /// Masks whose keys are drawn from `rng`, in the order in which the forward pass asks for them.
    pub fn new(rng: ChaCha8Rng) -> Self {
        Self { rng }
    }

    /// The masks of a model's training pass over a micro-batch.
    pub(crate) fn of(seed: u64, role: Role, micro_batch: u64) -> Self {
        Self::new(stream(seed, Purpose::Dropout, role as u64, micro_batch))
    }

    /// The next mask: it zeroes each element with probability `p` and scales the others by `1 / (1 - p)`, so that the expectation stays. None
    /// where `p` is 0.
    pub(crate) fn mask(&mut self, p: f64) -> Option<Mask> {
        (p > 0.0).then(|| Mask::new(self.rng.next_u64(), p))
    }
}

/// `x` with dropout of probability `p` where the pass is a training pass.
pub(crate) fn drop<const D: usize>(
    dropout: &mut Option<&mut Dropout>,
    p: f64,
    x: Tensor<D>,
) -> Tensor<D> {
    let Some(mask) = dropout.as_mut().and_then(|dropout| dropout.mask(p)) else {
        return x;
    };
    let own = Inputs::default().with(x.clone()).apply(Through(mask));
    own.unwrap_or_else(|| through(mask, x))
}

/// `x` through a mask, by burn's operations.
pub(super) fn through<const D: usize>(mask: Mask, x: Tensor<D>) -> Tensor<D> {
    let mut factors = vec![1.0; x.shape().num_elements()];
    mask.apply(&mut factors);
    let factors = TensorData::new(factors, x.shape());
    x.clone() * Tensor::from_data(factors, &x.device())
}

#[derive(Debug, Clone)]
struct Through(Mask);

impl Operation<1> for Through {
    type Saved = ();

    fn forward(&self, [x]: [&FlexTensor; 1], _: bool) -> (FlexTensor, Option<()>) {
        let mut values = slice(x).to_vec();
        self.0.apply(&mut values);
        (tensor(values, shape(x)), Some(()))
    }

    fn backward(&self, (): (), mut gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        self.0.apply(gradient.storage_mut::<f32>());
        [Some(gradient)]
    }
}
