//! The numbers: divergences between the two models, what assisted decoding counts, and the statistics of the gap between groups.

mod bootstrap;
pub mod decoding;
pub mod disparity;
pub mod divergence;
pub mod evaluation;
pub mod positions;
mod sign_flip;
