//! The inner loops that burn's CPU backend is slow at, on plain slices and compiled for each instruction set of the processor: GELU, attention
//! over scattered keys and values, and the running argmax of the head.

mod product;

use std::sync::OnceLock;

use pulp::Arch;
use rayon::prelude::*;

pub(super) use product::{MOST_ROWS, product};

use super::KvPool;

/// Values that one task takes: large enough to be worth a task, small enough to stay in a core's cache.
const CHUNK: usize = 16 * 1024;

fn arch() -> Arch {
    static ARCH: OnceLock<Arch> = OnceLock::new();
    *ARCH.get_or_init(Arch::new)
}

/// `e^x` within 2 units in the last place, for |x| up to 87; beyond that the value there. Without a branch, so that loops over it are
/// vectorised. By the usual reduction `x = n ln 2 + r` and the polynomial of Cephes' `expf` for `e^r`.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// 1.5 x 2^23: adding it rounds to a whole number, which then stands in the lowest bits.
    const ROUNDER: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    // ln 2 in two parts, the first of which has few enough bits for n times it to be exact.
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    for coefficient in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        p = p * r + coefficient;
    }
    let e_r = p * (r * r) + r + 1.0;
    e_r * f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()))
}

/// GELU in its tanh form, in place: `x / (1 + e^(-2u))` with `u = sqrt(2/pi) (x + 0.044715 x^3)`.
pub(super) fn gelu(values: &mut [f32]) {
    let scale = -2.0 * (2.0 / std::f32::consts::PI).sqrt();
    let cubic = 0.044_715 * scale;
    arch().dispatch(|| {
        for x in values {
            let minus_2u = *x * (scale + cubic * (*x * *x));
            *x /= 1.0 + exp(minus_2u);
        }
    });
}

/// The same of many values, on all cores.
pub(super) fn gelu_all(values: &mut [f32]) {
    values.par_chunks_mut(CHUNK).for_each(gelu);
}

/// Attention of new tokens to what they see. `qkv` is `[new, 3 D]`, query first; `seen` gives for each new token the places in `pool` of all
/// tokens up to and including itself. The result is `[new, D]`.
pub(super) fn attention(
    qkv: &[f32],
    seen: &[&[u32]],
    pool: &KvPool,
    block: usize,
    heads: usize,
) -> Vec<f32> {
    let width = qkv.len() / seen.len() / 3;
    let mut mixed = vec![0.0; seen.len() * width];
    let tokens = mixed.par_chunks_mut(width).zip(qkv.par_chunks(3 * width));
    tokens
        .zip(seen)
        .for_each_init(Vec::new, |scores: &mut Vec<f32>, ((mixed, qkv), seen)| {
            arch().dispatch(|| attend(&qkv[..width], seen, pool, block, heads, scores, mixed));
        });
    mixed
}

/// One token's attention; `scores` is room to work in.
#[inline(always)]
fn attend(
    query: &[f32],
    seen: &[u32],
    pool: &KvPool,
    block: usize,
    heads: usize,
    scores: &mut Vec<f32>,
    mixed: &mut [f32],
) {
    let head_width = query.len() / heads;
    let scale = 1.0 / (head_width as f32).sqrt();
    let count = seen.len();
    scores.clear();
    scores.resize(heads * count, 0.0);
    for (column, &slot) in seen.iter().enumerate() {
        let key = pool.key(block, slot);
        let parts = query
            .chunks_exact(head_width)
            .zip(key.chunks_exact(head_width));
        for (head, (query, key)) in parts.enumerate() {
            scores[head * count + column] = scale * dot(query, key);
        }
    }
    for row in scores.chunks_exact_mut(count) {
        let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for score in &mut *row {
            *score = exp(*score - highest);
            sum += *score;
        }
        let scale = 1.0 / sum;
        for score in row {
            *score *= scale;
        }
    }
    for (column, &slot) in seen.iter().enumerate() {
        let value = pool.value(block, slot);
        let parts = mixed
            .chunks_exact_mut(head_width)
            .zip(value.chunks_exact(head_width));
        for (head, (mixed, value)) in parts.enumerate() {
            let weight = scores[head * count + column];
            for (sum, value) in mixed.iter_mut().zip(value) {
                *sum += weight * value;
            }
        }
    }
}

/// The inner product, summed in 16 lanes so that it is vectorised.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    let (a_chunks, b_chunks) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest = a_chunks.remainder().iter().zip(b_chunks.remainder());
    let rest: f32 = rest.map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..16 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
    }
    lanes[0] + rest
}

/// The highest value of each column so far, and where it stands.
pub(super) struct RunningArgmax {
    highest: Vec<f32>,
    index: Vec<u32>,
    /// 0, or NaN once a value was not finite.
    poison: Vec<f32>,
}

impl RunningArgmax {
    pub fn new(columns: usize) -> Self {
        Self {
            highest: vec![f32::NEG_INFINITY; columns],
            index: vec![0; columns],
            poison: vec![0.0; columns],
        }
    }

    /// Takes more rows, `values` `[rows, columns]`, the first of which has number `first`. Of equal values the first counts.
    pub fn take(&mut self, values: &[f32], first: u32) {
        let columns = self.highest.len();
        arch().dispatch(|| {
            for (row, values) in (first..).zip(values.chunks_exact(columns)) {
                let state = self.highest.iter_mut().zip(&mut self.index);
                for (((highest, index), poison), &value) in state.zip(&mut self.poison).zip(values)
                {
                    let better = value > *highest;
                    *highest = if better { value } else { *highest };
                    *index = if better { row } else { *index };
                    *poison += value * 0.0;
                }
            }
        });
    }

    /// The indices; None for a column in which a value was not finite.
    pub fn finish(self) -> impl Iterator<Item = Option<u32>> {
        let columns = self.index.into_iter().zip(self.poison);
        columns.map(|(index, poison)| (poison == 0.0).then_some(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        for step in -870_000..=870_000 {
            let x = step as f32 * 1e-4;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / expected - 1.0).abs() < 2.4e-7, "{x}: {found}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(-1000.0) < 1e-37);
    }

    #[test]
    fn gelu_is_its_tanh_form() {
        let xs: Vec<f32> = (-1200..=1200).map(|step| step as f32 * 0.01).collect();
        let mut found = xs.clone();
        gelu(&mut found);
        for (x, found) in xs.into_iter().zip(found) {
            let x = f64::from(x);
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            let expected = 0.5 * x * (1.0 + u.tanh());
            assert!((f64::from(found) - expected).abs() < 5e-7 * x.abs().max(1.0));
        }
    }

    #[test]
    fn the_argmax_is_the_first_of_the_highest_and_refuses_what_is_not_finite() {
        let mut running = RunningArgmax::new(3);
        running.take(&[1.0, 5.0, 0.0, 2.0, 5.0, f32::NAN], 0);
        running.take(&[2.0, 4.0, 1.0], 2);
        let found: Vec<_> = running.finish().collect();
        assert_eq!(found, [Some(1), Some(0), None]);
    }
}
