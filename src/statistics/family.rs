//! Simultaneous inference: adjusted p-values for a family of measures, and bands over many milestones.

use super::clusters::Clusters;
use super::interval::{deviation, quantile};
use super::standard_error::t_quantile;
use statrs::distribution::{ContinuousCDF, Normal};

/// Holm's step-down adjustment (1979) of m p-values: the smallest times m, the next times m - 1, and so on, made non-decreasing and capped
/// at one. When claims with an adjusted value below 0.05 are accepted, the probability of any false one in the family is at most 5%.
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

/// Bands around the means of several columns (milestones) that contain all of the means at once with probability `level`: mean +- t s. Here
/// s is the cluster-robust standard error of a column, and t the quantile of Student's t at the probability Phi(c), with c the `level`
/// quantile, over common bootstrap draws, of the largest standardised deviation in any column. Columns without spread have bands without
/// width.
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
    // The probability to which a normal deviation of that size belongs; Student's t is taken at the same probability.
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
