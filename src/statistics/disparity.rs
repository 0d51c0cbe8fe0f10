//! The gap between two groups on matched pairs, and how sure one can be of it.
//!
//! A unit of analysis is a matched pair: two prompts that differ only in the identity, one female, one male. Pairs of one identity or
//! of one template are not independent, which is why the interval resamples both and the test flips whole identities.

use serde::{Deserialize, Serialize};

use crate::data::templates::MatchedPair;

use super::clusters::{Clusters, StandardError};
use super::equivalence::equivalence_p_value;
pub use super::interval::Method;
use super::interval::interval;
use super::sign_flip::p_value;

/// One matched pair's values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairObservation {
    /// Index of the identity pair.
    pub identity: usize,
    /// Index of the template.
    pub template: usize,
    /// The female prompt's value.
    pub female: f64,
    /// The male prompt's value.
    pub male: f64,
}

impl PairObservation {
    /// The observations of matched pairs of prompts, from a value for each prompt.
    pub fn of_pairs(pairs: &[MatchedPair], values: &[f64]) -> Vec<Self> {
        let pairs = pairs.iter();
        pairs
            .map(|pair| Self {
                identity: pair.identity,
                template: pair.template,
                female: values[pair.female],
                male: values[pair.male],
            })
            .collect()
    }
}

/// How interval and test are computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Bootstrap draws.
    pub draws: usize,
    /// Seed of the draws: the same seed draws the same identities and templates, whatever the values.
    pub seed: u64,
    /// Coverage of the interval.
    pub level: f64,
    /// How the interval is made.
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

/// Why there is no disparity to report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DisparityError {
    /// Nothing to compare.
    #[error("there is no matched pair of prompts")]
    NoPairs,
    /// A value is NaN or infinite.
    #[error("the value of matched pair {0} is not finite")]
    NotFinite(usize),
    /// Before and after are not measured on the same pairs.
    #[error("the two milestones were not measured on the same matched pairs")]
    DifferentPairs,
    /// No draw, or a level outside 0 to 1.
    #[error("the interval needs at least one draw and a level between 0 and 1")]
    Settings,
}

/// The gap between female and male prompts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disparity {
    /// Mean over pairs of the female value.
    pub mean_female: f64,
    /// Mean over pairs of the male value.
    pub mean_male: f64,
    /// Female minus male.
    pub difference: f64,
    /// The smaller group mean over the larger; 1 when they are equal. Says nothing where a mean is negative, as a change can be.
    pub ratio: f64,
    /// Paired effect size: mean difference over the standard deviation (n - 1) of the differences; 0 where that is 0 or, for a
    /// single pair, undefined.
    pub d_z: f64,
    /// Standard deviation (n - 1) of the differences; 0 for a single pair.
    pub deviation: f64,
    /// Lower end of the interval of the difference; minus infinity where it cannot be told, for a single identity in a single template.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The cluster-robust standard error of the difference, with its degrees of freedom.
    pub error: StandardError,
    /// Two-sided, by flipping the signs of whole identity pairs: exact for these very templates. It says nothing of other templates: where
    /// they lean to one side each, it is smaller than [`Disparity::two_way_p_value`].
    pub p_value: f64,
    /// Two-sided, by Student's t with the cluster-robust error: for other identities and other templates, as the interval is.
    pub two_way_p_value: f64,
    /// Number of matched pairs.
    pub pairs: usize,
    /// Number of identity pairs among them: what the sign flip flips and the bootstrap resamples.
    pub identities: usize,
    /// Number of templates among them: what the bootstrap resamples too.
    pub templates: usize,
}

