//! Layers that families of networks share.

mod dropout;
mod gelu;

pub use dropout::Dropout;
pub(super) use gelu::gelu;
