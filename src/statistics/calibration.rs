//! Checks of the statistics on a run's own values: placebos, which have no gap by construction, and effects of known size that are added to
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use rand::Rng;
use rayon::prelude::*;

use super::disparity::{Disparity, DisparityError, Settings};
use super::observation::{Observation, are_paired};
use super::uniformity::too_small;
use crate::random::{Purpose, stream};

/// What is relabelled at random to make a placebo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// The two labels of each matched pair, pair by pair.
    Pairs,
    /// The labels of all pairs of an identity together, which keeps the likeness of these pairs. Without matched pairs, the groups of the
    /// identities are permuted.
    Identities,
}

/// A planted effect, and what the statistics found of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Planted {
    /// The number added to every value of the first group.
    pub effect: f64,
    /// The mean of the differences found in all rounds.
    pub found: f64,
    /// In how many rounds the interval contained the effect.
    pub covered: usize,
    /// In how many rounds the interval excluded 0.
    pub detected: usize,
}

/// The results of many placebo rounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// What was swapped.
    pub swap: Swap,
    /// The number of rounds.
    pub rounds: usize,
    /// In how many rounds the interval contained 0.
    pub covered: usize,
    /// In how many rounds the p-value from relabelling identities was at most 0.05.
    pub rejected: usize,
    /// In how many rounds the two-way p-value was at most 0.05.
    pub rejected_two_way: usize,
    /// The p-value of the test that the p-values are not too small: see [`too_small`].
    pub too_small: f64,
    /// The planted effects.
    pub planted: Vec<Planted>,
}

/// Makes a placebo in each of `rounds` rounds, each with a random stream of its own, and checks whether the interval and the p-values find
/// a gap. Then adds each of `effects` to the first group's values of the same placebos. `told` is called with the number of rounds done.
///
/// # Errors
/// Those of [`Disparity::of`].
pub fn calibrate(
    observations: &[Observation],
    swap: Swap,
    rounds: usize,
    effects: &[f64],
    settings: &Settings,
    told: &(dyn Fn(usize) + Sync),
) -> Result<Calibration, DisparityError> {
    told(0);
    let done = Mutex::new(0);
    let found: Result<Vec<(Disparity, Vec<Disparity>)>, DisparityError> = (0..rounds)
        .into_par_iter()
        .map(|round| {
            let placebo = placebo(observations, swap, settings.seed, round as u64);
            let nothing = Disparity::of(&placebo, settings)?;
            let planted = effects.iter().map(|&effect| {
                let shifted: Vec<Observation> = (placebo.iter())
                    .map(|one| Observation {
                        sides: [one.sides[0].map(|value| value + effect), one.sides[1]],
                        ..*one
                    })
                    .collect();
                Disparity::of(&shifted, settings)
            });
            let planted = planted.collect::<Result<_, _>>()?;
            // Called while the count is locked, so that the reported number never falls.
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            *done += 1;
            told(*done);
            Ok((nothing, planted))
        })
        .collect();
    let found = found?;
    let holds =
        |disparity: &Disparity, value: f64| disparity.low <= value && value <= disparity.high;
    let p_values: Vec<f64> = found.iter().map(|(nothing, _)| nothing.p_value).collect();
    let planted = effects.iter().enumerate().map(|(index, &effect)| {
        let of = || found.iter().map(|(_, planted)| &planted[index]);
        Planted {
            effect,
            found: of().map(|one| one.difference).sum::<f64>() / rounds as f64,
            covered: of().filter(|one| holds(one, effect)).count(),
            detected: of().filter(|one| !holds(one, 0.0)).count(),
        }
    });
    Ok(Calibration {
        swap,
        rounds,
        covered: found.iter().filter(|(one, _)| holds(one, 0.0)).count(),
        rejected: p_values.iter().filter(|&&p| p <= 0.05).count(),
        rejected_two_way: found
            .iter()
            .filter(|(one, _)| one.two_way_p_value <= 0.05)
            .count(),
        too_small: too_small(&p_values),
        planted: planted.collect(),
    })
}

fn placebo(observations: &[Observation], swap: Swap, seed: u64, round: u64) -> Vec<Observation> {
    let mut rng = stream(seed, Purpose::Calibration, round, swap as u64);
    if !are_paired(observations) {
        return permuted(observations, &mut rng);
    }
    let identities: BTreeSet<usize> = observations.iter().map(|one| one.identity).collect();
    let whole = identities.into_iter().map(|one| (one, rng.random()));
    let whole: BTreeMap<usize, bool> = whole.collect();
    let relabelled = observations.iter().map(|pair| {
        let flip = match swap {
            Swap::Pairs => rng.random(),
            Swap::Identities => whole[&pair.identity],
        };
        if flip { swapped(pair) } else { *pair }
    });
    relabelled.collect()
}

/// An observation with its two sides swapped.
fn swapped(one: &Observation) -> Observation {
    let [first, second] = one.sides;
    Observation {
        sides: [second, first],
        ..*one
    }
}

/// Single values, with the groups permuted among the identities.
fn permuted(observations: &[Observation], rng: &mut impl Rng) -> Vec<Observation> {
    let key = |one: &Observation| (one.identity, one.sides[0].is_some());
    let identities: BTreeSet<(usize, bool)> = observations.iter().map(key).collect();
    let mut sides: Vec<bool> = identities.iter().map(|(_, first)| *first).collect();
    for place in 0..sides.len() {
        let other = rng.random_range(place..sides.len());
        sides.swap(place, other);
    }
    let sides: BTreeMap<(usize, bool), bool> = identities.into_iter().zip(sides).collect();
    let moved = observations.iter().map(|one| {
        if sides[&key(one)] == one.sides[0].is_some() {
            *one
        } else {
            swapped(one)
        }
    });
    moved.collect()
}
