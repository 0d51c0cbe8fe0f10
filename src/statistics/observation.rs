//! What is compared between two groups: matched pairs of values, or, where nothing matches, single values of either group.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::clusters::Clusters;

/// The two groups of a contrast, in its order: the gap is the first less the second.
pub const SIDES: [usize; 2] = [0, 1];

/// Where the values of one observation stand in a column: a matched pair has a place on both sides, a single value on one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// The places of the first and the second group's value.
    pub sides: [Option<usize>; 2],
    /// Number of the identity pair, or of the single value's identity.
    pub identity: usize,
    /// Number of the raw template.
    pub template: usize,
}

/// One observation: the two values of a matched pair, or the value of a single prompt on the side of its group.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Number of the identity pair, or of the single value's identity.
    pub identity: usize,
    /// Number of the raw template.
    pub template: usize,
    /// The values of the first and the second group.
    pub sides: [Option<f64>; 2],
}

impl Observation {
    /// A matched pair.
    pub fn pair(identity: usize, template: usize, first: f64, second: f64) -> Self {
        Self {
            identity,
            template,
            sides: [Some(first), Some(second)],
        }
    }

    /// A single value of the group `side`, 0 or 1.
    pub fn single(identity: usize, template: usize, side: usize, value: f64) -> Self {
        let mut sides = [None; 2];
        sides[side] = Some(value);
        Self {
            identity,
            template,
            sides,
        }
    }

    /// The difference of a matched pair, first less second.
    pub fn difference(&self) -> Option<f64> {
        Some(self.sides[0]? - self.sides[1]?)
    }
}

/// The observations of units, from a column of values. None where the column lacks one of them.
pub fn observations(units: &[Unit], column: &[f64]) -> Option<Vec<Observation>> {
    let observed = units.iter().map(|unit| {
        let mut sides = [None; 2];
        for (side, place) in sides.iter_mut().zip(unit.sides) {
            *side = match place {
                Some(place) => Some(*column.get(place)?),
                None => None,
            };
        }
        Some(Observation {
            identity: unit.identity,
            template: unit.template,
            sides,
        })
    });
    observed.collect()
}

/// What each of `count` values of a column weighs in the gap, which is the sum of the values times their weights: see
/// [`Contributions::gap`].
pub fn weights_in_gap(units: &[Unit], count: usize) -> Vec<f64> {
    let mut weights = vec![0.0; count];
    let places = |side: usize| units.iter().filter_map(move |unit| unit.sides[side]);
    for (side, sign) in SIDES.into_iter().zip([1.0, -1.0]) {
        let values = places(side).count() as f64;
        for place in places(side) {
            weights[place] += sign / values;
        }
    }
    weights
}

/// Whether each observation is a matched pair.
pub fn are_paired(observations: &[Observation]) -> bool {
    let mut all = observations.iter();
    all.all(|one| one.difference().is_some())
}

/// Two columns of observations were not taken of the same units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the two milestones were not measured on the same prompts")]
pub struct DifferentUnits;

/// How each observation's values changed, one by one.
///
/// # Errors
/// When the two are not of the same units in the same order.
pub fn changes(
    before: &[Observation],
    after: &[Observation],
) -> Result<Vec<Observation>, DifferentUnits> {
    let key = |one: &Observation| {
        let there = one.sides.map(|side| side.is_some());
        (one.identity, one.template, there)
    };
    if before.len() != after.len() || before.iter().map(key).ne(after.iter().map(key)) {
        return Err(DifferentUnits);
    }
    let both = before.iter().zip(after);
    let change = both.map(|(before, after)| {
        let sides = SIDES.map(|side| Some(after.sides[side]? - before.sides[side]?));
        Observation { sides, ..*after }
    });
    Ok(change.collect())
}

/// Observations as one column whose mean is the gap, with the clusters of each value.
#[derive(Debug, Clone, Default)]
pub struct Contributions {
    /// The column.
    pub values: Vec<f64>,
    /// The identity pair, or the identity, of each value.
    pub identities: Vec<usize>,
    /// The raw template of each value.
    pub templates: Vec<usize>,
    /// The side of each value, where nothing is matched.
    pub sides: Option<Vec<usize>>,
}

