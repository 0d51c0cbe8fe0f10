//! Measurements of a pair that return columns of numbers: divergences of the two models, counts of assisted decoding, likelihoods, and what
//! a classifier or a lexicon finds in a text.

pub mod agreement;
pub mod chord;
pub mod classifier;
pub mod decoding;
mod distant_divergence;
pub mod divergence;
pub mod evaluation;
pub mod lexicon;
pub mod likelihood;
pub mod positions;
pub mod quadrature;
pub mod similarity;
pub mod smooth;
pub mod spike;
pub mod toxicity;
