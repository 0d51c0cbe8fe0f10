//! Independent values: their mean and their sum, and the difference of two means, with the errors of Student's t.

use super::standard_error::StandardError;

/// An estimate with its 95% interval and the p-value that it is 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimated {
    /// The estimate.
    pub value: f64,
    /// The ends of the interval. Infinite when there are too few values.
    pub interval: (f64, f64),
    /// The two-sided p-value of Student's t; 1 when there are too few values.
    pub p_value: f64,
}

impl Estimated {
    fn new(value: f64, error: StandardError) -> Self {
        Self {
            value,
            interval: error.interval(value, 0.95),
            p_value: error.two_sided_p_value(value),
        }
    }
}

/// The mean of values, its variance and its degrees of freedom. The variance is infinite for fewer than two values.
fn moments(values: &[f64]) -> (f64, f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean) * (value - mean));
    let variance = if values.len() < 2 {
        f64::INFINITY
    } else {
        squares.sum::<f64>() / (count - 1.0) / count
    };
    (mean, variance, count - 1.0)
}

/// The sum of independent values. Its error is the number of values times that of their mean: what the sum would be of as many other
/// values from the same source.
pub fn total(values: &[f64]) -> Estimated {
    let (mean, variance, degrees) = moments(values);
    let count = values.len() as f64;
    let error = StandardError {
        value: count * variance.sqrt(),
        degrees,
    };
    Estimated::new(if values.is_empty() { 0.0 } else { count * mean }, error)
}

/// The mean of the first sample less that of the second, by Welch (1947).
pub fn difference(first: &[f64], second: &[f64]) -> Estimated {
    let [(a, v, f), (b, w, g)] = [first, second].map(moments);
    let variance = v + w;
    let error = StandardError {
        value: variance.sqrt(),
        degrees: variance * variance / (v * v / f + w * w / g),
    };
    Estimated::new(a - b, error)
}
