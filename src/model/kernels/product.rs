//! The product of some rows with a weight matrix, `x W + b`, for as few rows as decoding has: one to some hundreds. The general
//! matrix product of the CPU backend is made for larger matrices and reaches a quarter of its speed here.
//!
//! The columns of W are cut into strips of some vectors. A task packs adjacent strips, so that each is read once from memory and then lies in
//! the core's cache, and runs every six rows of x over each of them, with their sums in registers. A row or two are streamed instead.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{arch, measured};

/// Up to so many rows this is faster than the general product.
pub(crate) const MOST_ROWS: usize = 128;
/// Rows of x whose sums are held in registers at once.
const ROWS: usize = 6;
/// Columns of W that a task takes at most: long pieces of its rows, which the processor fetches ahead.
const COLUMNS: usize = 1536;
/// Rows of W of a packed piece: with [`COLUMNS`] they fit into a core's cache.
const DEPTH: usize = 64;
/// Up to so many rows W is streamed rather than packed.
const STREAMED: usize = 3;
/// Rows of W that a task streams.
const STREAM: usize = 64;

/// `x W + b`: `x` `[rows, inner]`, `weight` `[inner, outer]`, `bias` `[outer]`; then `finish` on each row.
pub(crate) fn product(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    finish: &(dyn Fn(&mut [f32]) + Sync),
) -> Vec<f32> {
    let rows = x.len() / (weight.len() / bias.len());
    measured(
        "dense, few rows",
        weight.len(),
        2 * rows * weight.len(),
        || {
            let mut out: Vec<f32> = if rows <= STREAMED {
                streamed(x, weight, rows, bias.len())
            } else {
                packed(x, weight, rows, bias.len())
            };
            let each = out.par_chunks_exact_mut(bias.len());
            each.with_min_len(8).for_each(|out| {
                for (out, bias) in out.iter_mut().zip(bias) {
                    *out += bias;
                }
                finish(out);
            });
            out
        },
    )
}

/// Every task runs through some rows of W from end to end; their sums are added in order.
fn streamed(x: &[f32], weight: &[f32], rows: usize, outer: usize) -> Vec<f32> {
    let inner = weight.len() / outer;
    let tasks = weight.par_chunks(STREAM * outer).enumerate();
    let parts: Vec<Vec<f32>> = tasks
        .map(|(task, weight)| {
            let mut sums = vec![0.0; rows * outer];
            arch().dispatch(Stream {
                x: &x[task * STREAM..],
                inner,
                weight,
                sums: &mut sums,
                outer,
            });
            sums
        })
        .collect();
    let mut parts = parts.into_iter();
    let mut sums = parts.next().unwrap_or_default();
    for part in parts {
        for (sum, part) in sums.iter_mut().zip(part) {
            *sum += part;
        }
    }
    sums
}

/// Adds the product of all rows of x, from the stream's first inner index on, with some rows of W to `sums` `[rows, outer]`.
struct Stream<'a> {
    x: &'a [f32],
    inner: usize,
    weight: &'a [f32],
    sums: &'a mut [f32],
    outer: usize,
}

impl WithSimd for Stream<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (k, weight) in self.weight.chunks(4 * self.outer).enumerate() {
            for (row, sums) in self.sums.chunks_exact_mut(self.outer).enumerate() {
                let x = &self.x[row * self.inner + 4 * k..];
                add_rows(&x[..weight.len() / self.outer], weight, sums);
            }
        }
    }
}

/// `sums += x W` for one row of x and up to four of W.
#[inline(always)]
fn add_rows(x: &[f32], weight: &[f32], sums: &mut [f32]) {
    let outer = sums.len();
    if let &[x0, x1, x2, x3] = x {
        let (w0, rest) = weight.split_at(outer);
        let (w1, rest) = rest.split_at(outer);
        let (w2, w3) = rest.split_at(outer);
        let weights = w0.iter().zip(w1).zip(w2.iter().zip(w3));
        for (sum, ((w0, w1), (w2, w3))) in sums.iter_mut().zip(weights) {
            *sum += (x0 * w0 + x1 * w1) + (x2 * w2 + x3 * w3);
        }
        return;
    }
    for (x, weight) in x.iter().zip(weight.chunks_exact(outer)) {
        for (sum, weight) in sums.iter_mut().zip(weight) {
            *sum += x * weight;
        }
    }
}

