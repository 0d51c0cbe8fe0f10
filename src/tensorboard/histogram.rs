//! Histograms of values, in buckets of equal width between the smallest and the largest value.

use tensorboard_proto::summary::Summary;
use tensorboard_rs::summary::histogram_raw;

const BUCKETS: usize = 30;

/// The histogram of the finite `values`, for TensorBoard's pages of histograms and distributions.
pub(super) fn histogram(tag: &str, values: &[f64]) -> Summary {
    let finite: Vec<f64> = values
        .iter()
        .copied()
        .filter(|value| value.is_finite())
        .collect();
    let (min, max) = finite
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), &value| {
            (min.min(value), max.max(value))
        });
    let sum: f64 = finite.iter().sum();
    let squares: f64 = finite.iter().map(|value| value * value).sum();
    if finite.is_empty() {
        return histogram_raw(tag, 0.0, 0.0, 0.0, 0.0, 0.0, &[0.0], &[0.0]);
    }
    if min == max {
        return histogram_raw(
            tag,
            min,
            max,
            finite.len() as f64,
            sum,
            squares,
            &[max],
            &[finite.len() as f64],
        );
    }
    let mut limits = Vec::with_capacity(BUCKETS);
    let mut limit = min;
    for index in 1..=BUCKETS {
        // A weighted sum, because max - min may overflow; clamped, because rounding must not change the order of two limits.
        let share = index as f64 / BUCKETS as f64;
        limit = (min * (1.0 - share) + max * share).clamp(limit, max);
        limits.push(limit);
    }
    let mut counts = vec![0.0; BUCKETS];
    for value in &finite {
        let bucket = limits.partition_point(|limit| limit < value);
        counts[bucket] += 1.0;
    }
    histogram_raw(
        tag,
        min,
        max,
        finite.len() as f64,
        sum,
        squares,
        &limits,
        &counts,
    )
}
