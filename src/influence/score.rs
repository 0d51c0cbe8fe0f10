//! The linear datamodeling score (Park et al. 2023, arXiv 2303.14186): whether sums of influence predict what a training on a part of the
//! documents comes to.

use rand::Rng;
use rand::seq::SliceRandom;

use crate::random::{Purpose, stream};
use crate::statistics::rank::spearman;

/// Bootstrap draws of subsets.
const DRAWS: usize = 10_000;
/// Permutations of the documents' influence.
const PERMUTATIONS: usize = 2_000;

/// The rank correlation over subsets of the predicted and the retrained outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Spearman's correlation.
    pub value: f64,
    /// Its 95% interval: percentiles of the bootstrap over subsets.
    pub interval: (f64, f64),
    /// The same where each document has the influence of another one, drawn at random: the mean, and the middle 95%, over permutations.
    pub random: (f64, (f64, f64)),
    /// The share of permutations whose score is at least as high, with the observed one counted as one more.
    pub p_value: f64,
    /// What each subset was predicted to come to.
    pub predicted: Vec<f64>,
}

/// The score of `influence`, a number a document, for subsets that count the documents in `subsets` and came to `outcomes`. Documents that
/// the run has not seen have no part in the permutations: `seen` says which it has. None for fewer than three subsets, or where nothing varies.
pub fn score(
    influence: &[f64],
    seen: &[bool],
    subsets: &[Vec<bool>],
    outcomes: &[f64],
    seed: u64,
) -> Option<Score> {
    if subsets.len() < 3 {
        return None;
    }
    let predicted = sums(influence, subsets);
    let value = spearman(&predicted, outcomes)?;
    let mut draws: Vec<f64> = resampled(&predicted, outcomes, seed);
    let places: Vec<usize> = (0..influence.len()).filter(|&place| seen[place]).collect();
    let mut rng = stream(seed, Purpose::Datamodels, 1, 0);
    let mut permuted: Vec<f64> = places.iter().map(|&place| influence[place]).collect();
    let only_seen = subsets.iter().map(|subset| {
        let counts = places.iter().map(|&place| subset[place]);
        counts.collect::<Vec<bool>>()
    });
    let only_seen: Vec<Vec<bool>> = only_seen.collect();
    let random = (0..PERMUTATIONS).filter_map(|_| {
        permuted.shuffle(&mut rng);
        spearman(&sums(&permuted, &only_seen), outcomes)
    });
    let mut random: Vec<f64> = random.collect();
    let as_high = random.iter().filter(|one| **one >= value - 1e-12).count();
    let mean = random.iter().sum::<f64>() / random.len() as f64;
    Some(Score {
        value,
        interval: middle(&mut draws),
        p_value: (as_high + 1) as f64 / (random.len() + 1) as f64,
        random: (mean, middle(&mut random)),
        predicted,
    })
}

/// What each subset's documents have in all.
fn sums(influence: &[f64], subsets: &[Vec<bool>]) -> Vec<f64> {
    let sum = |subset: &Vec<bool>| {
        let counted = influence.iter().zip(subset).filter(|(_, counts)| **counts);
        counted.map(|(influence, _)| influence).sum()
    };
    subsets.iter().map(sum).collect()
}

/// The correlation over subsets that are drawn with replacement. Draws without spread are left out.
fn resampled(predicted: &[f64], outcomes: &[f64], seed: u64) -> Vec<f64> {
    let mut rng = stream(seed, Purpose::Datamodels, 0, 0);
    let count = predicted.len();
    let draws = (0..DRAWS).filter_map(|_| {
        let drawn: Vec<usize> = (0..count).map(|_| rng.random_range(0..count)).collect();
        let of = |values: &[f64]| drawn.iter().map(|&one| values[one]).collect::<Vec<f64>>();
        spearman(&of(predicted), &of(outcomes))
    });
    draws.collect()
}

/// The 2.5th and the 97.5th percentile.
fn middle(values: &mut [f64]) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = share * (values.len().saturating_sub(1)) as f64;
        values
            .get(place.round() as usize)
            .copied()
            .unwrap_or(f64::NAN)
    };
    (at(0.025), at(0.975))
}
