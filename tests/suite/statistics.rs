//! Intervals, equivalence, families and calibration against scipy, statsmodels and slow numpy (tests/fixtures/statistics), and by
//! simulation: what is promised of them holds.

use std::sync::LazyLock;

use milepost::report::pooling::estimates;
use milepost::statistics::calibration::{Swap, calibrate};
use milepost::statistics::clusters::Clusters;
use milepost::statistics::disparity::{Disparity, Method, Settings};
use milepost::statistics::family::{holm, simultaneous_bands};
use milepost::statistics::observation::{
    Contributions, Observation, Unit, observations, weights_in_gap,
};
use milepost::statistics::uniformity::{kolmogorov_smirnov, too_small};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use serde_json::Value;

use crate::harness::{close, ids, numbers};

static REFERENCE: LazyLock<Value> = LazyLock::new(|| {
    let path = "tests/fixtures/statistics/reference.json";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
});

fn cases(name: &str) -> &'static Vec<Value> {
    REFERENCE[name].as_array().unwrap()
}

fn labels(value: &Value) -> Vec<usize> {
    ids(value).into_iter().map(|id| id as usize).collect()
}

fn pairs(identities: &[usize], templates: &[usize], d: &[f64]) -> Vec<Observation> {
    let cells = identities.iter().zip(templates).zip(d);
    let pair = |((&identity, &template), &first): ((&usize, &usize), &f64)| {
        Observation::pair(identity, template, first, 0.0)
    };
    cells.map(pair).collect()
}

fn with(method: Method, draws: usize) -> Settings {
    Settings {
        draws,
        method,
        ..Settings::default()
    }
}

/// Both are Monte Carlo estimates with 40,000 draws; the reference is a mean of several. Five standard errors of the difference.
#[track_caller]
fn within(found: f64, expected: f64, error: f64) {
    let tolerance = 5.0 * error * 1.5f64.sqrt() + 1e-12;
    let off = (found - expected).abs();
    assert!(
        off <= tolerance,
        "{found} is not {expected} within {tolerance}"
    );
}

#[test]
fn identities_in_one_template_agree_with_scipy_and_statsmodels() {
    for case in cases("one_way") {
        let d = numbers(&case["d"]);
        let identities: Vec<usize> = (0..d.len()).collect();
        let pairs = pairs(&identities, &vec![0; d.len()], &d);
        let found = Disparity::of(&pairs, &with(Method::Bca, 40_000)).unwrap();
        let (ends, errors) = (numbers(&case["bca"]), numbers(&case["bca_error"]));
        within(found.low, ends[0], errors[0]);
        within(found.high, ends[1], errors[1]);
        let error = case["standard_error"].as_f64().unwrap();
        close(found.error.value, error, 1e-12, 1e-3, "standard error");
        let both = numbers(&case["margins"])
            .into_iter()
            .zip(numbers(&case["tost"]));
        for (margin, p) in both {
            close(found.equivalence_p_value(margin), p, 1e-9, 1e-6, "TOST");
        }
    }
}

#[test]
fn crossed_clusters_agree_with_slow_numpy() {
    for case in cases("two_way") {
        let (identities, templates) = (labels(&case["identity"]), labels(&case["template"]));
        let clusters = Clusters::new(&[identities.clone(), templates.clone()]);
        let columns: Vec<Vec<f64>> = case["columns"]
            .as_array()
            .unwrap()
            .iter()
            .map(numbers)
            .collect();
        let (errors, degrees) = (numbers(&case["standard_errors"]), numbers(&case["degrees"]));
        let rows = |name: &str, index: usize| numbers(&case[name][index]);
        for (index, column) in columns.iter().enumerate() {
            let pairs = pairs(&identities, &templates, column);
            let found = Disparity::of(&pairs, &with(Method::Corrected, 40_000)).unwrap();
            close(
                found.error.value,
                errors[index],
                1e-9,
                1e-6,
                "standard error",
            );
            assert_eq!(found.error.degrees, degrees[index]);
            let (ends, error) = (rows("corrected", index), rows("corrected_error", index));
            within(found.low, ends[0], error[0]);
            within(found.high, ends[1], error[1]);
        }
        let slices: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
        let bands = simultaneous_bands(&slices, &clusters, 40_000, 0, 0.95);
        for (index, band) in bands.iter().enumerate() {
            let (ends, error) = (rows("bands", index), rows("bands_error", index));
            within(band.0, ends[0], error[0]);
            within(band.1, ends[1], error[1]);
        }
    }
}