fn packed(x: &[f32], weight: &[f32], rows: usize, outer: usize) -> Vec<f32> {
    let inner = weight.len() / outer;
    let width = arch().dispatch(StripWidth);
    let x = pack_rows(x, rows, inner);
    // Strip by strip, `[strip, row, width]`, as many rows as whole tiles have.
    let rows_up = rows.next_multiple_of(ROWS);
    let mut sums = vec![0.0; outer.div_ceil(width) * width * rows_up];
    let columns = columns_of_a_task(outer, width);
    let tasks = sums.par_chunks_mut(columns * rows_up).enumerate();
    tasks.for_each_init(Vec::new, |packed: &mut Vec<f32>, (task, sums)| {
        for (piece, weight) in weight.chunks(DEPTH * outer).enumerate() {
            let depth = weight.len() / outer;
            let first = task * columns;
            let last = (first + columns).min(outer);
            let stride = pack_columns(weight, outer, first..last, width, packed);
            let strips = packed.chunks_exact(stride);
            for (strip, sums) in strips.zip(sums.chunks_exact_mut(rows_up * width)) {
                let strip = &strip[..depth * width];
                let tiles = x.chunks_exact(inner * ROWS);
                for (x, sums) in tiles.zip(sums.chunks_exact_mut(ROWS * width)) {
                    let x = &x[piece * DEPTH * ROWS..][..depth * ROWS];
                    arch().dispatch(Tile { x, strip, sums });
                }
            }
        }
    });
    let mut out = vec![0.0; rows * outer];
    let each = out.par_chunks_exact_mut(outer).enumerate();
    each.with_min_len(8).for_each(|(row, out)| {
        let strips = sums.chunks_exact(rows_up * width);
        for (out, strip) in out.chunks_mut(width).zip(strips) {
            out.copy_from_slice(&strip[row * width..][..out.len()]);
        }
    });
    out
}

/// As many columns for each task, in whole strips, as give every thread the same number of tasks. No sum depends on them.
fn columns_of_a_task(outer: usize, width: usize) -> usize {
    let threads = rayon::current_num_threads();
    let tasks = threads * outer.div_ceil(COLUMNS * threads);
    outer.div_ceil(tasks).next_multiple_of(width)
}

/// The rows of x in tiles, `[tile, inner, row]`, with zeros where there are no more.
fn pack_rows(x: &[f32], rows: usize, inner: usize) -> Vec<f32> {
    let mut packed = vec![0.0; rows.next_multiple_of(ROWS) * inner];
    let tiles = packed.par_chunks_exact_mut(ROWS * inner);
    tiles
        .zip(x.par_chunks(ROWS * inner))
        .for_each(|(packed, x)| {
            for (row, x) in x.chunks_exact(inner).enumerate() {
                for (place, x) in packed[row..].iter_mut().step_by(ROWS).zip(x) {
                    *place = *x;
                }
            }
        });
    packed
}

/// Some columns of `weight` as strips, `[strip, depth, width]`, with zeros where there are no more. Returns how far apart they begin.
fn pack_columns(
    weight: &[f32],
    outer: usize,
    columns: Range<usize>,
    width: usize,
    packed: &mut Vec<f32>,
) -> usize {
    let depth = weight.len() / outer;
    // One row more, because beginnings a power of two apart would share a set of the cache.
    let stride = (depth + 1) * width;
    packed.resize(columns.len().div_ceil(width) * stride, 0.0);
    for (k, row) in weight.chunks_exact(outer).enumerate() {
        arch().dispatch(Deal {
            row: &row[columns.clone()],
            width,
            packed: &mut packed[k * width..],
            stride,
        });
    }
    stride
}

/// Deals a piece of a row of W out to the strips.
struct Deal<'a> {
    row: &'a [f32],
    width: usize,
    packed: &'a mut [f32],
    stride: usize,
}

impl WithSimd for Deal<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        match vectors::<S>() {
            4 => self.deal::<S, 4>(),
            _ => self.deal::<S, 2>(),
        }
    }
}

