//! Layer normalisation (Ba et al. 2016, arXiv 1607.06450) with its backward pass.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::reduce::{sum, sum_of};
use super::{arch, measured};

/// Rows that one task takes. Sums over rows are made in pieces of so many, and added in order.
const ROWS: usize = 32;

/// What the backward pass needs of a row: its mean, and 1 over its standard deviation.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moments {
    mean: f32,
    scale: f32,
}

/// `(x - mean) / sqrt(variance + epsilon) * weight + bias` of each row of `x` `[rows, width]`.
pub(crate) fn layer_norm(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    epsilon: f32,
) -> (Vec<f32>, Vec<Moments>) {
    measured("layer norm", 2 * x.len(), 0, || {
        let width = weight.len();
        let mut y = vec![0.0; x.len()];
        let mut moments = vec![Moments::default(); x.len() / width];
        let pieces = (x
            .par_chunks(ROWS * width)
            .zip(y.par_chunks_mut(ROWS * width)))
        .zip(moments.par_chunks_mut(ROWS));
        pieces.for_each(|((x, y), moments)| {
            arch().dispatch(Forward {
                x,
                y,
                moments,
                weight,
                bias,
                epsilon,
            });
        });
        (y, moments)
    })
}

/// The gradients of `x` `[rows, width]`, of the weight and of the bias, given that of the output, `dy`.
pub(crate) fn layer_norm_backward(
    x: &[f32],
    weight: &[f32],
    moments: &[Moments],
    dy: &[f32],
) -> [Vec<f32>; 3] {
    measured("layer norm, back", 3 * x.len(), 0, || {
        let width = weight.len();
        let mut dx = vec![0.0; x.len()];
        let pieces = (x
            .par_chunks(ROWS * width)
            .zip(dx.par_chunks_mut(ROWS * width)))
        .zip(dy.par_chunks(ROWS * width).zip(moments.par_chunks(ROWS)));
        let sums: Vec<Vec<f32>> = pieces
            .map(|((x, dx), (dy, moments))| {
                let mut sums = vec![0.0; 2 * width];
                arch().dispatch(Backward {
                    x,
                    dx,
                    dy,
                    moments,
                    weight,
                    sums: &mut sums,
                });
                sums
            })
            .collect();
        let mut sum = vec![0.0; 2 * width];
        for part in sums {
            for (sum, part) in sum.iter_mut().zip(part) {
                *sum += part;
            }
        }
        let bias = sum.split_off(width);
        [dx, sum, bias]
    })
}

struct Forward<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    moments: &'a mut [Moments],
    weight: &'a [f32],
    bias: &'a [f32],
    epsilon: f32,
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let width = self.weight.len();
        let rows = self
            .x
            .chunks_exact(width)
            .zip(self.y.chunks_exact_mut(width));
        for ((x, y), moments) in rows.zip(self.moments) {
            let mean = sum(x, |x| x) / width as f32;
            let variance = sum(x, |x| (x - mean) * (x - mean)) / width as f32;
            let scale = 1.0 / (variance + self.epsilon).sqrt();
            *moments = Moments { mean, scale };
            let parameters = self.weight.iter().zip(self.bias);
            for ((y, x), (weight, bias)) in y.iter_mut().zip(x).zip(parameters) {
                *y = (x - mean) * scale * weight + bias;
            }
        }
    }
}

struct Backward<'a> {
    x: &'a [f32],
    dx: &'a mut [f32],
    dy: &'a [f32],
    moments: &'a [Moments],
    weight: &'a [f32],
    /// Of the weight, then of the bias.
    sums: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    /// With n = (x - mean) scale and g = dy weight: dx = scale (g - mean of g - n times the mean of g n).
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let width = self.weight.len();
        let (d_weight, d_bias) = self.sums.split_at_mut(width);
        let rows = self
            .x
            .chunks_exact(width)
            .zip(self.dx.chunks_exact_mut(width));
        let rows = rows.zip(self.dy.chunks_exact(width)).zip(self.moments);
        for (((x, dx), dy), &Moments { mean, scale }) in rows {
            let g = |index: usize| dy[index] * self.weight[index];
            let n = |index: usize| (x[index] - mean) * scale;
            let mean_g = sum_of(width, g) / width as f32;
            let mean_gn = sum_of(width, |index| g(index) * n(index)) / width as f32;
            for index in 0..width {
                let normed = (x[index] - mean) * scale;
                dx[index] = scale * (dy[index] * self.weight[index] - mean_g - normed * mean_gn);
                d_weight[index] += dy[index] * normed;
                d_bias[index] += dy[index];
            }
        }
    }
}
