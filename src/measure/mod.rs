//! Passes over a pair that give columns of numbers: divergences of the two models, what assisted decoding counts, likelihoods, what a
//! classifier or a lexicon finds in a text.

pub mod classifier;
pub mod decoding;
pub mod divergence;
pub mod evaluation;
pub mod lexicon;
pub mod likelihood;
pub mod positions;
pub mod similarity;
pub mod toxicity;