impl Disparity {
    /// The gap in a set of matched pairs.
    ///
    /// # Errors
    /// When there is no pair, a value is not finite, or the settings make no sense.
    pub fn of(pairs: &[PairObservation], settings: &Settings) -> Result<Self, DisparityError> {
        if pairs.is_empty() {
            return Err(DisparityError::NoPairs);
        }
        let between = settings.level > 0.0 && settings.level < 1.0;
        if settings.draws == 0 || !between {
            return Err(DisparityError::Settings);
        }
        let bad = |pair: &PairObservation| !pair.female.is_finite() || !pair.male.is_finite();
        if let Some(index) = pairs.iter().position(bad) {
            return Err(DisparityError::NotFinite(index));
        }
        let count = pairs.len() as f64;
        let mean =
            |value: fn(&PairObservation) -> f64| pairs.iter().map(value).sum::<f64>() / count;
        let (mean_female, mean_male) = (mean(|pair| pair.female), mean(|pair| pair.male));
        // From the differences themselves, so that swapping the labels flips the sign exactly.
        let difference = mean(|pair| pair.female - pair.male);
        let squares = pairs.iter().map(|pair| {
            let distance = pair.female - pair.male - difference;
            distance * distance
        });
        let deviation = (squares.sum::<f64>() / (count - 1.0).max(1.0)).sqrt();
        let differences = differences(pairs);
        let clusters = clusters(pairs);
        let error = clusters.standard_error(&differences);
        let mut draws = clusters.resampled(&[&differences], settings.draws, settings.seed);
        let draws = draws.pop().unwrap_or_default();
        let (low, high) = interval(
            settings.method,
            settings.level,
            &differences,
            &clusters,
            draws,
        );
        let (small, large) = if mean_female < mean_male {
            (mean_female, mean_male)
        } else {
            (mean_male, mean_female)
        };
        Ok(Self {
            mean_female,
            mean_male,
            difference,
            ratio: if large == small { 1.0 } else { small / large },
            d_z: if deviation > 0.0 {
                difference / deviation
            } else {
                0.0
            },
            deviation,
            low,
            high,
            error,
            two_way_p_value: error.two_sided_p_value(difference),
            p_value: p_value(pairs, settings.seed),
            pairs: pairs.len(),
            identities: clusters.sizes()[0],
            templates: clusters.sizes()[1],
        })
    }

    /// Difference in differences: how the gap changed from `before` to `after` on the same pairs, in the same order. The group means
    /// are then the mean changes of each group.
    ///
    /// # Errors
    /// As [`Disparity::of`], and when the pairs are not the same.
    pub fn change(
        before: &[PairObservation],
        after: &[PairObservation],
        settings: &Settings,
    ) -> Result<Self, DisparityError> {
        Self::of(&changes(before, after)?, settings)
    }

    /// Whether the interval holds no 0: then a gap is shown.
    pub fn is_shown(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }

    /// The p-value of the claim that the difference is at least `margin` away from 0, in the unit of the values: see
    /// [`equivalence_p_value`].
    pub fn equivalence_p_value(&self, margin: f64) -> f64 {
        equivalence_p_value(self.difference, &self.error, margin)
    }
}

/// How each pair's values changed, pair by pair.
///
/// # Errors
/// When the pairs are not the same, in the same order.
pub fn changes(
    before: &[PairObservation],
    after: &[PairObservation],
) -> Result<Vec<PairObservation>, DisparityError> {
    let key = |pair: &PairObservation| (pair.identity, pair.template);
    if before.len() != after.len() || before.iter().map(key).ne(after.iter().map(key)) {
        return Err(DisparityError::DifferentPairs);
    }
    let both = before.iter().zip(after);
    let change = both.map(|(before, after)| PairObservation {
        female: after.female - before.female,
        male: after.male - before.male,
        ..*after
    });
    Ok(change.collect())
}

/// Female minus male, pair by pair.
pub fn differences(pairs: &[PairObservation]) -> Vec<f64> {
    pairs.iter().map(|pair| pair.female - pair.male).collect()
}

/// The pairs' clusters: identity, template.
pub fn clusters(pairs: &[PairObservation]) -> Clusters {
    let way = |of: fn(&PairObservation) -> usize| pairs.iter().map(of).collect();
    Clusters::new(&[way(|pair| pair.identity), way(|pair| pair.template)])
}
