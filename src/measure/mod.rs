//! The numbers: divergences between the two models, what assisted decoding counts, and the statistics of the gap between groups.

pub mod calibration;
pub mod classifier;
pub mod clusters;
pub mod decoding;
pub mod disparity;
pub mod divergence;
pub mod equivalence;
pub mod evaluation;
pub mod family;
mod interval;
pub mod lexicon;
pub mod likelihood;
pub mod positions;
mod sign_flip;
pub mod similarity;
pub mod toxicity;
pub mod uniformity;
