//! The influence of documents: against PyTorch's exact derivatives (tests/fixtures/influence), and from runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::Device;
use milepost::clock::MicroBatch;
use milepost::data::blocks::Blocks;
use milepost::data::subset::Subset;
use milepost::hook::testing::changed;
use milepost::influence::{
    Estimate, FRACTION, Goal, Loaded, Request, Seen, SeenStep, States, estimate, spread,
};
use milepost::measure::smooth::SmoothMeasure;
use milepost::model::{Network, Pair, Role, named_parameters};
use milepost::statistics::log_odds::{Counts, markings};
use milepost::statistics::rank::{pearson, ranks, spearman};
use milepost::statistics::sample::{Estimated, difference, total};
use milepost::train::AdamW;
use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

use crate::harness::{Project, close, fixture, numbers, rows};

fn reference() -> Value {
    let text = include_str!("../fixtures/influence/reference.json");
    serde_json::from_str(text).unwrap()
}

/// The pair of the fixture after a step, with moments by the script's formula.
struct Formula {
    amount: f64,
    square: f64,
}

impl Formula {
    fn network(&self, role: Role, step: u64) -> Network {
        let start = Network::load(&fixture(role.as_str()), &Device::flex()).unwrap();
        let moved = changed(&start, |_, index, weight| {
            let by = self.amount * step as f64 * (index as f64 + 1.0).sin();
            (f64::from(weight) + by) as f32
        });
        use burn::module::Module;
        moved.train()
    }

    fn optimiser(&self, network: &Network, step: u64) -> AdamW {
        let mut parts: Vec<(String, Vec<u8>, usize)> = Vec::new();
        for (name, data) in named_parameters(network) {
            let count = data.shape().num_elements();
            let squares = (0..count).map(|index| match index % 11 {
                0 => 0.0f32,
                _ => (self.square * (1.0 + ((index as f64) + step as f64).sin()).powi(2)) as f32,
            });
            let bytes = squares.flat_map(f32::to_le_bytes).collect();
            parts.push((format!("square.{name}"), bytes, count));
            parts.push((format!("mean.{name}"), vec![0; 4 * count], count));
        }
        let views = parts.iter().map(|(name, bytes, count)| {
            (
                name.as_str(),
                TensorView::new(Dtype::F32, vec![*count], bytes).unwrap(),
            )
        });
        let metadata = [("steps".to_owned(), step.to_string())];
        let bytes = safetensors::serialize(views, Some(metadata.into())).unwrap();
        AdamW::new(0.0.into()).restored(&bytes, network).unwrap()
    }
}

impl States for Formula {
    fn pair(&self, step: u64) -> anyhow::Result<Pair> {
        let [main, assistant] = Role::BOTH.map(|role| self.network(role, step));
        Ok(Pair::new(main, assistant)?)
    }

    fn loaded(&self, step: u64) -> anyhow::Result<Loaded> {
        let pair = self.pair(step)?;
        let optimisers = Role::BOTH.map(|role| Some(self.optimiser(pair.get(role), step)));
        Ok((pair, optimisers))
    }
}

