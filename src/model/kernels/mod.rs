//! The inner loops that burn's CPU backend is slow at, on plain slices and compiled for each instruction set of the processor.
//!
//! Each is a [`pulp::WithSimd`]: what it calls is inlined into a function that may use the instructions, where a closure may not be.

mod adamw;
mod argmax;
mod attention;
mod causal;
mod cross_entropy;
mod gelu;
mod heads;
mod mask;
mod matrix;
mod norm;
mod product;
pub mod profile;
mod reduce;
mod rms_norm;
mod rows;
mod silu;
mod turns;

use std::sync::OnceLock;

use pulp::Arch;

pub(crate) use adamw::AdamWStep;
pub(super) use argmax::greedy;
pub(super) use attention::attention;
pub(super) use causal::{attention_mask, causal_attention, causal_attention_backward};
pub(super) use cross_entropy::{Targets, cross_entropy};
pub(super) use gelu::{gelu, gelu_slope_all};
pub(super) use heads::Heads;
pub(super) use mask::{CHUNK as MASK_CHUNK, Mask};
pub(super) use matrix::{Matrix, product_on_all_cores};
pub(super) use norm::{Moments, layer_norm, layer_norm_backward};
pub(super) use product::{MOST_ROWS, product};
use profile::measured;
pub(super) use rms_norm::{rms_norm, rms_norm_backward};
pub(super) use rows::square_sum;
pub(super) use rows::{
    add, add_bias, add_bias_and_gelu, change_along, column_sums, gather, scale, scatter_add,
};
pub(super) use silu::{gated, gated_backward};
pub(super) use turns::{Angles, side_by_side, side_by_side_backward};

/// The instructions that this processor has.
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

#[cfg(test)]
mod tests {
    use super::exp;

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
}
