//! The statistics of the gap against slow reference implementations, and what must hold exactly.

use milepost::statistics::disparity::{Disparity, Method, Settings};
use milepost::statistics::observation::Observation;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::harness::{REFERENCE, close, numbers};

fn observations(rows: &serde_json::Value) -> Vec<Observation> {
    let rows = rows.as_array().unwrap().iter().map(numbers);
    rows.map(|row| Observation::pair(row[0] as usize, row[1] as usize, row[2], row[3]))
        .collect()
}

#[test]
fn agrees_with_the_slow_reference() {
    let settings = Settings {
        draws: 40_000,
        method: Method::Percentile,
        ..Settings::default()
    };
    for case in REFERENCE["statistics"].as_array().unwrap() {
        let found = Disparity::of(&observations(&case["rows"]), &settings).unwrap();
        let value = |name: &str| case[name].as_f64().unwrap();
        close(found.means[0], value("mean_female"), 1e-12, 1.0, "female");
        close(found.means[1], value("mean_male"), 1e-12, 1.0, "male");
        close(
            found.difference,
            value("difference"),
            1e-12,
            1.0,
            "difference",
        );
        close(found.ratio, value("ratio"), 1e-12, 1.0, "ratio");
        close(found.effect_size, value("d_z"), 1e-9, 1.0, "d_z");
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
    let mut pairs: Vec<Observation> = (0..21)
        .flat_map(|identity| (0..3).map(move |template| (identity, template)))
        .map(|(identity, template)| {
            let first = rng.random_range(0.0..2.0) + 0.1;
            Observation::pair(identity, template, first, rng.random_range(0.0..2.0))
        })
        .collect();
    let exact = Disparity::of(&pairs, &Settings::default()).unwrap().p_value;
    pairs.push(Observation::pair(21, 0, 1.0, 1.0));
    let sampled = Disparity::of(&pairs, &Settings::default()).unwrap().p_value;
    let error = (exact * (1.0 - exact) / 100_000.0).sqrt();
    assert!(
        (exact - sampled).abs() < 5.0 * error + 2e-5,
        "{exact} {sampled}"
    );
}

/// Every sign pattern written out, and the mean of all differences each time.
fn slow_p_value(pairs: &[Observation]) -> f64 {
    let mut identities: Vec<usize> = pairs.iter().map(|pair| pair.identity).collect();
    identities.sort_unstable();
    identities.dedup();
    let mean = |pattern: u32| -> f64 {
        let signed = pairs.iter().map(|pair| {
            let place = identities.binary_search(&pair.identity).unwrap();
            let d = pair.difference().unwrap();
            if pattern >> place & 1 == 0 { d } else { -d }
        });
        signed.sum::<f64>() / pairs.len() as f64
    };
    let patterns = 1u32 << identities.len();
    let observed = mean(0).abs();
    let reached = |pattern: &u32| mean(*pattern).abs() >= observed - 1e-12;
    (0..patterns).filter(reached).count() as f64 / f64::from(patterns)
}

#[test]
fn the_interval_of_a_design_that_can_be_enumerated() {
    // Two identities in one template, d = 0 and d = 4: a draw gives 0, 2 or 4 with probability 1/4, 1/2, 1/4.
    let pairs = [0.0, 4.0].map(|first| Observation::pair(first as usize, 9, first, 0.0));
    let at = |level: f64| {
        let settings = Settings {
            level,
            method: Method::Percentile,
            ..Settings::default()
        };
        let found = Disparity::of(&pairs, &settings).unwrap();
        assert_eq!((found.units, found.identities, found.templates), (2, 2, 1));
        (found.low, found.high)
    };
    assert_eq!(at(0.95), (0.0, 4.0));
    assert_eq!(at(0.4), (2.0, 2.0));
}

#[test]
fn no_difference_anywhere_is_no_disparity() {
    let pairs: Vec<Observation> = (0..30)
        .map(|index| Observation::pair(index % 5, index / 5, index as f64, index as f64))
        .collect();
    let found = Disparity::of(&pairs, &Settings::default()).unwrap();
    assert_eq!(
        (found.difference, found.effect_size, found.p_value),
        (0.0, 0.0, 1.0)
    );
    assert_eq!((found.low, found.high, found.ratio), (0.0, 0.0, 1.0));
}

#[test]
fn impossible_questions_are_refused() {
    assert!(Disparity::of(&[], &Settings::default()).is_err());
    let pair = Observation::pair(0, 0, f64::NAN, 0.0);
    assert!(Disparity::of(&[pair], &Settings::default()).is_err());
    let [a, b] = [0, 1].map(|identity| Observation::pair(identity, 0, 1.0, 0.0));
    assert!(Disparity::change(&[a], &[b], &Settings::default()).is_err());
    for (draws, level) in [(0, 0.95), (10, 0.0), (10, 1.0), (10, f64::NAN)] {
        let settings = Settings {
            draws,
            level,
            ..Settings::default()
        };
        assert!(Disparity::of(&[a], &settings).is_err(), "{settings:?}");
    }
}

proptest! {
    #[test]
    fn swapped_labels_mirror_everything(values in prop::collection::vec((0usize..6, 0usize..5, 0u8..20, 0u8..20), 1..60)) {
        let pairs: Vec<Observation> = values
            .iter()
            .map(|&(identity, template, first, second)| {
                Observation::pair(identity, template, f64::from(first) / 3.0, f64::from(second) / 3.0)
            })
            .collect();
        let swapped: Vec<Observation> =
            pairs.iter().map(|pair| Observation { sides: [pair.sides[1], pair.sides[0]], ..*pair }).collect();
        for method in [Method::Corrected, Method::Percentile, Method::Bca] {
        let settings = Settings { draws: 200, method, ..Settings::default() };
        let (one, two) = (Disparity::of(&pairs, &settings).unwrap(), Disparity::of(&swapped, &settings).unwrap());
        prop_assert_eq!(one.difference, -two.difference);
        prop_assert_eq!((one.low, one.high), (-two.high, -two.low));
        prop_assert_eq!(one.p_value, two.p_value);
        prop_assert_eq!(one.two_way_p_value, two.two_way_p_value);
        prop_assert_eq!(one.effect_size, -two.effect_size);
        prop_assert!((one.p_value - slow_p_value(&pairs)).abs() < 1e-12);
        prop_assert_eq!(one, Disparity::of(&pairs, &settings).unwrap());
        let doubled: Vec<Observation> =
            pairs.iter().map(|pair| Observation { sides: pair.sides.map(|side| side.map(|value| 2.0 * value)), ..*pair }).collect();
        let change = Disparity::change(&pairs, &doubled, &settings).unwrap();
        prop_assert_eq!((change.difference, change.low, change.high), (one.difference, one.low, one.high));
        prop_assert_eq!((change.effect_size, change.p_value), (one.effect_size, one.p_value));
        let change = Disparity::change(&pairs, &pairs, &settings).unwrap();
        // Of one identity in one template nothing is known of others, not even that they change as little.
        let (low, high) = match (change.identities, change.templates) {
            (1, 1) => (f64::NEG_INFINITY, f64::INFINITY),
            _ => (0.0, 0.0),
        };
        prop_assert_eq!((change.difference, change.low, change.high, change.p_value), (0.0, low, high, 1.0));
        }
    }
}