#[test]
fn three_ways_of_clusters_agree_with_slow_numpy() {
    for case in cases("three_way") {
        let ways: Vec<Vec<usize>> = case["ways"]
            .as_array()
            .unwrap()
            .iter()
            .map(labels)
            .collect();
        let found = Clusters::new(&ways).standard_error(&numbers(&case["values"]));
        let error = case["standard_error"].as_f64().unwrap();
        close(found.value, error, 1e-9, 1e-6, "standard error");
        assert_eq!(found.degrees, case["degrees"].as_f64().unwrap());
        // Seeds alone are a plain t-test of their means.
        let per_seed = numbers(&case["per_seed"]);
        let seeds = Clusters::new(&[(0..per_seed.len()).collect()]).standard_error(&per_seed);
        let mean = per_seed.iter().sum::<f64>() / per_seed.len() as f64;
        let p = case["over_seeds_p"].as_f64().unwrap();
        close(seeds.two_sided_p_value(mean), p, 1e-9, 1e-6, "p over seeds");
        let ends = numbers(&case["over_seeds"]);
        let (low, high) = seeds.interval(mean, 0.95);
        close(low, ends[0], 1e-9, 1e-3, "low over seeds");
        close(high, ends[1], 1e-9, 1e-3, "high over seeds");
    }
}

/// Values of two groups, each of its own identity, in one template.
fn two_samples(groups: [&[f64]; 2]) -> Vec<Observation> {
    let sides = groups.into_iter().enumerate();
    let all = sides.flat_map(|(side, values)| values.iter().map(move |&value| (side, value)));
    all.enumerate()
        .map(|(identity, (side, value))| Observation::single(identity, 0, side, value))
        .collect()
}

#[test]
fn two_samples_of_identities_agree_with_scipy() {
    for case in cases("unpaired") {
        let [first, second] = [0, 1].map(|side| numbers(&case["groups"][side]));
        let observations = two_samples([&first, &second]);
        let found = Disparity::of(&observations, &with(Method::Corrected, 500)).unwrap();
        let value = |name: &str| case[name].as_f64().unwrap();
        assert!(!found.paired);
        close(
            found.difference,
            value("difference"),
            1e-12,
            1.0,
            "difference",
        );
        close(found.effect_size, value("cohen_d"), 1e-12, 1.0, "Cohen's d");
        // Welch's test.
        close(found.error.degrees, value("degrees"), 1e-9, 1.0, "degrees");
        let p = found.error.two_sided_p_value(found.difference);
        close(p, value("p"), 1e-9, 1e-6, "p");
        let (low, high) = found.error.interval(found.difference, 0.95);
        let ends = numbers(&case["interval"]);
        close(low, ends[0], 1e-9, 1e-3, "low");
        close(high, ends[1], 1e-9, 1e-3, "high");
        close(found.p_value, value("permuted_p"), 1e-9, 1.0, "permuted p");
    }
}

#[test]
fn two_samples_in_common_templates_agree_with_slow_numpy() {
    for case in cases("unpaired_clusters") {
        let rows = case["rows"].as_array().unwrap().iter().map(labels);
        let rows = rows.zip(numbers(&case["values"]));
        let observations: Vec<Observation> = rows
            .map(|(row, value)| Observation::single(row[1], row[2], row[0], value))
            .collect();
        let found = Disparity::of(&observations, &with(Method::Corrected, 500)).unwrap();
        let value = |name: &str| case[name].as_f64().unwrap();
        close(
            found.difference,
            value("difference"),
            1e-9,
            1.0,
            "difference",
        );
        let error = found.error;
        close(
            error.value,
            value("standard_error"),
            1e-9,
            1e-6,
            "standard error",
        );
        close(error.degrees, value("degrees"), 1e-9, 1.0, "degrees");
    }
}

