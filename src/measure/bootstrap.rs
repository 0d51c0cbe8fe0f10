//! Two-way cluster bootstrap: identity pairs and templates are both drawn with replacement.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::disparity::{PairObservation, Settings};

/// The percentile interval of the mean difference female - male.
///
/// In each draw, as many identities and as many templates as there are are drawn with replacement; a pair weighs how often its identity
/// was drawn times how often its template was; the statistic is the weighted mean. A draw in which no pair has weight (sparse
/// designs) is drawn again. The ends are read off with linear interpolation, mirrored so that negating every difference mirrors the
/// interval exactly.
///
/// Where differences depend on their identity or template, the interval covers the truth in about `level` of cases. Where they are
/// independent of both, it is too wide: a two-way bootstrap then sees up to three times the variance of the mean, and a 95% interval
/// covers in more than 99% of cases. It errs on the side of finding nothing.
pub(super) fn percentile_interval(pairs: &[PairObservation], settings: &Settings) -> (f64, f64) {
    // Only what occurs can be drawn.
    let identities = dense(pairs.iter().map(|pair| pair.identity));
    let templates = dense(pairs.iter().map(|pair| pair.template));
    let columns = templates.len();
    let mut sums = vec![0.0; identities.len() * columns];
    let mut counts = vec![0.0; identities.len() * columns];
    for pair in pairs {
        let cell = identities[&pair.identity] * columns + templates[&pair.template];
        sums[cell] += pair.female - pair.male;
        counts[cell] += 1.0;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    let mut row_weights = vec![0.0; identities.len()];
    let mut column_weights = vec![0.0; columns];
    let mut statistics = Vec::with_capacity(settings.draws);
    while statistics.len() < settings.draws {
        draw(&mut rng, &mut row_weights);
        draw(&mut rng, &mut column_weights);
        let (mut sum, mut weight) = (0.0, 0.0);
        for (row, &times) in row_weights.iter().enumerate() {
            if times == 0.0 {
                continue;
            }
            let cells = row * columns..(row + 1) * columns;
            let dot = |values: &[f64]| -> f64 {
                let products = values.iter().zip(&column_weights);
                products.map(|(value, weight)| value * weight).sum()
            };
            sum += times * dot(&sums[cells.clone()]);
            weight += times * dot(&counts[cells]);
        }
        if weight > 0.0 {
            statistics.push(sum / weight);
        }
    }
    statistics.sort_by(f64::total_cmp);
    let tail = (1.0 - settings.level) / 2.0;
    let mirrored: Vec<f64> = statistics.iter().rev().map(|value| -value).collect();
    (quantile(&statistics, tail), -quantile(&mirrored, tail))
}

/// A row or column for each cluster that occurs, in ascending order, so that gaps in the numbering change no draw.
fn dense(clusters: impl Iterator<Item = usize>) -> BTreeMap<usize, usize> {
    let mut index: BTreeMap<usize, usize> = clusters.map(|cluster| (cluster, 0)).collect();
    for (place, slot) in index.values_mut().enumerate() {
        *slot = place;
    }
    index
}

/// How often each cluster is drawn when as many are drawn as there are.
fn draw(rng: &mut ChaCha8Rng, weights: &mut [f64]) {
    weights.fill(0.0);
    for _ in 0..weights.len() {
        weights[rng.random_range(0..weights.len())] += 1.0;
    }
}

/// Quantile of ascending values with linear interpolation between order statistics (type 7, numpy's default).
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q * (sorted.len() - 1) as f64;
    let (below, share) = (position.floor() as usize, position.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * share
}
