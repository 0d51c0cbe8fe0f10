//! Several claims at once: p-values of a family of measures, and bands over many milestones.

use super::clusters::Clusters;
use super::interval::{deviation, quantile};
use super::standard_error::t_quantile;
use statrs::distribution::{ContinuousCDF, Normal};

/// Holm's step-down adjustment (1979): the smallest of m p-values times m, the next times m - 1, ..., never falling, at most 1. Rejecting
/// where the adjusted value is below 0.05 makes any false claim in the family with a probability of at most 5%.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut highest: f64 = 0.0;
    for (rank, &index) in order.iter().enumerate() {
        let times = (p_values.len() - rank) as f64;
        highest = highest.max((p_values[index] * times).min(1.0));
        adjusted[index] = highest;
    }
    adjusted
}

/// Bands around the means of several columns (milestones) that hold all of them at once with probability `level`: mean -+ c t/z s, with
/// s the cluster-robust standard error of each, and c the quantile, over common bootstrap draws, of the largest standardised deviation
/// in any column. Columns without spread have no width.
pub fn simultaneous_bands(
    columns: &[&[f64]],
    clusters: &Clusters,
    draws: usize,
    seed: u64,
    level: f64,
) -> Vec<(f64, f64)> {
    let means: Vec<f64> = columns
        .iter()
        .map(|values| values.iter().sum::<f64>() / values.len() as f64)
        .collect();
    let resampled = clusters.resampled(columns, draws, seed);
    let mut largest = vec![0.0f64; draws];
    for (one, &mean) in resampled.iter().zip(&means) {
        let spread = deviation(one, mean);
        if spread > 0.0 {
            for (largest, draw) in largest.iter_mut().zip(one) {
                *largest = largest.max((draw - mean).abs() / spread);
            }
        }
    }
    largest.sort_by(f64::total_cmp);
    let critical = quantile(&largest, level);
    // The level that a single normal deviation of that size stands for, and Student's t at the same.
    let tail = Normal::standard().cdf(critical);
    let both = columns.iter().zip(&means);
    both.map(|(values, &mean)| {
        let error = clusters.standard_error(values);
        let half = if error.value > 0.0 {
            error.value * t_quantile(error.degrees, tail)
        } else {
            0.0
        };
        (mean - half, mean + half)
    })
    .collect()
}
