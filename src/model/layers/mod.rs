//! Layers that families of networks share. On flex each is a kernel of our own with a backward pass written by hand ([`operation`]); on other
//! devices it is made of burn's operations.

mod adapter;
mod causal_attention;
mod causal_mask;
mod cross_entropy;
mod dense;
mod device_mask;
mod dropout;
mod embedding;
mod gated;
mod mix;
mod nonlinearity;
mod norm;
mod operation;
mod precision;
mod projection;
mod residual;
mod rms_norm;
mod rotary;
mod slot_attention;
#[cfg(test)]
mod tests;
mod training_pass;

pub(super) use adapter::{Adapter, Factor};
pub(super) use causal_attention::{attention_weights, causal_attention};
use causal_mask::causal_mask;
pub(super) use cross_entropy::cross_entropy;
pub(super) use dense::{Activation, Linear, dense};
pub(super) use dropout::drop;
pub(super) use embedding::Embedding;
pub(crate) use embedding::token_tensor;
pub(super) use gated::gated;
pub(super) use mix::{Mix, over_slots, over_texts};
pub(super) use nonlinearity::Nonlinearity;
pub(super) use norm::LayerNorm;
pub(super) use operation::{on_flex, slice};
pub use precision::Precision;
pub(super) use projection::Projection;
pub(super) use residual::residual;
pub(super) use rms_norm::RmsNorm;
pub(super) use rotary::{Rotary, Turns, side_by_side};
pub(super) use slot_attention::{NewTokens, slot_attention};
pub use training_pass::TrainingPass;
