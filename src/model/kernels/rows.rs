//! Passes over rows and their sums.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{Mask, arch, gelu, measured};

/// Values that one task takes.
const CHUNK: usize = 16 * 1024;
/// Columns whose sums a task makes.
const COLUMNS: usize = 64;

/// Adds `bias` to each row of `y` `[rows, bias.len()]`, then does `finish` with it.
pub(crate) fn add_bias(y: &mut [f32], bias: &[f32], finish: &(dyn Fn(&mut [f32]) + Sync)) {
    measured("bias", 2 * y.len(), 0, || {
        let rows = y.par_chunks_exact_mut(bias.len());
        let least = (CHUNK / bias.len()).max(1);
        rows.with_min_len(least).for_each(|y| {
            arch().dispatch(Bias { y, bias });
            finish(y);
        });
    });
}

/// Adds `bias` to each row of `y` `[rows, bias.len()]`, and gives GELU of the sums.
pub(crate) fn add_bias_and_gelu(y: &mut [f32], bias: &[f32]) -> Vec<f32> {
    measured("bias and GELU", 3 * y.len(), 0, || {
        let mut active = vec![0.0; y.len()];
        let rows = y.par_chunks_exact_mut(bias.len());
        let least = (CHUNK / bias.len()).max(1);
        let rows = rows.zip(active.par_chunks_exact_mut(bias.len()));
        rows.with_min_len(least).for_each(|(y, active)| {
            arch().dispatch(Bias { y, bias });
            active.copy_from_slice(y);
            gelu(active);
        });
        active
    })
}

struct Bias<'a> {
    y: &'a mut [f32],
    bias: &'a [f32],
}

impl WithSimd for Bias<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (y, bias) in self.y.iter_mut().zip(self.bias) {
            *y += bias;
        }
    }
}

/// The sum of each column of `values` `[rows, columns]`.
pub(crate) fn column_sums(values: &[f32], columns: usize) -> Vec<f32> {
    measured("dense, of b", values.len(), 0, || {
        let mut sums = vec![0.0; columns];
        let tasks = sums.par_chunks_mut(COLUMNS).enumerate();
        tasks.for_each(|(task, sums)| {
            arch().dispatch(Columns {
                values: &values[task * COLUMNS..],
                columns,
                sums,
            });
        });
        sums
    })
}

struct Columns<'a> {
    values: &'a [f32],
    columns: usize,
    sums: &'a mut [f32],
}

impl WithSimd for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for row in self.values.chunks(self.columns) {
            for (sum, value) in self.sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
}

/// Multiplies all of `values` by `factor`.
pub(crate) fn scale(values: &mut [f32], factor: f32) {
    let chunks = values.par_chunks_mut(CHUNK);
    chunks.for_each(|chunk| chunk.iter_mut().for_each(|value| *value *= factor));
}

/// The sum of squares, in double precision.
pub(crate) fn square_sum(values: &[f32]) -> f64 {
    measured("norm of gradients", values.len(), 0, || {
        let chunks = values.par_chunks(CHUNK);
        let sums = chunks.map(|chunk| arch().dispatch(Squares(chunk)));
        sums.collect::<Vec<f64>>().into_iter().sum()
    })
}

struct Squares<'a>(&'a [f32]);

impl WithSimd for Squares<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let (chunks, rest) = self.0.as_chunks::<16>();
        let mut sums = [0.0f64; 16];
        for chunk in chunks {
            for (sum, value) in sums.iter_mut().zip(chunk) {
                *sum += f64::from(*value) * f64::from(*value);
            }
        }
        for (sum, value) in sums.iter_mut().zip(rest) {
            *sum += f64::from(*value) * f64::from(*value);
        }
        sums.into_iter().sum()
    }
}

/// The sum of `gradient` times how much a weight changed, `to - from`, in double precision.
pub(crate) fn change_along(gradient: &[f32], from: &[f32], to: &[f32]) -> f64 {
    measured("gradient along a change", 3 * gradient.len(), 0, || {
        let chunks = gradient.par_chunks(CHUNK).zip(from.par_chunks(CHUNK));
        let sums = chunks
            .zip(to.par_chunks(CHUNK))
            .map(|((gradient, from), to)| arch().dispatch(Along { gradient, from, to }));
        sums.collect::<Vec<f64>>().into_iter().sum()
    })
}

struct Along<'a> {
    gradient: &'a [f32],
    from: &'a [f32],
    to: &'a [f32],
}

impl WithSimd for Along<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let product = |index: usize| {
            let change = f64::from(self.to[index]) - f64::from(self.from[index]);
            f64::from(self.gradient[index]) * change
        };
        let (count, mut sums) = (self.gradient.len(), [0.0f64; 16]);
        let whole = count / 16 * 16;
        for first in (0..whole).step_by(16) {
            for (lane, sum) in sums.iter_mut().enumerate() {
                *sum += product(first + lane);
            }
        }
        for index in whole..count {
            sums[index - whole] += product(index);
        }
        sums.into_iter().sum()
    }
}

/// `x` plus `y`, the latter through a mask where there is one.
pub(crate) fn add(x: &[f32], y: &[f32], mask: Option<Mask>) -> Vec<f32> {
    if let Some(mask) = mask {
        return mask.add(x, y);
    }
    let mut sum = vec![0.0; x.len()];
    let chunks = sum
        .par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK).zip(y.par_chunks(CHUNK)));
    chunks.for_each(|(sum, (x, y))| {
        for (sum, (x, y)) in sum.iter_mut().zip(x.iter().zip(y)) {
            *sum = x + y;
        }
    });
    sum
}

/// The rows of `table` `[rows, width]` at `index`.
pub(crate) fn gather(table: &[f32], width: usize, index: &[u32]) -> Vec<f32> {
    let rows = index
        .iter()
        .flat_map(|&row| &table[row as usize * width..][..width]);
    rows.copied().collect()
}

/// Adds each of `rows` `[index.len(), width]` to its row of `table` `[rows, width]`, in their order.
pub(crate) fn scatter_add(table: &mut [f32], width: usize, index: &[u32], rows: &[f32]) {
    for (&row, values) in index.iter().zip(rows.chunks_exact(width)) {
        for (sum, value) in table[row as usize * width..][..width]
            .iter_mut()
            .zip(values)
        {
            *sum += value;
        }
    }
}
