//! Permutation tests of the gap that relabel whole identities: if the groups did not matter, an identity could as well have the other
//! label.

use std::collections::BTreeMap;

use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::observation::{Observation, SIDES, are_paired, singles};

/// With up to this many identity pairs, every pattern of signs is tried.
const EXACT: usize = 21;
/// How many relabellings are drawn when there are too many to try.
const DRAWS: u64 = 100_000;
/// With up to this many ways to divide the identities into groups, every one is tried.
const ALL_WAYS: f64 = 1_048_576.0;

/// The two-sided p-value of the gap: the share of relabellings whose gap is at least as far from 0 as the observed one. For matched pairs,
/// the two labels of an identity pair are swapped in all its templates at once. For single prompts, the groups of the identities are
/// permuted. The test is exact when there are few relabellings (up to 21 identity pairs, or C(n, k) up to 2^20). Otherwise it uses 100,000
/// draws and counts the observed labels as one more, so that it is never 0.
pub(super) fn p_value(observations: &[Observation], seed: u64) -> f64 {
    if are_paired(observations) {
        flipped(observations, seed)
    } else {
        permuted(observations, seed)
    }
}

/// The p-value from sign flips of matched pairs.
fn flipped(pairs: &[Observation], seed: u64) -> f64 {
    let mut sums = BTreeMap::new();
    for pair in pairs {
        *sums.entry(pair.identity).or_insert(0.0) += pair.difference().unwrap_or_default();
    }
    let sums: Vec<f64> = sums.into_values().collect();
    let observed = sums.iter().sum::<f64>().abs();
    // Patterns that tie with the observed one must count, although rounding differs when their sums are added in another order.
    let scale: f64 = sums.iter().map(|sum| sum.abs()).sum();
    let reached = |sum: f64| sum.abs() >= observed - 1e-12 * scale;
    if sums.len() <= EXACT {
        return exact(&sums, reached);
    }
    // A table gives the sum for eight signs in one look-up.
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

/// The sum and the number of an identity's values.
type Total = (f64, f64);

/// The p-value from permutations of the identities' groups.
fn permuted(observations: &[Observation], seed: u64) -> f64 {
    let mut totals: BTreeMap<(usize, usize), Total> = BTreeMap::new();
    for one in singles(observations) {
        let total = totals.entry((one.side, one.identity)).or_default();
        *total = (total.0 + one.value, total.1 + 1.0);
    }
    let counts = SIDES.map(|side| totals.keys().filter(|key| key.0 == side).count());
    // Sorted by group, so that the first ones have the observed labels of the first group.
    let totals: Vec<Total> = totals.into_values().collect();
    let whole = sum_of(totals.iter());
    let gap = |first: Total| first.0 / first.1 - (whole.0 - first.0) / (whole.1 - first.1);
    let observed = gap(sum_of(totals[..counts[0]].iter())).abs();
    let scale = totals.iter().map(|total| total.0.abs()).sum::<f64>() / whole.1;
    let reached = |first: Total| gap(first).abs() >= observed - 1e-12 * scale;
    if ways(totals.len(), counts[0]) <= ALL_WAYS {
        let (mut hits, mut all) = (0u64, 0u64);
        each_choice(&totals, counts[0], (0.0, 0.0), &mut |first| {
            hits += u64::from(reached(first));
            all += 1;
        });
        return hits as f64 / all as f64;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..totals.len()).collect();
    let hits = (0..DRAWS).filter(|_| {
        // The first places of a random order (Fisher and Yates).
        for place in 0..counts[0] {
            let other = rng.random_range(place..order.len());
            order.swap(place, other);
        }
        reached(sum_of(order[..counts[0]].iter().map(|&one| &totals[one])))
    });
    (hits.count() as f64 + 1.0) / (DRAWS as f64 + 1.0)
}

fn sum_of<'a>(totals: impl Iterator<Item = &'a Total>) -> Total {
    totals.fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// The number of ways to choose `chosen` of `all`, C(all, chosen).
fn ways(all: usize, chosen: usize) -> f64 {
    let factors = (0..chosen.min(all - chosen)).map(|k| (all - k) as f64 / (k + 1) as f64);
    factors.product()
}

/// Calls `told` with the sum of each choice of `count` totals, added to `sum`.
fn each_choice(totals: &[Total], count: usize, sum: Total, told: &mut impl FnMut(Total)) {
    if count == 0 {
        told(sum);
        return;
    }
    for (place, total) in totals.iter().enumerate().take(totals.len() + 1 - count) {
        let sum = (sum.0 + total.0, sum.1 + total.1);
        each_choice(&totals[place + 1..], count - 1, sum, told);
    }
}

/// The sums of up to eight values under each pattern of signs. A set bit of the pattern is a minus.
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

/// The share of sign patterns that reach the observed gap. Patterns are tried in Gray-code order, in which each differs from the one before
/// in a single sign. The first sign stays, since a pattern and its opposite are equally far from 0.
fn exact(sums: &[f64], reached: impl Fn(f64) -> bool) -> f64 {
    let mut signs = vec![1.0; sums.len()];
    let patterns = 1u64 << (sums.len() - 1);
    let mut sum: f64 = sums.iter().sum();
    let mut hits = u64::from(reached(sum));
    for pattern in 1..patterns {
        let flipped = 1 + pattern.trailing_zeros() as usize;
        signs[flipped] = -signs[flipped];
        // Adding up again from time to time limits the rounding error over a million patterns.
        sum = match pattern % 1024 {
            0 => sums.iter().zip(&signs).map(|(sum, sign)| sum * sign).sum(),
            _ => sum + 2.0 * signs[flipped] * sums[flipped],
        };
        hits += u64::from(reached(sum));
    }
    hits as f64 / patterns as f64
}