/// The estimate for the fixture's run, with the names of its goals.
fn estimated(reference: &Value, fraction: f64) -> (Vec<String>, Estimate) {
    let prompts = rows(&reference["prompts"]);
    let names = reference["goals"].as_object().unwrap().keys();
    let names: Vec<String> = names.cloned().collect();
    let goals = names.iter().map(|name| {
        let (measure, weighting) = name.split_once('/').unwrap();
        Goal {
            name: name.clone(),
            measure: match measure {
                "kl" => SmoothMeasure::Kl,
                _ => SmoothMeasure::Acceptance,
            },
            weights: numbers(&reference["weightings"][weighting]),
        }
    });
    let goals: Vec<Goal> = goals.collect();
    let starts = numbers(&reference["starts"]);
    let documents = starts.iter().map(|&start| (start as usize, None));
    let blocks = Blocks::cut(rows(&reference["blocks"]).concat(), 16).unwrap();
    let blocks = blocks.made_of(documents.collect());
    let rates = numbers(&reference["rates"]);
    let clipped = Role::BOTH.map(|role| numbers(&reference["clipped"][role.as_str()]));
    let steps = rows(&reference["seen"]).into_iter().enumerate();
    let steps = steps.map(|(step, blocks)| SeenStep {
        predictions: (blocks.len() * 15) as f64,
        passes: vec![(
            MicroBatch(step as u64),
            blocks.into_iter().map(|block| block as usize).collect(),
        )],
        rate: rates[step],
        clipped: clipped.each_ref().map(|factors| factors[step]),
    });
    let seen = Seen {
        steps: steps.collect(),
        unknown_clipping: Vec::new(),
    };
    let request = Request {
        goals: &goals,
        prompts: &prompts,
        blocks: &blocks,
        seen: &seen,
        nodes: &[4, 7],
        states: &[0, 4, 7],
        dropout: None,
        fraction,
    };
    let states = Formula {
        amount: reference["amount"].as_f64().unwrap(),
        square: reference["square"].as_f64().unwrap(),
    };
    let found = estimate(&request, &states, &|_, _| Ok(())).unwrap();
    (names, found)
}

/// The largest error of a document's influence, as a part of the largest influence of its goal.
fn worst(reference: &Value, names: &[String], found: &Estimate) -> f64 {
    let mut worst = 0.0f64;
    for (name, goal) in names.iter().zip(&found.goals) {
        let expected =
            Role::BOTH.map(|role| numbers(&reference["goals"][name]["documents"][role.as_str()]));
        let all = expected.iter().flatten();
        let largest = all.fold(0.0f64, |largest, one| largest.max(one.abs()));
        for (document, found) in goal.documents.iter().enumerate() {
            for role in Role::BOTH {
                let error = found[role as usize] - expected[role as usize][document];
                worst = worst.max(error.abs() / largest);
            }
        }
    }
    worst
}

#[test]
fn influence_is_that_of_exact_derivatives() {
    let reference = &reference()["influence"];
    let (names, found) = estimated(reference, FRACTION);
    assert_eq!(names.len(), 4);
    let error = worst(reference, &names, &found);
    println!("the largest error of a document: {error:e} of the largest influence");
    assert!(error < 1e-3, "{error:e}");
    for (name, goal) in names.iter().zip(&found.goals) {
        let expected = &reference["goals"][name];
        for (found, expected) in goal.values.iter().zip(numbers(&expected["values"])) {
            close(*found, expected, 1e-5, 0.1, name);
        }
        let predicted = Role::BOTH.map(|role| numbers(&expected["predicted"][role.as_str()]));
        let largest = predicted
            .iter()
            .flatten()
            .fold(0.0f64, |most, one| most.max(one.abs()));
        for (segment, found) in goal.predicted.iter().enumerate() {
            for role in Role::BOTH {
                close(
                    found[role as usize],
                    predicted[role as usize][segment],
                    1e-3,
                    largest,
                    name,
                );
            }
        }
        // The parts by document and by segment are parts of the same.
        let by_document: f64 = goal.totals().iter().sum();
        let by_segment: f64 = goal.predicted.iter().flatten().sum();
        close(by_document, by_segment, 1e-9, largest, name);
    }
    // The last document is in a block that no step had.
    assert_eq!(found.seen[4], 0);
    assert!(found.goals.iter().all(|goal| goal.documents[4] == [0.0; 2]));
    assert_eq!(found.seen.iter().sum::<u64>(), 13 * 15);
}

/// Rounding grows as weights are moved less, curvature as they are moved more.
#[test]
fn the_difference_is_taken_where_rounding_and_curvature_are_small() {
    let reference = &reference()["influence"];
    let error = |fraction: f64| {
        let (names, found) = estimated(reference, fraction);
        worst(reference, &names, &found)
    };
    let errors: BTreeMap<String, f64> = [1e-5, 1e-4, 1e-3, FRACTION, 1e-2, 1e-1]
        .into_iter()
        .map(|fraction| (format!("{fraction:e}"), error(fraction)))
        .collect();
    println!("{errors:?}");
    let chosen = error(FRACTION);
    assert!(
        10.0 * chosen < error(1e-5) && 10.0 * chosen < error(1e-1),
        "{errors:?}"
    );
}

