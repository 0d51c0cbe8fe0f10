//! What a network's pass in training has that others do not have.

use rand::RngCore;
use rand_chacha::ChaCha8Rng;

use super::Precision;
use crate::model::Role;
use crate::model::kernels::Mask;
use crate::random::{Purpose, stream};

/// A forward pass in training: its masks of dropout, and the precision of its matrix products.
///
/// Masks are functions of keys from a generator of our own, so that the training's randomness is a function of (seed, model, micro-batch) alone: no
/// hook can disturb it, and nothing of it has to be saved for a resume. They are the same on every device.
pub struct TrainingPass {
    keys: Option<ChaCha8Rng>,
    precision: Precision,
}

impl TrainingPass {
    /// A pass in single precision whose masks have keys drawn from `rng`, in the order in which the layers ask for them.
    pub fn new(rng: ChaCha8Rng) -> Self {
        Self {
            keys: Some(rng),
            precision: Precision::F32,
        }
    }

    /// A model's pass over a micro-batch, in single precision.
    pub(crate) fn of(seed: u64, role: Role, micro_batch: u64) -> Self {
        Self::new(stream(seed, Purpose::Dropout, role as u64, micro_batch))
    }

    /// The same pass in another precision.
    pub fn in_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// A pass that drops nothing.
    pub(crate) fn without_dropout(precision: Precision) -> Self {
        Self {
            keys: None,
            precision,
        }
    }

    /// The precision of its matrix products.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The next mask: it zeroes each element with probability `p` and scales the others by `1 / (1 - p)`, so that the expectation stays. None
    /// where nothing is dropped.
    pub(crate) fn mask(&mut self, p: f64) -> Option<Mask> {
        let keys = self.keys.as_mut().filter(|_| p > 0.0)?;
        Some(Mask::new(keys.next_u64(), p))
    }
}
