//! Sign-flip permutation test at the level of identity pairs: if gender did not matter, each identity pair's labels could as well be
//! swapped, all of its templates together.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::disparity::PairObservation;

/// Up to this many identity pairs every pattern of signs is tried.
const EXACT: usize = 21;
/// Patterns drawn when there are more.
const DRAWS: u64 = 100_000;

/// Two-sided p-value of the mean difference: the share of sign patterns whose mean is at least as far from 0 as the observed one.
/// Exact for up to 21 identity pairs, else by 100,000 draws with the observed pattern counted in (so it is never 0).
pub(super) fn p_value(pairs: &[PairObservation], seed: u64) -> f64 {
    let mut sums = std::collections::BTreeMap::new();
    for pair in pairs {
        *sums.entry(pair.identity).or_insert(0.0) += pair.female - pair.male;
    }
    let sums: Vec<f64> = sums.into_values().collect();
    let observed = sums.iter().sum::<f64>().abs();
    // Patterns that tie with the observed one must count although their sums are added in another order.
    let scale: f64 = sums.iter().map(|sum| sum.abs()).sum();
    let reached = |sum: f64| sum.abs() >= observed - 1e-12 * scale;
    if sums.len() <= EXACT {
        return exact(&sums, reached);
    }
    // Eight signs are one look into a table instead of eight sums.
    let tables: Vec<Vec<f64>> = sums.chunks(8).map(signed_sums).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let hits = (0..DRAWS).filter(|_| {
        let mut bits = 0;
        let mut sum = 0.0;
        for (index, table) in tables.iter().enumerate() {
            if index % 8 == 0 {
                bits = rng.next_u64();
            }
            sum += table[(bits & 0xff) as usize];
            bits >>= 8;
        }
        reached(sum)
    });
    (hits.count() as f64 + 1.0) / (DRAWS as f64 + 1.0)
}

/// The sum of up to eight values under each pattern of signs; a set bit is a minus.
fn signed_sums(values: &[f64]) -> Vec<f64> {
    let patterns = 0..1usize << 8;
    let sum = |pattern: usize| {
        let signed = values.iter().enumerate();
        let signed = signed.map(|(place, value)| match pattern >> place & 1 {
            0 => *value,
            _ => -value,
        });
        signed.sum()
    };
    patterns.map(sum).collect()
}

/// All patterns, in Gray-code order: each differs from the one before in a single sign. The first sign can stay, since a pattern and
/// its opposite are equally far from 0.
fn exact(sums: &[f64], reached: impl Fn(f64) -> bool) -> f64 {
    let mut signs = vec![1.0; sums.len()];
    let patterns = 1u64 << (sums.len() - 1);
    let mut sum: f64 = sums.iter().sum();
    let mut hits = u64::from(reached(sum));
    for pattern in 1..patterns {
        let flipped = 1 + pattern.trailing_zeros() as usize;
        signs[flipped] = -signs[flipped];
        // Adding up afresh now and then keeps rounding from piling up over a million patterns.
        sum = match pattern % 1024 {
            0 => sums.iter().zip(&signs).map(|(sum, sign)| sum * sign).sum(),
            _ => sum + 2.0 * signs[flipped] * sums[flipped],
        };
        hits += u64::from(reached(sum));
    }
    hits as f64 / patterns as f64
}
