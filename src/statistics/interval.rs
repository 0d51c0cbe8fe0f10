//! Confidence intervals of a mean over clusters in two ways, from the two-way cluster bootstrap.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

use super::clusters::Clusters;
use super::standard_error::{StandardError, t_quantile};

/// How the ends of an interval are computed from the bootstrap's draws.
///
/// The percentiles of two-way draws are right when identities or templates matter, and far too wide when they do not: for independent
/// values the draws have three times the variance of the mean, and a 95% interval covers in 99.8% of cases. `Corrected` keeps the shape of
/// the draws and scales them to the spread of the data in either case. It is the only method that covers in 93 to 97% of cases in every
/// design of the coverage test (21 identities in 28 templates), so it is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Percentiles of the draws. Their distances from the mean are multiplied by t / z times the cluster-robust standard error over the
    /// standard deviation of the draws.
    #[default]
    Corrected,
    /// Percentiles of the draws.
    Percentile,
    /// Bias-corrected and accelerated (Efron 1987). The acceleration comes from the means that leave out each cluster of either way.
    Bca,
}

/// A mean over clusters with its bootstrap draws. It gives intervals of any level and the p-value that goes with them.
pub(super) struct Resampled {
    method: Method,
    mean: f64,
    error: StandardError,
    /// The draws, ascending.
    draws: Vec<f64>,
    /// The negated draws, ascending.
    mirrored: Vec<f64>,
    /// Standard deviation of the draws around the mean.
    spread: f64,
    /// The acceleration of BCa.
    acceleration: f64,
}

impl Resampled {
    /// Takes `values`, their clusters and standard error, and `draws`: the means of the values under resampling.
    pub fn new(
        method: Method,
        values: &[f64],
        clusters: &Clusters,
        error: StandardError,
        mut draws: Vec<f64>,
    ) -> Self {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        // Computed before sorting, so that the sum is the same to the last bit when all values are negated.
        let spread = deviation(&draws, mean);
        draws.sort_by(f64::total_cmp);
        let acceleration = match method {
            Method::Bca => acceleration(&clusters.left_out(values)),
            Method::Corrected | Method::Percentile => 0.0,
        };
        Self {
            method,
            mean,
            error,
            mirrored: draws.iter().rev().map(|draw| -draw).collect(),
            draws,
            spread,
            acceleration,
        }
    }

    /// The interval of a level, such as 0.95. It is infinite when the error is not known.
    pub fn interval(&self, level: f64) -> (f64, f64) {
        if !self.error.is_known() {
            return (f64::NEG_INFINITY, f64::INFINITY);
        }
        // The upper end is the negated lower end for negated values, so that swapping the two groups mirrors the interval exactly.
        (self.low(level), -self.low_of_mirrored(level))
    }

    /// The two-sided p-value that goes with the intervals: the largest p for which the interval of level 1 - p contains 0. So it is at most
    /// 0.05 exactly when the 95% interval excludes 0. It is at least 1 / (draws + 1), the smallest that the draws can resolve, unless the
    /// values have no spread.
    pub fn p_value(&self) -> f64 {
        if !self.error.is_known() {
            return 1.0;
        }
        if self.error.value == 0.0 || self.spread == 0.0 {
            return f64::from(u8::from(self.mean == 0.0));
        }
        let holds = |p: f64| {
            let (low, high) = self.interval(1.0 - p);
            low <= 0.0 && 0.0 <= high
        };
        let least = 1.0 / (self.draws.len() as f64 + 1.0);
        if !holds(least) {
            return least;
        }
        let (mut held, mut not_held) = (least, 1.0);
        while not_held - held > 1e-12 * held {
            let middle = (held + not_held) / 2.0;
            if middle <= held || middle >= not_held {
                break;
            }
            if holds(middle) {
                held = middle;
            } else {
                not_held = middle;
            }
        }
        held
    }

    fn low(&self, level: f64) -> f64 {
        self.lower_end(&self.draws, self.mean, self.acceleration, level)
    }

    fn low_of_mirrored(&self, level: f64) -> f64 {
        self.lower_end(&self.mirrored, -self.mean, -self.acceleration, level)
    }

    fn lower_end(&self, draws: &[f64], mean: f64, acceleration: f64, level: f64) -> f64 {
        let tail = (1.0 - level) / 2.0;
        match self.method {
            Method::Percentile => quantile(draws, tail),
            Method::Corrected => mean + self.stretch(level) * (quantile(draws, tail) - mean),
            Method::Bca => bca_low(draws, mean, acceleration, level),
        }
    }

    /// The factor for the draws' distances from the mean; 1 when there is no spread.
    fn stretch(&self, level: f64) -> f64 {
        if self.spread > 0.0 {
            self.error.value * t_over_z(self.error.degrees, level) / self.spread
        } else {
            1.0
        }
    }
}

/// The standard deviation of the draws around the mean of the original values.
pub(super) fn deviation(draws: &[f64], mean: f64) -> f64 {
    let squares = draws.iter().map(|draw| (draw - mean) * (draw - mean));
    (squares.sum::<f64>() / draws.len() as f64).sqrt()
}

/// How much wider Student's t makes an interval than the normal distribution; 1 in the limit of level 0.
fn t_over_z(degrees: f64, level: f64) -> f64 {
    let tail = (1.0 + level) / 2.0;
    let z = Normal::standard().inverse_cdf(tail);
    if z > 0.0 {
        t_quantile(degrees, tail) / z
    } else {
        1.0
    }
}

/// The lower end of BCa over ascending draws.
fn bca_low(draws: &[f64], mean: f64, acceleration: f64, level: f64) -> f64 {
    let normal = Normal::standard();
    let below = draws.iter().filter(|&&draw| draw < mean).count() as f64;
    let ties = draws.iter().filter(|&&draw| draw == mean).count() as f64;
    let count = draws.len() as f64;
    // If all draws are on one side, half a draw is taken to be on the other.
    let share = ((below + 0.5 * ties) / count).clamp(0.5 / count, 1.0 - 0.5 / count);
    let bias = normal.inverse_cdf(share);
    let z = bias + normal.inverse_cdf((1.0 - level) / 2.0);
    let adjusted = normal.cdf(bias + z / (1.0 - acceleration * z));
    quantile(draws, adjusted.clamp(0.0, 1.0))
}

/// The acceleration of BCa (Efron 1987): the sum of the cubed jackknife influences over 6 times the sum of their squares to the power 3/2,
/// for both ways together.
fn acceleration(left_out: &[Vec<f64>]) -> f64 {
    let (mut squares, mut cubes) = (0.0, 0.0);
    for means in left_out {
        let mean = means.iter().sum::<f64>() / means.len() as f64;
        for one in means {
            let influence = mean - one;
            squares += influence * influence;
            cubes += influence * influence * influence;
        }
    }
    if squares > 0.0 {
        cubes / (6.0 * squares.powf(1.5))
    } else {
        0.0
    }
}

/// The quantile of ascending values, with linear interpolation between order statistics (type 7 of Hyndman and Fan, numpy's default).
pub(super) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q * (sorted.len() - 1) as f64;
    let (below, share) = (position.floor() as usize, position.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * share
}