#[test]
fn effective_rates_are_those_of_the_first_moment() {
    let reference = &reference()["influence"];
    let rates = numbers(&reference["rates"]);
    let spreads = spread(&rates, &[4, 7], &[4, 7]);
    for (spread, expected) in spreads.iter().zip(numbers(&reference["effective"])) {
        close(
            spread.values().sum(),
            expected,
            1e-5,
            0.0,
            "an effective rate",
        );
    }
    // All of the first node's part of a segment that ends with it is in that segment.
    assert!(spreads[0].keys().all(|key| *key != (1, 0)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The first moment is run for each step's gradient alone.
    #[test]
    fn rates_are_those_of_a_slow_simulation(
        rates in prop::collection::vec(0.0..1e-2f64, 1..60), nodes in prop::collection::btree_set(1u64..60, 1..5), cut in 0u64..60,
    ) {
        let steps = rates.len() as u64;
        let nodes: Vec<u64> = nodes.into_iter().collect();
        let ends = if cut > 0 && cut < steps { vec![cut, steps] } else { vec![steps] };
        let spreads = spread(&rates, &nodes, &ends);
        for start in 0..rates.len() {
            let mut expected: BTreeMap<(usize, usize), f64> = BTreeMap::new();
            let mut moment = 0.0;
            for step in 0..rates.len() {
                moment = 0.9 * moment + if step == start { 0.1 } else { 0.0 };
                let taken = rates[step] * moment / (1.0 - 0.9f64.powi(step as i32 + 1));
                let segment = usize::from(ends.len() == 2 && step as u64 + 1 > cut);
                let place = step as f64 + 0.5;
                for (index, &node) in nodes.iter().enumerate() {
                    // A hat: 1 at the node, 0 at its neighbours, and 1 beyond the outer ones.
                    let slope = |other: Option<&u64>| other.map_or(1.0, |&other| {
                        let width = (node as f64 - other as f64).abs();
                        (1.0 - (place - node as f64).abs() / width).max(0.0)
                    });
                    let hat = if place < node as f64 { slope(index.checked_sub(1).map(|one| &nodes[one])) } else { slope(nodes.get(index + 1)) };
                    *expected.entry((index, segment)).or_default() += hat * taken;
                }
            }
            let largest = expected.values().fold(0.0f64, |most, one| most.max(*one));
            for (key, expected) in expected {
                let found = spreads[start].get(&key).copied().unwrap_or(0.0);
                prop_assert!((found - expected).abs() <= 1e-5 * largest + 1e-15, "{:?}: {} {}", key, found, expected);
            }
        }
    }

    /// Each token of a text is in one document, and in no block twice.
    #[test]
    fn documents_are_where_their_tokens_are(lengths in prop::collection::vec(0usize..9, 1..20), block in 2usize..7) {
        // The token at a place says its document.
        let ids: Vec<u32> = lengths.iter().enumerate().flat_map(|(document, &length)| vec![document as u32; length]).collect();
        prop_assume!(ids.len() >= block);
        let starts = lengths.iter().scan(0, |at, length| { let start = *at; *at += length; Some((start, None)) });
        let whole = ids.len() / block * block;
        let blocks = Blocks::cut(ids.clone(), block).unwrap().made_of(starts.collect());
        prop_assert_eq!(blocks.documents(), lengths.len());
        let mut counts = vec![0; lengths.len()];
        for index in 0..blocks.len() {
            let mut next = 0;
            for piece in blocks.pieces(index) {
                prop_assert_eq!(piece.tokens.start, next);
                next = piece.tokens.end;
                let tokens = &blocks.get(index)[piece.tokens.clone()];
                prop_assert!(tokens.iter().all(|&token| token as usize == piece.document));
                counts[piece.document] += tokens.len();
            }
            prop_assert_eq!(next, block);
        }
        for (document, count) in counts.into_iter().enumerate() {
            let tokens = blocks.document(document);
            prop_assert_eq!(tokens.len(), count);
            prop_assert!(tokens.iter().all(|&token| token as usize == document));
        }
        prop_assert_eq!((0..lengths.len()).map(|document| blocks.document(document).len()).sum::<usize>(), whole);
    }

    #[test]
    fn a_subset_has_exactly_its_share(seed in any::<u64>(), share in 0.01..1.0f64, count in 1usize..500) {
        let drawn = Subset { seed, share }.of(count);
        let counted = drawn.iter().filter(|counts| **counts).count();
        prop_assert_eq!(drawn.len(), count);
        prop_assert_eq!(counted, ((share * count as f64).round() as usize).max(1));
        prop_assert_eq!(&drawn, &Subset { seed, share }.of(count));
        // A smaller share of the same seed is a part of a larger one.
        let fewer = Subset { seed, share: share / 2.0 }.of(count);
        prop_assert!(fewer.iter().zip(&drawn).all(|(few, many)| *many || !few));
    }
}

#[test]
fn correlations_are_those_of_scipy() {
    let reference = &reference()["statistics"];
    for case in reference["correlations"].as_array().unwrap() {
        let (a, b) = (numbers(&case["a"]), numbers(&case["b"]));
        let found = |one: Option<f64>| one.unwrap();
        close(
            found(spearman(&a, &b)),
            case["spearman"].as_f64().unwrap(),
            1e-12,
            0.1,
            "spearman",
        );
        close(
            found(pearson(&a, &b)),
            case["pearson"].as_f64().unwrap(),
            1e-12,
            0.1,
            "pearson",
        );
        assert_eq!(ranks(&a), numbers(&case["ranks"]));
    }
    assert_eq!(spearman(&[1.0, 1.0], &[0.0, 2.0]), None);
    assert_eq!(spearman(&[1.0], &[0.0]), None);
}

#[test]
fn totals_and_differences_are_those_of_scipy() {
    let reference = &reference()["statistics"];
    let same = |found: Estimated, expected: &Value, what: &str| {
        let found = [
            found.value,
            found.interval.0,
            found.interval.1,
            found.p_value,
        ];
        for (found, expected) in found.into_iter().zip(numbers(expected)) {
            close(found, expected, 1e-6, 1e-3, what);
        }
    };
    for case in reference["samples"].as_array().unwrap() {
        let (a, b) = (numbers(&case["a"]), numbers(&case["b"]));
        same(difference(&a, &b), &case["difference"], "difference");
        same(total(&a), &case["total"], "total");
    }
    // One value says nothing of others.
    let one = total(&[3.0]);
    assert_eq!((one.value, one.p_value), (3.0, 1.0));
    assert_eq!(one.interval, (f64::NEG_INFINITY, f64::INFINITY));
    assert_eq!(difference(&[3.0], &[1.0, 2.0]).p_value, 1.0);
    assert_eq!(total(&[]).value, 0.0);
}

#[test]
fn words_are_marked_as_the_closed_form_has_it() {
    let reference = &reference()["statistics"]["words"];
    let counts = |key: &str| {
        let mut counts = Counts::new();
        for word in reference[key].as_array().unwrap() {
            *counts.entry(word.as_str().unwrap().to_owned()).or_default() += 1;
        }
        counts
    };
    let (first, second) = (counts("first"), counts("second"));
    let found = markings([&first, &second], &counts("background"));
    let expected = reference["markings"].as_object().unwrap();
    assert_eq!(found.len(), expected.len());
    for marking in &found {
        let numbers = numbers(&expected[&marking.word]);
        close(marking.log_odds, numbers[0], 1e-12, 1e-3, &marking.word);
        close(marking.z, numbers[1], 1e-12, 1e-3, &marking.word);
    }
    assert!(found.windows(2).all(|two| two[0].z >= two[1].z));
    assert_eq!((found[0].word.as_str(), found[0].counts), ("fell", [2, 0]));
}