impl Contributions {
    /// Of matched pairs the column has their differences. Of single values x of n_0 + n_1 = n prompts it has the gap plus each value's influence
    /// on it, (n / n_g) (x - mean_g), negated in the second group. The cluster-robust error of its mean is then that of the regression of x on
    /// the group (Cameron, Gelbach and Miller 2011). Each group's influences are scaled by its own number of identities, for the groups may have
    /// very different numbers.
    pub fn of(observations: &[Observation]) -> Self {
        if are_paired(observations) {
            let differences = observations.iter().filter_map(Observation::difference);
            return Self {
                values: differences.collect(),
                identities: observations.iter().map(|one| one.identity).collect(),
                templates: observations.iter().map(|one| one.template).collect(),
                sides: None,
            };
        }
        let singles = singles(observations);
        let group = |side: usize| singles.iter().filter(move |one| one.side == side);
        let counts = SIDES.map(|side| group(side).count() as f64);
        let means = SIDES.map(|side| group(side).map(|one| one.value).sum::<f64>() / counts[side]);
        let weights = weights(&singles, counts);
        let value = |one: &Single| {
            let influence = (one.value - means[one.side]) * weights[one.side];
            let signed = if one.side == 0 { influence } else { -influence };
            means[0] - means[1] + signed
        };
        Self {
            values: singles.iter().map(value).collect(),
            // An identity that stands in both groups is two clusters: its prompts differ by what is compared.
            identities: (singles.iter().map(|one| 2 * one.identity + one.side)).collect(),
            templates: singles.iter().map(|one| one.template).collect(),
            sides: Some(singles.iter().map(|one| one.side).collect()),
        }
    }

    /// The gap: the mean of the column.
    pub fn gap(&self) -> f64 {
        self.values.iter().sum::<f64>() / self.values.len() as f64
    }

    /// Adds another column behind this one, of the same kind of observations.
    pub fn extend(&mut self, other: Self) {
        self.values.extend(other.values);
        self.identities.extend(other.identities);
        self.templates.extend(other.templates);
        if let Some(sides) = other.sides {
            self.sides.get_or_insert_default().extend(sides);
        }
    }

    /// The clusters of the values of several runs; `runs` has the run of each.
    pub fn clusters_over(&self, runs: Vec<usize>) -> Clusters {
        let (identities, templates) = (self.identities.clone(), self.templates.clone());
        match &self.sides {
            Some(sides) => {
                let clusters = Clusters::new(&[identities, templates, runs]).with_runs(2);
                clusters.in_strata(sides.clone())
            }
            None => Clusters::new(&[runs, identities, templates]).with_runs(0),
        }
    }

    /// The clusters of the values: identities, then templates.
    pub fn clusters(&self) -> Clusters {
        let clusters = Clusters::new(&[self.identities.clone(), self.templates.clone()]);
        match &self.sides {
            Some(sides) => clusters.in_strata(sides.clone()),
            None => clusters,
        }
    }
}

/// A value of one group.
pub(super) struct Single {
    pub identity: usize,
    pub template: usize,
    pub side: usize,
    pub value: f64,
}

/// Every value by itself.
pub(super) fn singles(observations: &[Observation]) -> Vec<Single> {
    let each = observations.iter().flat_map(|one| {
        let both = SIDES.into_iter().zip(one.sides);
        both.filter_map(move |(side, value)| {
            Some(Single {
                identity: one.identity,
                template: one.template,
                side,
                value: value?,
            })
        })
    });
    each.collect()
}

/// What each group's deviations are multiplied by: n / n_g, and how much more its own G_g / (G_g - 1) is than that of all identities.
fn weights(singles: &[Single], counts: [f64; 2]) -> [f64; 2] {
    let identities = SIDES.map(|side| {
        let own = singles.iter().filter(|one| one.side == side);
        let own: BTreeSet<usize> = own.map(|one| one.identity).collect();
        own.len() as f64
    });
    let factor = |clusters: f64| clusters / (clusters - 1.0).max(0.5);
    let all = factor(identities[0] + identities[1]);
    SIDES.map(|side| {
        let share = (counts[0] + counts[1]) / counts[side];
        share * (factor(identities[side]) / all).sqrt()
    })
}
