//! Dropout with masks from a generator of our own, so that the training's randomness is a function of (seed, model, micro-batch) alone:
//! no hook can disturb it, and nothing of it has to be saved for a resume.

use burn::tensor::{Tensor, TensorData};
use rand::RngCore;
use rand_chacha::ChaCha8Rng;

/// Dropout masks of one forward pass.
pub struct Dropout {
    rng: ChaCha8Rng,
}

impl Dropout {
    /// Masks drawn from `rng`, in the order in which the forward pass asks for them.
    pub fn new(rng: ChaCha8Rng) -> Self {
        Self { rng }
    }

    /// Zeroes each element with probability `p` and scales the others by `1 / (1 - p)`, so that the expectation stays.
    pub(crate) fn apply<const D: usize>(&mut self, p: f64, input: Tensor<D>) -> Tensor<D> {
        if p == 0.0 {
            return input;
        }
        let shape = input.shape();
        let mut bytes = vec![0u8; shape.num_elements() * 4];
        self.rng.fill_bytes(&mut bytes);
        // A 32-bit draw below p * 2^32 drops the element.
        let threshold = (p * 2f64.powi(32)) as u32;
        let keep = (1.0 / (1.0 - p)) as f32;
        let mask: Vec<f32> = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|draw| {
                if u32::from_le_bytes(*draw) < threshold {
                    0.0
                } else {
                    keep
                }
            })
            .collect();
        let mask = Tensor::from_data(TensorData::new(mask, shape), &input.device());
        input * mask
    }
}

/// `tensor` with dropout of probability `p` where the pass is a training pass.
pub(crate) fn drop<const D: usize>(
    dropout: &mut Option<&mut Dropout>,
    p: f64,
    tensor: Tensor<D>,
) -> Tensor<D> {
    match dropout {
        Some(dropout) => dropout.apply(p, tensor),
        None => tensor,
    }
}