/// Runs that are all alike tell of other identities what one of them does. Where it is the identities that differ, that is Welch's error of their
/// means, however many runs there are: no prompt is counted twice.
#[test]
fn equal_runs_of_two_samples_are_pooled_to_the_error_of_their_identities() {
    for seed in 0..20 {
        let one = draw_two_samples([9, 4], [2.0, 0.0, 0.3], seed);
        let parts = [0, 1].map(|side| {
            let own = one.iter().filter_map(|one| one.sides[side]);
            let means: Vec<f64> = own.collect::<Vec<_>>().chunks(15).map(mean).collect();
            let squares = means.iter().map(|one| (one - mean(&means)).powi(2));
            let count = means.len() as f64;
            (squares.sum::<f64>() / (count - 1.0) / count, count - 1.0)
        });
        let welch: f64 = parts.iter().map(|(variance, _)| variance).sum();
        let below = parts
            .iter()
            .map(|(variance, degrees)| variance * variance / degrees);
        let degrees = welch * welch / below.sum::<f64>();
        let (mut runs, mut all) = (Vec::new(), Contributions::default());
        for run in 0..8 {
            let column = Contributions::of(&one);
            runs.extend(vec![run; column.values.len()]);
            all.extend(column);
        }
        let pooled = all.clusters_over(runs).standard_error(&all.values);
        close(pooled.value, welch.sqrt(), 1e-9, 1e-6, "standard error");
        let allowed = 3.0 - 1e-9..=degrees + 1e-9;
        assert!(
            allowed.contains(&pooled.degrees),
            "{}, {degrees}",
            pooled.degrees
        );
    }
}

