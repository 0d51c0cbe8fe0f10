//! The statistics of the gap against slow reference implementations, and what must hold exactly.

use milepost::measure::disparity::{Disparity, PairObservation, Settings};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::harness::{REFERENCE, close, numbers};

fn observations(rows: &serde_json::Value) -> Vec<PairObservation> {
    let rows = rows.as_array().unwrap().iter().map(numbers);
    rows.map(|row| PairObservation {
        identity: row[0] as usize,
        template: row[1] as usize,
        female: row[2],
        male: row[3],
    })
    .collect()
}

#[test]
fn agrees_with_the_slow_reference() {
    let settings = Settings {
        draws: 40_000,
        ..Settings::default()
    };
    for case in REFERENCE["statistics"].as_array().unwrap() {
        let found = Disparity::of(&observations(&case["rows"]), &settings).unwrap();
        let value = |name: &str| case[name].as_f64().unwrap();
        close(
            found.mean_female,
            value("mean_female"),
            1e-12,
            1.0,
            "female",
        );
        close(found.mean_male, value("mean_male"), 1e-12, 1.0, "male");
        close(
            found.difference,
            value("difference"),
            1e-12,
            1.0,
            "difference",
        );
        close(found.ratio, value("ratio"), 1e-12, 1.0, "ratio");
        close(found.d_z, value("d_z"), 1e-9, 1.0, "d_z");
        close(found.p_value, value("p_value"), 1e-12, 1.0, "p-value");
        // Both are Monte Carlo estimates with 40,000 draws: five standard errors of their difference.
        for (end, expected, error) in [
            (found.low, value("low"), value("low_error")),
            (found.high, value("high"), value("high_error")),
        ] {
            let tolerance = 5.0 * error * 2f64.sqrt() + 1e-12;
            assert!(
                (end - expected).abs() <= tolerance,
                "{end} is not {expected} within {tolerance}"
            );
        }
    }
}

#[test]
fn sampled_signs_agree_with_all_signs() {
    // 22 identities are one too many for the exact test; a 22nd whose differences are 0 changes no pattern's sum.
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut pairs: Vec<PairObservation> = (0..21)
        .flat_map(|identity| (0..3).map(move |template| (identity, template)))
        .map(|(identity, template)| PairObservation {
            identity,
            template,
            female: rng.random_range(0.0..2.0) + 0.1,
            male: rng.random_range(0.0..2.0),
        })
        .collect();
    let exact = Disparity::of(&pairs, &Settings::default()).unwrap().p_value;
    pairs.push(PairObservation {
        identity: 21,
        template: 0,
        female: 1.0,
        male: 1.0,
    });
    let sampled = Disparity::of(&pairs, &Settings::default()).unwrap().p_value;
    let error = (exact * (1.0 - exact) / 100_000.0).sqrt();
    assert!(
        (exact - sampled).abs() < 5.0 * error + 2e-5,
        "{exact} {sampled}"
    );
}

#[test]
fn impossible_questions_are_refused() {
    assert!(Disparity::of(&[], &Settings::default()).is_err());
    let pair = PairObservation {
        identity: 0,
        template: 0,
        female: f64::NAN,
        male: 0.0,
    };
    assert!(Disparity::of(&[pair], &Settings::default()).is_err());
    let (a, b) = (
        PairObservation {
            female: 1.0,
            ..pair
        },
        PairObservation {
            female: 1.0,
            identity: 1,
            ..pair
        },
    );
    assert!(Disparity::change(&[a], &[b], &Settings::default()).is_err());
}

/// With labels swapped at random within pairs there is no gap, and the interval must cover 0 in about 95 of 100 cases.
#[test]
fn placebo_intervals_cover_zero() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let settings = Settings {
        draws: 500,
        ..Settings::default()
    };
    let runs = 300;
    let covered = (0..runs)
        .filter(|_| {
            let pairs: Vec<PairObservation> = (0..20)
                .flat_map(|identity| (0..20).map(move |template| (identity, template)))
                .map(|(identity, template)| {
                    let (a, b) = (rng.random_range(0..16), rng.random_range(0..20));
                    let (female, male) = if rng.random() { (a, b) } else { (b, a) };
                    PairObservation {
                        identity,
                        template,
                        female: f64::from(female),
                        male: f64::from(male),
                    }
                })
                .collect();
            let found = Disparity::of(&pairs, &settings).unwrap();
            found.low <= 0.0 && 0.0 <= found.high
        })
        .count();
    // Independent pairs make two-way resampling conservative, so only too little coverage is an error: binomial, 95% of 300, 4 sigma.
    assert!(covered >= 270, "{covered} of {runs}");
}

proptest! {
    #[test]
    fn swapped_labels_mirror_everything(values in prop::collection::vec((0usize..6, 0usize..5, 0u8..20, 0u8..20), 1..60)) {
        let pairs: Vec<PairObservation> = values
            .iter()
            .map(|&(identity, template, female, male)| PairObservation {
                identity,
                template,
                female: f64::from(female) / 3.0,
                male: f64::from(male) / 3.0,
            })
            .collect();
        let swapped: Vec<PairObservation> =
            pairs.iter().map(|pair| PairObservation { female: pair.male, male: pair.female, ..*pair }).collect();
        let settings = Settings { draws: 200, ..Settings::default() };
        let (one, two) = (Disparity::of(&pairs, &settings).unwrap(), Disparity::of(&swapped, &settings).unwrap());
        prop_assert_eq!(one.difference, -two.difference);
        prop_assert_eq!((one.low, one.high), (-two.high, -two.low));
        prop_assert_eq!(one.p_value, two.p_value);
        prop_assert_eq!(one.d_z, -two.d_z);
        let change = Disparity::change(&pairs, &pairs, &settings).unwrap();
        prop_assert_eq!((change.difference, change.low, change.high, change.p_value), (0.0, 0.0, 0.0, 1.0));
    }
}
