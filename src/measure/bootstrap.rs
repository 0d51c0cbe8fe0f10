//! Two-way cluster bootstrap: identity pairs and templates are both drawn with replacement.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::disparity::{PairObservation, Settings};

/// The percentile interval of the mean difference female - male.
///
/// In each draw, as many identities and as many templates as there are are drawn with replacement; a pair weighs how often its identity
/// was drawn times how often its template was; the statistic is the weighted mean. A draw in which no pair has weight (sparse
/// designs) is drawn again. The ends are read off with linear interpolation, mirrored so that negating every difference mirrors the
/// interval exactly.
pub fn percentile_interval(pairs: &[PairObservation], settings: &Settings) -> (f64, f64) {
    let identities = 1 + pairs.iter().map(|pair| pair.identity).max().unwrap_or(0);
    let templates = 1 + pairs.iter().map(|pair| pair.template).max().unwrap_or(0);
    // Only what occurs can be drawn.
    let identities = present(identities, pairs.iter().map(|pair| pair.identity));
    let templates = present(templates, pairs.iter().map(|pair| pair.template));
    let columns = templates.count;
    let mut sums = vec![0.0; identities.count * columns];
    let mut counts = vec![0.0; identities.count * columns];
    for pair in pairs {
        let cell = identities.index[pair.identity] * columns + templates.index[pair.template];
        sums[cell] += pair.female - pair.male;
        counts[cell] += 1.0;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    let mut row_weights = vec![0.0; identities.count];
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

struct Present {
    /// Dense index of each cluster that occurs.
    index: Vec<usize>,
    count: usize,
}

fn present(size: usize, clusters: impl Iterator<Item = usize>) -> Present {
    let mut index = vec![usize::MAX; size];
    for cluster in clusters {
        index[cluster] = 0;
    }
    let mut count = 0;
    for slot in index.iter_mut().filter(|slot| **slot == 0) {
        *slot = count;
        count += 1;
    }
    Present { index, count }
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