/// In three runs of seven identities in five templates.
#[test]
fn few_runs_leave_few_degrees_of_freedom_only_where_runs_differ() {
    let degrees = |effects: [f64; 3]| {
        let (mut runs, mut all) = (Vec::new(), Contributions::default());
        for run in 0..3 {
            let pairs = (0..35).map(|pair| {
                let (identity, template) = (pair % 7, pair / 7);
                let places = [run, identity, template].map(|place| (place * place) as f64);
                let value: f64 = places.iter().zip(effects).map(|(a, b)| a * b).sum();
                Observation::pair(identity, template, value, 0.0)
            });
            let column = Contributions::of(&pairs.collect::<Vec<_>>());
            runs.extend(vec![run; 35]);
            all.extend(column);
        }
        all.clusters_over(runs).standard_error(&all.values).degrees
    };
    let is = |effects, expected: f64| close(degrees(effects), expected, 1e-9, 1e-9, "degrees");
    is([1.0, 0.0, 0.0], 2.0);
    // No more than the smallest other way has.
    is([0.0, 1.0, 0.0], 4.0);
    is([0.0, 0.0, 1.0], 4.0);
    // The more identities differ, the more there are.
    let found: Vec<f64> = (0..40)
        .map(|step| degrees([1.0, 0.02 * f64::from(step), 0.0]))
        .collect();
    assert!(found.is_sorted(), "{found:?}");
    assert_eq!((found[0], found[39]), (2.0, 4.0));
    assert!(found.iter().any(|&one| 2.5 < one && one < 3.5), "{found:?}");
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn a_group_of_one_identity_says_nothing_of_others() {
    let observations: Vec<Observation> = (0..12)
        .map(|index| {
            Observation::single(
                index % 4,
                index / 4,
                usize::from(index % 4 == 0),
                index as f64,
            )
        })
        .collect();
    let found = Disparity::of(&observations, &with(Method::Corrected, 100)).unwrap();
    assert_eq!((found.low, found.high), (f64::NEG_INFINITY, f64::INFINITY));
    assert_eq!(found.two_way_p_value, 1.0);
    // Of four labellings one puts as far apart what is furthest apart.
    assert!(found.p_value >= 0.25);
}

/// More ways of giving labels than are tried one by one: the drawn ones agree with all of them, counted by hand for values that are 0 or 1.
#[test]
fn drawn_permutations_agree_with_the_hypergeometric_distribution() {
    // 12 ones and 12 zeros; 9 of the ones in the first group of 12.
    let (mut first, mut second) = (vec![1.0; 9], vec![1.0; 3]);
    first.extend([0.0; 3]);
    second.extend([0.0; 9]);
    let observations = two_samples([&first, &second]);
    let found = Disparity::of(&observations, &with(Method::Corrected, 100)).unwrap();
    let choose = |n: u64, k: u64| (0..k).fold(1.0, |all, i| all * (n - i) as f64 / (i + 1) as f64);
    let ways = |ones: u64| choose(12, ones) * choose(12, 12 - ones) / choose(24, 12);
    let expected: f64 = (0..=3).chain(9..=12).map(ways).sum();
    let error = (expected * (1.0 - expected) / 100_000.0).sqrt();
    assert!(
        (found.p_value - expected).abs() < 5.0 * error,
        "{} {expected}",
        found.p_value
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the values, the method and the level: the p-value is at most 1 - level exactly when the interval of that level does not hold 0.
    #[test]
    fn an_interval_and_its_p_value_never_contradict_each_other(
        values in prop::collection::vec((0usize..5, 0usize..4, -8i8..9, any::<bool>()), 2..40),
        shift in -1.0f64..1.0,
        tail in 0.01f64..0.6,
        paired in any::<bool>(),
        method in prop::sample::select(vec![Method::Corrected, Method::Percentile, Method::Bca]),
    ) {
        let observations: Vec<Observation> = values
            .iter()
            .map(|&(identity, template, value, first)| {
                let value = f64::from(value) / 4.0 + shift;
                if paired {
                    Observation::pair(identity, template, value, 0.0)
                } else {
                    Observation::single(2 * identity + usize::from(first), template, usize::from(first), value)
                }
            })
            .collect();
        let of = |level: f64| Disparity::of(&observations, &Settings { draws: 400, method, level, ..Settings::default() });
        // A group may have no value.
        let Ok(found) = of(1.0 - tail) else { return Ok(()) };
        let p = found.two_way_p_value;
        prop_assert_eq!(p, of(0.5).unwrap().two_way_p_value, "the level changes no p-value");
        prop_assert!((0.0..=1.0).contains(&p));
        // On the edge itself rounding decides.
        if (p - tail).abs() > 1e-9 {
            prop_assert_eq!(p <= tail, found.is_shown(), "p = {} at {}: {:?}", p, tail, found);
        }
    }
}

#[test]
fn holm_agrees_with_statsmodels() {
    for case in cases("holm") {
        for (found, expected) in holm(&numbers(&case["p"]))
            .iter()
            .zip(numbers(&case["holm"]))
        {
            close(*found, expected, 1e-12, 1e-12, "Holm");
        }
    }
}

#[test]
fn kolmogorov_smirnov_agrees_with_scipy() {
    for case in cases("uniformity") {
        let (distance, p) = kolmogorov_smirnov(&numbers(&case["p"]));
        close(
            distance,
            case["distance"].as_f64().unwrap(),
            1e-12,
            1e-3,
            "distance",
        );
        // A corrected limit against the exact distribution.
        let expected = case["p_value"].as_f64().unwrap();
        assert!((p - expected).abs() < 0.001, "{p} is not {expected}");
        let (p, expected) = (
            too_small(&numbers(&case["p"])),
            case["too_small"].as_f64().unwrap(),
        );
        assert!((p - expected).abs() < 0.002, "{p} is not {expected}");
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let design = Design::new("both", 9);
    let values = design.draw(3);
    let of = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| Disparity::of(&values, &Settings::default()).unwrap())
    };
    assert_eq!(of(1), of(7));
}

/// 21 identities in 28 templates, or 306 of these 588 cells as in HONEST's matched pairs; differences are an effect of the identity, one of the
/// template and noise of their own.
struct Design {
    cells: Vec<(usize, usize)>,
    effects: [f64; 3],
    skewed: bool,
}

impl Design {
    fn new(name: &str, sparse_seed: u64) -> Self {
        let effects = match name.trim_start_matches("sparse ") {
            "both" | "skewed" => [1.0, 1.0, 1.0],
            "identity" => [1.0, 0.0, 1.0],
            "template" => [0.0, 1.0, 1.0],
            "weak" => [0.2, 0.2, 1.0],
            _ => [0.0, 0.0, 1.0],
        };
        let mut cells: Vec<(usize, usize)> = (0..21)
            .flat_map(|identity| (0..28).map(move |template| (identity, template)))
            .collect();
        if name.starts_with("sparse") {
            let mut rng = ChaCha8Rng::seed_from_u64(sparse_seed);
            while cells.len() > 306 {
                cells.swap_remove(rng.random_range(0..cells.len()));
            }
        }
        Self {
            cells,
            effects,
            skewed: name.ends_with("skewed"),
        }
    }

    fn draw(&self, seed: u64) -> Vec<Observation> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut normal = |count: usize| -> Vec<f64> {
            let draws = (0..count).map(|_| {
                if self.skewed {
                    -f64::ln(1.0 - rng.random::<f64>()) - 1.0
                } else {
                    StandardNormal.sample(&mut rng)
                }
            });
            draws.collect()
        };
        let (identity, template) = (normal(21), normal(28));
        let noise = normal(self.cells.len());
        let [a, b, e] = self.effects;
        let cells = self.cells.iter().zip(noise);
        cells
            .map(|(&(i, t), own)| {
                let first = a * identity[i] + b * template[t] + e * own;
                Observation::pair(i, t, first, 0.0)
            })
            .collect()
    }

    /// In how many of `runs` simulations the interval held the true difference, 0, the two-way p-values, and those of the sign flips.
    fn simulate(&self, runs: u64, method: Method) -> (usize, Vec<f64>, Vec<f64>) {
        let settings = with(method, 600);
        let found: Vec<Disparity> = (0..runs)
            .into_par_iter()
            .map(|seed| Disparity::of(&self.draw(seed), &settings).unwrap())
            .collect();
        let covered = found.iter().filter(|one| one.low <= 0.0 && 0.0 <= one.high);
        let p_values = found.iter().map(|one| one.p_value).collect();
        let two_way = found.iter().map(|one| one.two_way_p_value);
        (covered.count(), two_way.collect(), p_values)
    }
}

