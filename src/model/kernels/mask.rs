//! Dropout masks that are not kept: each value of a mask is a function of a key and of its own place, so the backward pass draws it again.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{arch, measured};

/// Values that one task takes.
pub(crate) const CHUNK: usize = 16 * 1024;

/// A dropout mask: its key, and what it does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Mask {
    key: [u32; 2],
    /// A draw below this drops the value.
    threshold: u32,
    /// What a value that stays is multiplied by.
    keep: f32,
}

impl Mask {
    /// What spreads the number of a place over the bits.
    pub const SPREAD: u32 = 0x9e37_79b9;

    /// The multipliers of the bijection that C. Wellons' search for low bias found.
    pub const MULTIPLIERS: [u32; 2] = [0x21f0_aaad, 0x735a_2d97];

    /// The two halves of its key.
    pub fn key(self) -> [u32; 2] {
        self.key
    }

    /// A draw below this drops the value.
    pub fn threshold(self) -> u32 {
        self.threshold
    }

    /// What a value that stays is multiplied by.
    pub fn keep(self) -> f32 {
        self.keep
    }

    /// The mask of a key that drops with probability `p`, below 1, and scales what stays by `1 / (1 - p)`.
    pub fn new(key: u64, p: f64) -> Self {
        Self {
            key: [key as u32, (key >> 32) as u32],
            threshold: (p * 2f64.powi(32)) as u32,
            keep: (1.0 / (1.0 - p)) as f32,
        }
    }

    /// The mask of a part of a tensor, such as a row, with a key of its own.
    pub fn part(self, index: u32) -> Self {
        let [a, b] = self.key;
        Self {
            key: [
                mixed(a ^ index.wrapping_mul(Self::SPREAD)),
                mixed(b.wrapping_add(index)),
            ],
            ..self
        }
    }

    /// What the value at a place is multiplied by: 0, or a little more than 1.
    #[inline(always)]
    pub fn at(self, index: u32) -> f32 {
        let draw =
            mixed(mixed(index.wrapping_mul(Self::SPREAD) ^ self.key[0]).wrapping_add(self.key[1]));
        if draw < self.threshold {
            0.0
        } else {
            self.keep
        }
    }

    /// Multiplies each of `values` by its place in the mask, within a function that may use the processor's instructions.
    #[inline(always)]
    pub(super) fn multiply(self, values: &mut [f32]) {
        for (index, value) in (0u32..).zip(values) {
            *value *= self.at(index);
        }
    }

    /// Multiplies each of `values` by its place in the mask, on all cores.
    pub fn apply(self, values: &mut [f32]) {
        measured("dropout", 2 * values.len(), 0, || {
            let chunks = values.par_chunks_mut(CHUNK).enumerate();
            chunks.for_each(|(chunk, values)| {
                let mask = self.part(chunk as u32);
                arch().dispatch(Apply { mask, values });
            });
        });
    }

    /// `x` plus `y` through the mask.
    pub fn add(self, x: &[f32], y: &[f32]) -> Vec<f32> {
        measured("residual and dropout", 3 * x.len(), 0, || {
            let mut sum = vec![0.0; x.len()];
            let chunks = (sum.par_chunks_mut(CHUNK).enumerate())
                .zip(x.par_chunks(CHUNK).zip(y.par_chunks(CHUNK)));
            chunks.for_each(|((chunk, sum), (x, y))| {
                let mask = self.part(chunk as u32);
                arch().dispatch(Add { mask, sum, x, y });
            });
            sum
        })
    }
}

/// A bijection of 32 bits in which each bit of the input turns about half of the output's.
#[inline(always)]
fn mixed(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(Mask::MULTIPLIERS[0]);
    x ^= x >> 15;
    x = x.wrapping_mul(Mask::MULTIPLIERS[1]);
    x ^ (x >> 15)
}

struct Apply<'a> {
    mask: Mask,
    values: &'a mut [f32],
}

impl WithSimd for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.mask.multiply(self.values);
    }
}

struct Add<'a> {
    mask: Mask,
    sum: &'a mut [f32],
    x: &'a [f32],
    y: &'a [f32],
}

impl WithSimd for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let values = self.sum.iter_mut().zip(self.x.iter().zip(self.y));
        for (index, (sum, (x, y))) in (0u32..).zip(values) {
            *sum = x + y * self.mask.at(index);
        }
    }
}
