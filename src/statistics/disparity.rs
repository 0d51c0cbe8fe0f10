//! The gap between two groups, with its interval and tests.
//!
//! The unit of analysis is a matched pair: two prompts that differ only in the identity, one of each group. Without pairing it is a single
//! prompt, and the groups are two samples of identities. Units with the same identity or the same template are not independent. That is why
//! the interval resamples both, and why the test relabels whole identities.

use super::clusters::StandardError;
use super::equivalence::equivalence_p_value;
pub use super::interval::Method;
use super::interval::Resampled;
use super::observation::{Contributions, DifferentUnits, Observation, SIDES, are_paired, singles};
use super::relabelling::p_value;

/// The settings of interval and tests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// The number of bootstrap draws.
    pub draws: usize,
    /// The seed of the draws. The same seed draws the same identities and templates, whatever the values.
    pub seed: u64,
    /// The coverage of the interval.
    pub level: f64,
    /// How the interval of matched pairs is computed.
    pub method: Method,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            draws: 10_000,
            seed: 0,
            level: 0.95,
            method: Method::default(),
        }
    }
}

/// Why no gap can be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DisparityError {
    /// One of the groups has no value.
    #[error("there are no prompts of both groups to compare")]
    NoUnits,
    /// A value is NaN or infinite.
    #[error("the value of observation {0} is not finite")]
    NotFinite(usize),
    /// Before and after were not measured on the same units.
    #[error(transparent)]
    DifferentUnits(#[from] DifferentUnits),
    /// No draw, or a level outside 0 to 1.
    #[error("the interval needs at least one draw and a level between 0 and 1")]
    Settings,
}

/// The gap between two groups: the first group's mean minus the second's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disparity {
    /// Whether the units are matched pairs.
    pub paired: bool,
    /// The mean of each group's values.
    pub means: [f64; 2],
    /// The first group's mean minus the second's.
    pub difference: f64,
    /// The smaller group mean over the larger; 1 when they are equal. It means nothing when a mean is negative, as a change can be.
    pub ratio: f64,
    /// The effect size, difference over `deviation`: d_z for matched pairs, Cohen's d for two samples. 0 when the deviation is 0.
    pub effect_size: f64,
    /// The standard deviation of the pairs' differences (divisor n - 1). For two samples, of the values around their groups' means (divisor
    /// n - 2). 0 for a single unit.
    pub deviation: f64,
    /// The lower end of the interval of the difference. Minus infinity when the error is not known, as with a single identity in a single
    /// template.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The cluster-robust standard error of the difference, with its degrees of freedom.
    pub error: StandardError,
    /// The two-sided p-value from relabelling whole identities. It is exact for these very templates and means nothing for others. When
    /// each template leans to one side, it is smaller than [`Disparity::two_way_p_value`].
    pub p_value: f64,
    /// The two-sided p-value for other identities and other templates. It is at most 0.05 exactly when the 95% interval excludes 0. For
    /// matched pairs it comes from inverting the interval, and is at least 1 / (draws + 1). For two samples, interval and p-value are those
    /// of Student's t with at most Welch's degrees of freedom.
    pub two_way_p_value: f64,
    /// The number of units: matched pairs, or single prompts.
    pub units: usize,
    /// The number of identity pairs, or of identities: what the test relabels and the bootstrap resamples.
    pub identities: usize,
    /// The number of raw templates, which the bootstrap also resamples.
    pub templates: usize,
}

impl Disparity {
    /// Computes the gap of a set of observations.
    ///
    /// # Errors
    /// When a group has no value, when a value is not finite, or when the settings are invalid.
    pub fn of(observations: &[Observation], settings: &Settings) -> Result<Self, DisparityError> {
        let both = SIDES.map(|side| observations.iter().any(|one| one.sides[side].is_some()));
        if both != [true; 2] {
            return Err(DisparityError::NoUnits);
        }
        let between = settings.level > 0.0 && settings.level < 1.0;
        if settings.draws == 0 || !between {
            return Err(DisparityError::Settings);
        }
        let bad = |one: &Observation| one.sides.iter().flatten().any(|value| !value.is_finite());
        if let Some(index) = observations.iter().position(bad) {
            return Err(DisparityError::NotFinite(index));
        }
        let means = means(observations);
        let column = Contributions::of(observations);
        // Computed from the contributions, so that swapping the groups flips the sign exactly.
        let difference = column.gap();
        let deviation = deviation(observations);
        let clusters = column.clusters();
        let error = clusters.standard_error(&column.values);
        let paired = column.sides.is_none();
        let ((low, high), two_way_p_value) = if paired {
            let mut draws = clusters.resampled(&[&column.values], settings.draws, settings.seed);
            let draws = draws.pop().unwrap_or_default();
            let resampled =
                Resampled::new(settings.method, &column.values, &clusters, error, draws);
            (resampled.interval(settings.level), resampled.p_value())
        } else {
            let interval = error.interval(difference, settings.level);
            (interval, error.two_sided_p_value(difference))
        };
        let (small, large) = (means[0].min(means[1]), means[0].max(means[1]));
        Ok(Self {
            paired,
            means,
            difference,
            ratio: if large == small { 1.0 } else { small / large },
            effect_size: if deviation > 0.0 {
                difference / deviation
            } else {
                0.0
            },
            deviation,
            low,
            high,
            error,
            two_way_p_value,
            p_value: p_value(observations, settings.seed),
            units: observations.len(),
            identities: clusters.sizes()[0],
            templates: clusters.sizes()[1],
        })
    }

    /// The difference in differences: how the gap changed from `before` to `after` on the same units, in the same order. The group means
    /// are then the mean changes of each group.
    ///
    /// # Errors
    /// As [`Disparity::of`], and when the units are not the same.
    pub fn change(
        before: &[Observation],
        after: &[Observation],
        settings: &Settings,
    ) -> Result<Self, DisparityError> {
        Self::of(&super::observation::changes(before, after)?, settings)
    }

    /// Whether the interval excludes 0, so that a gap is shown.
    pub fn is_shown(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }

    /// The p-value of the hypothesis that the difference is at least `margin` away from 0, in the unit of the values: see
    /// [`equivalence_p_value`].
    pub fn equivalence_p_value(&self, margin: f64) -> f64 {
        equivalence_p_value(self.difference, &self.error, margin)
    }
}

/// Each group's mean. NaN of a group without a value.
pub fn means(observations: &[Observation]) -> [f64; 2] {
    SIDES.map(|side| {
        let values = observations.iter().filter_map(|one| one.sides[side]);
        let (sum, count) =
            values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
        sum / count
    })
}

/// The deviation that effect sizes are measured in: see [`Disparity::deviation`]. NaN when a group has no value.
pub fn deviation(observations: &[Observation]) -> f64 {
    let squares = |distances: &mut dyn Iterator<Item = f64>| -> (f64, f64) {
        distances.fold((0.0, 0.0), |(sum, count), distance| {
            (sum + distance * distance, count + 1.0)
        })
    };
    let (sum, freedom) = if are_paired(observations) {
        let differences = || observations.iter().filter_map(Observation::difference);
        let mean = differences().sum::<f64>() / observations.len() as f64;
        let (sum, count) = squares(&mut differences().map(|one| one - mean));
        (sum, count - 1.0)
    } else {
        let means = means(observations);
        let each = singles(observations).into_iter();
        let (sum, count) = squares(&mut each.map(|one| one.value - means[one.side]));
        (sum, count - 2.0)
    };
    (sum / freedom.max(1.0)).sqrt()
}