/// The interval's promise, in every design that was thought of; the plain percentile interval is 5 points too wide where nothing is
/// clustered.
#[test]
#[ignore = "slow: 2,000 simulations of each of 12 designs"]
fn intervals_cover_in_93_to_97_of_100_cases() {
    const RUNS: u64 = 2_000;
    for sparse in ["", "sparse "] {
        for effects in ["both", "identity", "template", "weak", "none", "skewed"] {
            let name = format!("{sparse}{effects}");
            let design = Design::new(&name, 5);
            let (covered, two_way, p_values) = design.simulate(RUNS, Method::Corrected);
            let below = |level: f64| two_way.iter().filter(|p| **p <= level).count();
            let wrong = below(0.05);
            let share = 100.0 * covered as f64 / RUNS as f64;
            let (plain, ..) = design.simulate(RUNS / 4, Method::Percentile);
            let (bca, ..) = design.simulate(RUNS / 4, Method::Bca);
            let of_quarter = |count: usize| 400.0 * count as f64 / RUNS as f64;
            let (_, uniform) = kolmogorov_smirnov(&p_values);
            println!(
                "{name:<16} corrected {share:.2}%  percentile {:.1}%  BCa {:.1}%  two-way p <= 0.01, 0.05, 0.1, 0.5 in {:.1}, {:.1}, {:.1}, {:.1}%  sign flips uniform: p = {uniform:.3}",
                of_quarter(plain),
                of_quarter(bca),
                100.0 * below(0.01) as f64 / RUNS as f64,
                100.0 * wrong as f64 / RUNS as f64,
                100.0 * below(0.1) as f64 / RUNS as f64,
                100.0 * below(0.5) as f64 / RUNS as f64
            );
            assert_eq!(
                wrong as u64 + covered as u64,
                RUNS,
                "{name}: interval and p-value"
            );
            assert!((93.0..=97.0).contains(&share), "{name}: {share}%");
            assert!((60..=140).contains(&wrong), "{name}: {wrong} of 2000");
            // Signs of whole identities may be flipped only if templates do not lean to one side and nothing is skewed.
            if ["identity", "none"].contains(&effects) {
                assert!(
                    uniform > 1e-3,
                    "{name}: p-values are not uniform ({uniform})"
                );
            }
        }
    }
}

/// Two groups of identities that nothing matches, as many as HONEST's second file has, in 15 common templates: the interval's promise.
#[test]
#[ignore = "slow: 300 simulations of each of 12 designs"]
fn intervals_of_two_samples_cover_at_least_as_often_as_they_say() {
    const RUNS: u64 = 300;
    for [first, second] in [[41, 6], [12, 12]] {
        for (name, effects) in [
            ("both", [1.0, 1.0, 1.0]),
            ("identity", [1.0, 0.0, 1.0]),
            ("template", [0.0, 1.0, 1.0]),
            ("half identity", [0.5, 0.0, 1.0]),
            ("weak", [0.2, 0.2, 1.0]),
            ("none", [0.0, 0.0, 1.0]),
        ] {
            let found: Vec<Disparity> = (0..RUNS)
                .into_par_iter()
                .map(|seed| {
                    let values = draw_two_samples([first, second], effects, seed);
                    Disparity::of(&values, &with(Method::Corrected, 400)).unwrap()
                })
                .collect();
            let covered = found.iter().filter(|one| !one.is_shown()).count();
            let share = 100.0 * covered as f64 / RUNS as f64;
            let permuted: Vec<f64> = found.iter().map(|one| one.p_value).collect();
            let small = too_small(&permuted);
            println!(
                "{first} and {second} identities, {name:<18} covers {share:.2}%  relabelled p too small: {small:.3}"
            );
            // 95% less three binomial standard errors.
            assert!(share >= 91.2, "{name}: {share}%");
            assert!(small > 1e-3, "{name}: {small}");
        }
    }
}

