//! Normalisation by the root of the mean square (Zhang and Sennrich 2019, arXiv 1910.07467) with its backward pass.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::reduce::{sum, sum_of};
use super::{arch, measured};

/// Values that one task takes. Sums over rows are made in pieces of as many rows as that is, and added in order.
const VALUES: usize = 16 * 1024;

/// Rows of a task.
fn rows(width: usize) -> usize {
    (VALUES / width).max(1)
}

/// `x / sqrt(mean square + epsilon) * weight` of each row of `x` `[rows, width]`, and what each row was divided by, inverted: `[rows]`.
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32) -> (Vec<f32>, Vec<f32>) {
    measured("RMS norm", 2 * x.len(), 0, || {
        let width = weight.len();
        let mut y = vec![0.0; x.len()];
        let mut scales = vec![0.0; x.len() / width];
        let size = rows(width) * width;
        let pieces = (x.par_chunks(size).zip(y.par_chunks_mut(size)))
            .zip(scales.par_chunks_mut(rows(width)));
        pieces.for_each(|((x, y), scales)| {
            arch().dispatch(Forward {
                x,
                y,
                scales,
                weight,
                epsilon,
            });
        });
        (y, scales)
    })
}

/// The gradients of `x` `[rows, width]` and of the weight, given that of the output, `dy`, and what [`rms_norm`] gives beside it.
pub(crate) fn rms_norm_backward(
    x: &[f32],
    weight: &[f32],
    scales: &[f32],
    dy: &[f32],
) -> [Vec<f32>; 2] {
    measured("RMS norm, back", 3 * x.len(), 0, || {
        let width = weight.len();
        let mut dx = vec![0.0; x.len()];
        let size = rows(width) * width;
        let pieces = (x.par_chunks(size).zip(dx.par_chunks_mut(size)))
            .zip(dy.par_chunks(size).zip(scales.par_chunks(rows(width))));
        let sums: Vec<Vec<f32>> = pieces
            .map(|((x, dx), (dy, scales))| {
                let mut sums = vec![0.0; width];
                arch().dispatch(Backward {
                    x,
                    dx,
                    dy,
                    scales,
                    weight,
                    sums: &mut sums,
                });
                sums
            })
            .collect();
        let mut d_weight = vec![0.0; width];
        for part in sums {
            for (sum, part) in d_weight.iter_mut().zip(part) {
                *sum += part;
            }
        }
        [dx, d_weight]
    })
}

struct Forward<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    scales: &'a mut [f32],
    weight: &'a [f32],
    epsilon: f32,
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let width = self.weight.len();
        let rows = (self.x.chunks_exact(width)).zip(self.y.chunks_exact_mut(width));
        for ((x, y), scale) in rows.zip(self.scales) {
            let square = sum(x, |x| x * x) / width as f32;
            *scale = 1.0 / (square + self.epsilon).sqrt();
            for ((y, x), weight) in y.iter_mut().zip(x).zip(self.weight) {
                *y = x * *scale * weight;
            }
        }
    }
}

struct Backward<'a> {
    x: &'a [f32],
    dx: &'a mut [f32],
    dy: &'a [f32],
    scales: &'a [f32],
    weight: &'a [f32],
    sums: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    /// With n = x scale and g = dy weight: dx = scale (g - n times the mean of g n).
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let width = self.weight.len();
        let rows = (self.x.chunks_exact(width)).zip(self.dx.chunks_exact_mut(width));
        let rows = rows.zip(self.dy.chunks_exact(width)).zip(self.scales);
        for (((x, dx), dy), &scale) in rows {
            let gn = |index: usize| dy[index] * self.weight[index] * (x[index] * scale);
            let mean = sum_of(width, gn) / width as f32;
            for index in 0..width {
                let normed = x[index] * scale;
                dx[index] = scale * (dy[index] * self.weight[index] - normed * mean);
                self.sums[index] += dy[index] * normed;
            }
        }
    }
}
