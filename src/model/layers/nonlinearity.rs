//! The functions of single values between two layers.

use burn::tensor::Tensor;
use burn::tensor::activation::{gelu, relu, sigmoid};

/// A function of single values, as `hidden_act` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nonlinearity {
    /// `x / (1 + e^-x)` (Elfwing et al. 2017, arXiv 1702.03118).
    Silu,
    /// GELU (Hendrycks and Gimpel 2016, arXiv 1606.08415).
    Gelu,
    /// GELU in its tanh form.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
}

impl Nonlinearity {
    /// What the messages about an unknown name say.
    pub const KNOWN: &str =
        "one of `silu`, `swish`, `gelu`, `gelu_new`, `gelu_fast`, `gelu_pytorch_tanh` and `relu`";

    /// That of transformers' name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "silu" | "swish" => Some(Self::Silu),
            "gelu" => Some(Self::Gelu),
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Some(Self::GeluTanh),
            "relu" => Some(Self::Relu),
            _ => None,
        }
    }

    /// The function of each value, of burn's operations.
    pub fn of<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Silu => x.clone() * sigmoid(x),
            Self::Gelu => gelu(x),
            Self::GeluTanh => gelu_tanh(x),
            Self::Relu => relu(x),
        }
    }
}

/// `0.5 x (1 + tanh u)` with `u = sqrt(2/pi) (x + 0.044715 x^3)`, as `x sigmoid(2u)`.
fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let scale = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
    let square = x.clone() * x.clone();
    let twice_u = x.clone() * (square * (0.044715 * scale) + scale);
    x * sigmoid(twice_u)
}
