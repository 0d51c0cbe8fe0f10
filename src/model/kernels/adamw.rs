//! AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) in one pass over a tensor: it reads gradient, weight and both moments, and writes all but the
//! gradient.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{arch, measured};

/// Values that one task takes.
const CHUNK: usize = 16 * 1024;

/// The numbers of a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdamWStep {
    /// What each gradient is multiplied by first, such as what clips its norm.
    pub factor: f32,
    /// Decay of the mean of gradients, beta 1, and 1 less that.
    pub beta_1: f32,
    pub rest_1: f32,
    /// Decay of the mean of their squares, beta 2, and 1 less that.
    pub beta_2: f32,
    pub rest_2: f32,
    /// The learning rate, over 1 - beta 1 to the power of the step.
    pub rate: f32,
    /// 1 over the root of 1 - beta 2 to the power of the step.
    pub square_scale: f32,
    /// Added to the root of the mean of squares.
    pub epsilon: f32,
    /// What a weight is multiplied by: 1 - learning rate x decay.
    pub shrink: f32,
}

impl AdamWStep {
    /// Moves the weights of a tensor, and both of its moments.
    pub fn apply(
        self,
        weights: &mut [f32],
        gradient: &[f32],
        mean: &mut [f32],
        square: &mut [f32],
    ) {
        measured("AdamW", 7 * weights.len(), 0, || {
            let pieces = (weights
                .par_chunks_mut(CHUNK)
                .zip(gradient.par_chunks(CHUNK)))
            .zip(mean.par_chunks_mut(CHUNK).zip(square.par_chunks_mut(CHUNK)));
            pieces.for_each(|((weights, gradient), (mean, square))| {
                arch().dispatch(Step {
                    numbers: self,
                    weights,
                    gradient,
                    mean,
                    square,
                });
            });
        });
    }
}

struct Step<'a> {
    numbers: AdamWStep,
    weights: &'a mut [f32],
    gradient: &'a [f32],
    mean: &'a mut [f32],
    square: &'a mut [f32],
}

impl WithSimd for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let AdamWStep {
            factor,
            beta_1,
            rest_1,
            beta_2,
            rest_2,
            rate,
            square_scale,
            epsilon,
            shrink,
        } = self.numbers;
        let values = self.weights.iter_mut().zip(self.gradient);
        let moments = self.mean.iter_mut().zip(self.square);
        for ((weight, gradient), (mean, square)) in values.zip(moments) {
            let gradient = gradient * factor;
            *mean = beta_1 * *mean + rest_1 * gradient;
            *square = beta_2 * *square + rest_2 * (gradient * gradient);
            let size = square.sqrt() * square_scale + epsilon;
            *weight = *weight * shrink - rate * *mean / size;
        }
    }
}
