//! What is measured of models with adapters, against PEFT and against the same models with the adapters merged.

use std::collections::BTreeMap;

use milepost::hook::testing::changed;
use milepost::measure::chord::{Change, Chord, Points, Weighting};
use milepost::measure::smooth::SmoothMeasure;
use milepost::model::{Network, Pair, Place, Role};
use serde_json::Value;

use super::{REFERENCE, adapters, base, load, near, on_flex};
use crate::harness::{close, ids, numbers, rows};

/// The values made by `tests/fixtures/lora/make_chord.py`.
fn chords() -> Value {
    serde_json::from_str(include_str!("../../fixtures/lora/chord.json")).unwrap()
}

/// The network with adapters that add nothing yet.
fn begun(model: &Network) -> Network {
    changed(model, |tensor, _, weight| match tensor {
        tensor if tensor.ends_with("lora_B.weight") => 0.0,
        _ => weight,
    })
}

fn decomposed(
    from: &Pair,
    to: &Pair,
    texts: &[Vec<u32>],
    measure: SmoothMeasure,
    weighting: Weighting,
    points: Points,
) -> Change {
    let chord = Chord::new(from, to, texts).unwrap();
    let found = chord.decompose(measure, &[weighting], points, &|_, _| Ok(()));
    found.unwrap().changes.remove(0)
}

#[test]
fn shares_of_adapters_are_those_of_pytorch() {
    let reference = chords();
    let amount = reference["amount"].as_f64().unwrap();
    let moved = |index: usize, weight: f32| {
        (f64::from(weight) + amount * (index as f64 + 1.0).sin()) as f32
    };
    let texts = rows(&reference["prompts"]);
    let tokens: [u32; 2] = ids(&reference["tokens"]).try_into().unwrap();
    let points = reference["points"].as_u64().unwrap() as usize;
    let mut seen = 0;
    for (name, expected) in reference["adapters"].as_object().unwrap() {
        let (main, assistant) = (load(name, &on_flex()), base("gpt2/assistant", &on_flex()));
        let later = changed(&main, |tensor, index, weight| match tensor {
            tensor if tensor.ends_with("lora_A.weight") => moved(index, weight),
            tensor if tensor.ends_with("lora_B.weight") => 0.125 * weight,
            _ => weight,
        });
        let drafter = changed(&assistant, |_, index, weight| moved(index, weight));
        let from = Pair::new(begun(&main), assistant).unwrap();
        let to = Pair::new(later, drafter).unwrap();
        for (what, measure) in [
            ("kl", SmoothMeasure::Kl),
            (
                "log_odds_main",
                SmoothMeasure::LogOdds {
                    role: Role::Main,
                    tokens,
                },
            ),
            (
                "log_odds_assistant",
                SmoothMeasure::LogOdds {
                    role: Role::Assistant,
                    tokens,
                },
            ),
        ] {
            let expected = &expected[what];
            let weighting = Weighting {
                weights: numbers(&reference["weights"]),
                observed: expected["observed"].as_f64().unwrap(),
            };
            let exactly = Points {
                first: points,
                most: points,
            };
            let change = decomposed(&from, &to, &texts, measure, weighting, exactly);
            let sizes = change.shares.iter().map(|share| share.value.abs());
            let largest = sizes.fold(0.0, f64::max);
            for ((role, tensor), share) in change.tensors() {
                match (role, expected["main"].get(tensor)) {
                    (Role::Main, Some(expected)) => {
                        let expected = expected.as_f64().unwrap();
                        close(
                            share,
                            expected,
                            1e-4,
                            largest,
                            &format!("{name} {what} {tensor}"),
                        );
                        seen += 1;
                    }
                    // The base stays.
                    (Role::Main, None) => assert_eq!(share, 0.0, "{tensor}"),
                    (Role::Assistant, _) => {}
                }
            }
            let by_assistant = expected["assistant"].as_f64().unwrap();
            close(
                change.sum(Some(Role::Assistant)),
                by_assistant,
                1e-4,
                largest,
                what,
            );
            close(change.sum(None), change.observed, 1e-3, 0.0, what);
        }
    }
    // Four and sixteen matrices, three measures.
    assert!(seen >= 3 * (4 + 16), "{seen}");
}

/// Of every family: the shares add up to the change of KL, and both matrices stand where the weight of their layer stands.
#[test]
fn shares_of_adapters_add_up_and_stand_with_their_layers() {
    for (name, expected) in adapters() {
        let now = load(name, &on_flex());
        let start = begun(&now);
        let other = base(expected["base"].as_str().unwrap(), &on_flex());
        let other = changed(&other, |_, index, weight| {
            weight + 0.02 * (index as f32).cos()
        });
        let from = Pair::new(start, other.clone()).unwrap();
        let to = Pair::new(now, other).unwrap();
        let texts = rows(&expected["ids"]);
        let mean = |pair: &Pair| {
            let values = texts.iter().map(|text| {
                let of = |model: &Network| {
                    let last = super::logits(model, std::slice::from_ref(text));
                    let vocab = model.config().vocab_size;
                    last[last.len() - vocab..].to_vec()
                };
                let (p, q) = (of(&pair.main), of(&pair.assistant));
                SmoothMeasure::Kl.slope(&p, &q).unwrap().value
            });
            values.sum::<f64>() / texts.len() as f64
        };
        let weighting = Weighting {
            weights: vec![1.0 / texts.len() as f64; texts.len()],
            observed: mean(&to) - mean(&from),
        };
        let points = Points { first: 5, most: 40 };
        let change = decomposed(&from, &to, &texts, SmoothMeasure::Kl, weighting, points);
        println!(
            "{name}: {} observed, {:e} left",
            change.observed,
            change.residual()
        );
        assert!(change.is_explained(), "{name}: {change:?}");
        assert_eq!(change.sum(Some(Role::Assistant)), 0.0, "{name}");
        let places: BTreeMap<&str, Place> = (change.shares.iter())
            .filter(|share| share.role == Role::Main)
            .map(|share| (share.weight.tensor.as_str(), share.weight.place))
            .collect();
        for (tensor, place) in &places {
            if let Some((layer, _)) = tensor.split_once(".lora_") {
                assert_eq!(places[&*format!("{layer}.weight")], *place, "{tensor}");
            }
        }
    }
}

/// What hooks see inside of a network with adapters is what they see inside of the merged one.
#[test]
fn the_inside_is_that_of_merged_weights() {
    for (name, expected) in adapters() {
        let model = load(name, &on_flex());
        let merged = model.clone().merged();
        let texts = rows(&expected["ids"]);
        let layers = model.layers();
        let look = |model: &Network| model.look_into(&texts, &layers, &|| Ok(())).unwrap();
        for (found, expected) in look(&model)
            .iter()
            .flatten()
            .zip(look(&merged).iter().flatten())
        {
            let what = format!("{name} {}", found.layer);
            near(&found.values, &expected.values, 2e-5, &what);
        }
        let rows: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let losses = [&model, &merged].map(|model| model.token_losses(&rows).unwrap().concat());
        near(&losses[0], &losses[1], 2e-5, name);
    }
    assert!(REFERENCE["adapters"].as_object().unwrap().len() >= 7);
}
