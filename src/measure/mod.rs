//! The numbers: divergences between the two models, what assisted decoding counts, and the statistics of the gap between groups.

pub mod bootstrap;
pub mod decoding;
pub mod disparity;
pub mod divergence;
pub mod evaluation;
pub mod sign_flip;