fn draw_two_samples(counts: [usize; 2], effects: [f64; 3], seed: u64) -> Vec<Observation> {
    const TEMPLATES: usize = 15;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
    let template: Vec<f64> = (0..TEMPLATES).map(|_| normal()).collect();
    let mut all = Vec::new();
    for identity in 0..counts[0] + counts[1] {
        let own = normal();
        let side = usize::from(identity >= counts[0]);
        for (place, template) in template.iter().enumerate() {
            let value = effects[0] * own + effects[1] * template + effects[2] * normal();
            all.push(Observation::single(identity, place, side, value));
        }
    }
    all
}

/// Pooled over training seeds, the interval for other seeds, identities and templates holds at least what it promises; where seeds are few and
/// it is the prompts that vary, more than that, since its degrees of freedom are those of the seeds.
#[test]
#[ignore = "slow: 500 simulations of each of 18 designs"]
fn pooled_intervals_cover_at_least_what_they_promise() {
    const RUNS: u64 = 500;
    for seeds in [3, 5, 10] {
        for (name, effects) in [
            ("all", [1.0, 1.0, 1.0]),
            ("seeds", [1.0, 0.0, 0.0]),
            ("identities", [0.0, 1.0, 0.0]),
            ("templates", [0.0, 0.0, 1.0]),
            // Too weak to be seen in three runs, and yet there.
            ("weak seeds", [0.1, 0.0, 0.0]),
            ("a bit of all", [0.1, 0.3, 0.3]),
            ("none", [0.0, 0.0, 0.0]),
        ] {
            let covered: usize = (0..RUNS)
                .into_par_iter()
                .filter(|&run| pooled_interval_holds_zero(seeds, effects, run))
                .count();
            let share = 100.0 * covered as f64 / RUNS as f64;
            println!("{seeds:>2} seeds, effects of {name:<12}{share:.1}%");
            // 95% less three binomial standard errors.
            assert!(share >= 92.0, "{seeds} seeds, {name}: {share}%");
        }
    }
}

/// Changes of 306 pairs in each of several runs: effects of the run, the identity and the template, one of the pair that all runs share, and noise.
fn pooled_interval_holds_zero(seeds: usize, effects: [f64; 3], run: u64) -> bool {
    let cells = Design::new("sparse both", 5).cells;
    let mut rng = ChaCha8Rng::seed_from_u64(run);
    let mut normal = |count: usize| -> Vec<f64> {
        let draws = (0..count).map(|_| StandardNormal.sample(&mut rng));
        draws.collect()
    };
    let (own, identity, template) = (normal(seeds), normal(21), normal(28));
    let pair = normal(cells.len());
    let (mut ways, mut values) = (vec![Vec::new(); 3], Vec::new());
    for (seed, own) in own.iter().enumerate() {
        for ((&(i, t), pair), noise) in cells.iter().zip(&pair).zip(normal(cells.len())) {
            for (way, label) in ways.iter_mut().zip([seed, i, t]) {
                way.push(label);
            }
            let [a, b, c] = effects;
            values.push(a * own + b * identity[i] + c * template[t] + 0.5 * pair + noise);
        }
    }
    let per_run = values.chunks(cells.len());
    let per_run: Vec<f64> = per_run
        .map(|own| own.iter().sum::<f64>() / own.len() as f64)
        .collect();
    let [over_seeds, over_all] = estimates(&per_run, &Clusters::new(&ways).with_runs(0), &values);
    assert!(over_all.high - over_all.low >= over_seeds.high - over_seeds.low);
    over_all.low <= 0.0 && 0.0 <= over_all.high
}

