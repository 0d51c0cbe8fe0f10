//! Layers that families of networks share.

mod causal_mask;
mod dropout;
mod embedding;
mod gelu;
mod linear;

pub(super) use causal_mask::causal_mask;
pub use dropout::Dropout;
pub(super) use dropout::drop;
pub(super) use embedding::Embedding;
pub(crate) use embedding::token_tensor;
pub(super) use gelu::gelu;
pub(super) use linear::linear;
