//! The weights of a fresh network.

use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

/// A matrix of this shape, row by row, of N(0, `std`).
pub(super) fn normal(shape: [usize; 2], std: f64, rng: &mut ChaCha8Rng) -> Vec<f32> {
    // `std` comes from a validated config; a bad one gives constant weights rather than a panic.
    match Normal::new(0.0, std) {
        Ok(normal) => (0..shape[0] * shape[1])
            .map(|_| normal.sample(rng) as f32)
            .collect(),
        Err(_) => vec![0.0; shape[0] * shape[1]],
    }
}