/// The first of these in small, for every day: three standard errors around the bounds.
#[test]
fn intervals_cover_about_as_often_as_they_say() {
    for name in ["both", "sparse weak", "none"] {
        let (covered, _, p_values) = Design::new(name, 5).simulate(200, Method::Corrected);
        assert!((177..=200).contains(&covered), "{name}: {covered} of 200");
        if name == "none" {
            assert!(covered < 200, "{covered}: too wide");
            let (_, uniform) = kolmogorov_smirnov(&p_values);
            assert!(uniform > 1e-3, "p-values are not uniform ({uniform})");
        }
    }
}

#[test]
fn placebos_cover_zero_and_planted_effects_are_found() {
    let values = Design::new("identity", 0).draw(11);
    for swap in [Swap::Pairs, Swap::Identities] {
        let settings = with(Method::Corrected, 500);
        let effects = [0.5, 2.0];
        let of = || calibrate(&values, swap, 200, &effects, &settings, &|_| ()).unwrap();
        let found = of();
        // 95% less four binomial standard errors, and not always.
        assert!((178..200).contains(&found.covered), "{found:?}");
        assert!(found.rejected <= 24, "{found:?}");
        assert!(found.too_small > 1e-3, "{found:?}");
        for planted in &found.planted {
            // The mean over placebos of a symmetric error around the effect: four standard errors of that mean.
            let error = 4.0 * 0.3 / 200f64.sqrt();
            assert!((planted.found - planted.effect).abs() < error, "{found:?}");
            // An interval moves with what is added to every difference, up to rounding at its ends.
            assert!(planted.covered.abs_diff(found.covered) <= 1, "{found:?}");
        }
        assert_eq!(found.planted[1].detected, 200, "{found:?}");
        assert_eq!(found, of());
    }
}

/// A single pair says nothing of others, however far apart its values are.
#[test]
fn one_pair_gives_no_certainty() {
    for (first, second) in [(3.0, 1.0), (2.0, 2.0)] {
        let pair = Observation::pair(4, 2, first, second);
        for method in [Method::Corrected, Method::Percentile, Method::Bca] {
            let found = Disparity::of(&[pair], &with(method, 50)).unwrap();
            assert_eq!((found.low, found.high), (f64::NEG_INFINITY, f64::INFINITY));
            assert_eq!((found.p_value, found.two_way_p_value), (1.0, 1.0));
            assert_eq!(found.equivalence_p_value(10.0), 1.0);
            assert_eq!((found.effect_size, found.deviation), (0.0, 0.0));
        }
    }
}

/// Values that are equal in each pair: nothing to find, exactly.
#[test]
fn equal_values_give_exactly_zero() {
    let mut values = Design::new("both", 0).draw(2);
    for pair in &mut values {
        pair.sides[1] = pair.sides[0];
    }
    for method in [Method::Corrected, Method::Percentile, Method::Bca] {
        let found = Disparity::of(&values, &with(method, 300)).unwrap();
        let numbers = [found.difference, found.low, found.high, found.error.value];
        assert_eq!(numbers, [0.0; 4], "{method:?}");
        assert_eq!((found.p_value, found.equivalence_p_value(0.1)), (1.0, 0.0));
        assert_eq!(found.equivalence_p_value(0.0), 1.0);
    }
}

/// Matched pairs, one prompt in two of them, and single values: the gap is the weighted sum of the column.
#[test]
fn what_each_value_weighs_in_the_gap_gives_the_gap() {
    let unit = |sides| Unit {
        sides,
        identity: 0,
        template: 0,
    };
    let column: Vec<f64> = (0..6).map(|place| f64::from(place * place) - 3.5).collect();
    for units in [
        [[Some(0), Some(1)], [Some(2), Some(1)], [Some(4), Some(5)]].map(unit),
        [[Some(0), None], [None, Some(3)], [Some(4), None]].map(unit),
    ] {
        let weights = weights_in_gap(&units, column.len());
        let found: f64 = weights.iter().zip(&column).map(|(w, x)| w * x).sum();
        let observed = observations(&units, &column).unwrap();
        let expected = Contributions::of(&observed).gap();
        assert!((found - expected).abs() < 1e-12, "{found}, {expected}");
        assert!(
            weights.contains(&0.0),
            "a value that is in no unit weighs nothing"
        );
    }
}