impl Deal<'_> {
    #[inline(always)]
    fn deal<S: Simd, const V: usize>(self) {
        let (whole, _) = S::as_simd_f32s(self.row);
        let (whole, _) = whole.as_chunks::<V>();
        let mut strips = self.packed.chunks_mut(self.stride);
        for (vectors, strip) in whole.iter().zip(&mut strips) {
            let (strip, _) = S::as_mut_simd_f32s(&mut strip[..self.width]);
            strip.copy_from_slice(vectors);
        }
        let rest = &self.row[whole.len() * self.width..];
        if let Some(strip) = strips.next() {
            let (filled, empty) = strip[..self.width].split_at_mut(rest.len());
            filled.copy_from_slice(rest);
            empty.fill(0.0);
        }
    }
}

/// Asks how many columns a strip has: as many vectors as leave room in the registers.
struct StripWidth;

impl WithSimd for StripWidth {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        vectors::<S>() * S::F32_LANES
    }
}

#[inline(always)]
fn vectors<S: Simd>() -> usize {
    match S::F32_LANES {
        16 => 4,
        _ => 2,
    }
}

/// Adds the product of a tile of x, `[depth, ROWS]`, with a packed strip to `sums` `[ROWS, width]`.
struct Tile<'a> {
    x: &'a [f32],
    strip: &'a [f32],
    sums: &'a mut [f32],
}

impl WithSimd for Tile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match vectors::<S>() {
            4 => self.add::<S, 4>(simd),
            _ => self.add::<S, 2>(simd),
        }
    }
}

impl Tile<'_> {
    #[inline(always)]
    fn add<S: Simd, const V: usize>(self, simd: S) {
        let (strip, _) = S::as_simd_f32s(self.strip);
        let (sums, _) = S::as_mut_simd_f32s(self.sums);
        let mut held: [[S::f32s; V]; ROWS] =
            std::array::from_fn(|row| std::array::from_fn(|v| sums[row * V + v]));
        let (x, _) = self.x.as_chunks::<ROWS>();
        let (strip, _) = strip.as_chunks::<V>();
        for (x, weight) in x.iter().zip(strip) {
            for row in 0..ROWS {
                let value = simd.splat_f32s(x[row]);
                for v in 0..V {
                    held[row][v] = simd.mul_add_f32s(value, weight[v], held[row][v]);
                }
            }
        }
        for (sums, held) in sums.chunks_exact_mut(V).zip(held) {
            sums.copy_from_slice(&held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::product;

    #[test]
    fn the_product_is_that_of_three_loops() {
        let value = |index: usize| ((index * 7919 + 13) % 101) as f32 / 50.0 - 1.0;
        for (rows, inner, outer) in [
            (1, 1, 1),
            (1, 5, 3),
            (6, 64, 128),
            (7, 33, 129),
            (13, 800, 70),
            (32, 1600, 300),
        ] {
            let x: Vec<f32> = (0..rows * inner).map(value).collect();
            let weight: Vec<f32> = (0..inner * outer).map(|index| value(index + 5)).collect();
            let bias: Vec<f32> = (0..outer).map(|index| value(index + 9)).collect();
            let found = product(&x, &weight, &bias, &|row| row[0] *= 2.0);
            for row in 0..rows {
                for column in 0..outer {
                    let terms = (0..inner).map(|k| {
                        f64::from(x[row * inner + k]) * f64::from(weight[k * outer + column])
                    });
                    let mut sizes = terms.clone().map(f64::abs).sum::<f64>() + 1.0;
                    let mut expected = terms.sum::<f64>() + f64::from(bias[column]);
                    if column == 0 {
                        expected *= 2.0;
                        sizes *= 2.0;
                    }
                    let found = f64::from(found[row * outer + column]);
                    // A sum of n terms in single precision is within n 2^-24 of the sum of their sizes.
                    let bound = sizes * (inner + 1) as f64 * 2f64.powi(-24);
                    assert!(
                        (found - expected).abs() <= bound,
                        "{rows} x {inner} x {outer}: {found} is not {expected}"
                    );
                }
            }
        }
    }
}
