//! The element type of matrix products in training.

use burn::tensor::{Device, FloatDType, Tensor};
use serde::{Deserialize, Serialize};

use super::TrainingPass;
use crate::readback::values;

/// The element type in which a training pass multiplies matrices, forward and backward: operands and products are rounded to it. Weights,
/// layer norms, softmax, activations, the loss and all sums of gradients are in single precision, as PyTorch's `autocast` has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision: 24 bits, numbers from 1.4e-45 to 3.4e38.
    #[default]
    F32,
    /// bfloat16: 8 bits, and the numbers of single precision.
    Bf16,
    /// IEEE half precision: 11 bits, numbers from 6.0e-8 to 65504. Gradients need a scale of the loss not to be 0 in it.
    F16,
}

impl Precision {
    /// All, the widest first.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// That of a pass; outside of training single precision.
    pub(crate) fn of(training: &Option<&mut TrainingPass>) -> Self {
        training.as_ref().map_or(Self::F32, |pass| pass.precision())
    }

    /// As an experiment writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// The element type, unless it is the weights' own.
    fn element(self) -> Option<FloatDType> {
        match self {
            Self::F32 => None,
            Self::Bf16 => Some(FloatDType::BF16),
            Self::F16 => Some(FloatDType::F16),
        }
    }

    /// Tries a small product on a device.
    ///
    /// # Errors
    /// In words, when the device does not have the element type, or its product comes out wrong.
    pub fn check(self, device: &Device) -> Result<(), String> {
        let Some(element) = self.element() else {
            return Ok(());
        };
        let tried = crate::foreign::call(|| {
            device.supports_dtype(element).then(|| {
                let ones = || Tensor::<2>::ones([8, 8], device);
                values(self.product(ones(), ones()).sum())
            })
        });
        match tried? {
            None => Err("it does not have this element type".to_owned()),
            Some(sum) if sum == [512.0] => Ok(()),
            Some(sum) => Err(format!(
                "the elements of a product of ones add up to {sum:?}, not 512"
            )),
        }
    }

    /// The matrix product `a b` in this precision. What goes in and comes out is in single precision, and so are the gradients.
    pub(in crate::model) fn product<const D: usize>(self, a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
        match self.element() {
            None => a.matmul(b),
            Some(element) => (a.cast(element).matmul(b.cast(element))).cast(FloatDType::F32),
        }
    }
}
