//! Sampled assisted decoding: distributed as the main model, whatever the assistant, the batch and the order.

use burn::tensor::Device;
use milepost::decode::{Decoding, Request, Sampling, Settings, assisted};
use milepost::model::{KvPool, Pair};
use proptest::prelude::*;
use serde_json::Value;

use crate::decoding::known_pair;
use crate::harness::{close, fixture_pair, numbers};

const DRAWS: u64 = 100_000;
/// exp of these are the probabilities.
const P: [f32; 4] = [0.5, 0.25, 0.15, 0.1];
const Q: [f32; 4] = [0.2, 0.3, 0.1, 0.4];

fn settings(max_new_tokens: usize) -> Settings {
    Settings {
        max_new_tokens,
        draft_length: 2,
        sampling: Some(Sampling::default()),
        ..Settings::default()
    }
}

fn decode(pair: &Pair, requests: &[Request], settings: &Settings) -> Vec<Decoding> {
    assisted(pair, requests, None, settings, &|_| Ok(())).unwrap()
}

fn seeds(prompt: &[u32], seeds: impl Iterator<Item = u64>) -> Vec<Request<'_>> {
    seeds.map(|seed| Request { prompt, seed }).collect()
}

/// Pearson's statistic of counts against probabilities; cells that expect fewer than 5 are one.
fn chi_square(counts: &[u64], probabilities: &[f64]) -> (f64, usize) {
    let total: u64 = counts.iter().sum();
    let (mut statistic, mut cells) = (0.0, 0);
    let (mut rest, mut rest_expected) = (0.0, 0.0);
    for (&count, probability) in counts.iter().zip(probabilities) {
        let expected = probability * total as f64;
        if expected < 5.0 {
            rest += count as f64;
            rest_expected += expected;
            continue;
        }
        statistic += (count as f64 - expected).powi(2) / expected;
        cells += 1;
    }
    if rest_expected > 0.5 {
        statistic += (rest - rest_expected).powi(2) / rest_expected;
        cells += 1;
    } else {
        assert!(
            rest <= 10.0,
            "{rest} draws of what has next to no probability"
        );
    }
    (statistic, cells - 1)
}

/// Refuses at a probability of 1e-6, by the normal approximation of Wilson and Hilferty (1931).
fn assert_fits(counts: &[u64], probabilities: &[f64]) {
    let (statistic, degrees) = chi_square(counts, probabilities);
    let degrees = degrees as f64;
    let spread = 2.0 / (9.0 * degrees);
    let z = ((statistic / degrees).cbrt() - (1.0 - spread)) / spread.sqrt();
    println!("chi-square {statistic:.1} with {degrees} degrees of freedom, z = {z:.2}");
    assert!(z < 4.75, "z = {z}, {counts:?}");
}

#[test]
fn three_tokens_of_a_known_pair_are_distributed_as_the_main_model() {
    let pair = known_pair(P.map(f32::ln), Q.map(f32::ln));
    let settings = settings(3);
    let cells: Vec<f64> = (0..64)
        .map(|cell| [cell / 16, cell / 4 % 4, cell % 4].map(|token| f64::from(P[token])))
        .map(|[a, b, c]| a * b * c)
        .collect();
    // 64 at a time, and of every eighth batch each alone: the same draws.
    let (mut counts, mut accepted, mut drafted) = (vec![0u64; 64], 0, 0);
    let all: Vec<u64> = (0..DRAWS).collect();
    for (batch, chunk) in all.chunks(64).enumerate() {
        let requests = seeds(&[0], chunk.iter().copied());
        let together = decode(&pair, &requests, &settings);
        for (request, found) in requests.iter().zip(&together) {
            if batch % 8 == 0 {
                assert_eq!(decode(&pair, &[*request], &settings)[0], *found);
            }
            let cell = found.tokens.iter().fold(0, |cell, &token| 4 * cell + token);
            counts[cell as usize] += 1;
            // Only the first draft of a round is tried in every round.
            for round in found.rounds.iter().filter(|round| round.drafted > 0) {
                drafted += 1;
                accepted += u64::from(round.matched > 0);
            }
        }
    }
    assert_fits(&counts, &cells);
    // A draft is accepted with probability sum min(p, q).
    let expected: f64 = (0..4).map(|i| f64::from(P[i].min(Q[i]))).sum();
    let deviation = (expected * (1.0 - expected) / drafted as f64).sqrt();
    let share = accepted as f64 / drafted as f64;
    assert!(
        (share - expected).abs() < 4.75 * deviation,
        "{share} is not {expected}"
    );
}

#[test]
fn processed_samples_of_a_real_network_are_distributed_as_its_processed_softmax() {
    let pair = fixture_pair(&Device::flex());
    let prompt = [3, 14, 15, 92];
    let sampling = Sampling {
        temperature: 3.0,
        top_k: 30,
        top_p: 0.9,
    };
    let settings = Settings {
        sampling: Some(sampling),
        ..settings(2)
    };
    let next = |text: &[u32]| -> Vec<f64> {
        let mut pool = KvPool::new(pair.main.config());
        let hidden = pair.main.read_texts(&[text], &mut pool).hidden;
        let logits = pair.main.logits_of(hidden.narrow(0, text.len() - 1, 1));
        let distribution = sampling.distribution(&logits).unwrap();
        (0..97)
            .map(|token| distribution.probability(token))
            .collect()
    };
    let expected = next(&prompt);
    // With drafts, and as the main model alone.
    for draft_length in [2, 0] {
        let settings = Settings {
            draft_length,
            ..settings
        };
        let found = decode(&pair, &seeds(&prompt, 0..DRAWS), &settings);
        let mut first = vec![0u64; 97];
        for decoding in &found {
            first[decoding.tokens[0] as usize] += 1;
            assert!(draft_length > 0 || decoding.rounds.iter().all(|round| round.drafted == 0));
        }
        assert_fits(&first, &expected);
        // The second token, given the most frequent first one.
        let top = (0..97).max_by_key(|&token| first[token]).unwrap() as u32;
        let mut second = vec![0u64; 97];
        for decoding in found.iter().filter(|decoding| decoding.tokens[0] == top) {
            second[decoding.tokens[1] as usize] += 1;
        }
        assert_fits(&second, &next(&[&prompt[..], &[top]].concat()));
    }
}

#[test]
fn neither_batch_nor_order_nor_neighbours_change_what_is_drawn() {
    let pair = fixture_pair(&Device::flex());
    let prompts: Vec<Vec<u32>> = (0..80u32)
        .map(|index| {
            (0..1 + index % 11)
                .map(|place| (index * 5 + place * 17) % 96)
                .collect()
        })
        .collect();
    let settings = Settings {
        draft_length: 4,
        ..settings(12)
    };
    let requests: Vec<Request> = prompts
        .iter()
        .map(|prompt| Request { prompt, seed: 7 })
        .collect();
    let forth = decode(&pair, &requests, &settings);
    let backwards: Vec<Request> = requests.iter().rev().copied().collect();
    let mut back = decode(&pair, &backwards, &settings);
    back.reverse();
    assert_eq!(forth, back);
    for (request, found) in requests.iter().zip(&forth) {
        assert_eq!(decode(&pair, &[*request], &settings)[0], *found);
    }
    let other = decode(&pair, &seeds(&prompts[10], 8..9), &settings);
    assert_ne!(other[0].tokens, forth[10].tokens, "another seed draws anew");
}

#[test]
fn distributions_are_processed_as_by_transformers() {
    let text = include_str!("../fixtures/sampling/reference.json");
    let reference: Value = serde_json::from_str(text).unwrap();
    for case in reference["distributions"].as_array().unwrap() {
        let sampling = Sampling {
            temperature: case["temperature"].as_f64().unwrap(),
            top_k: case["top_k"].as_u64().unwrap() as usize,
            top_p: case["top_p"].as_f64().unwrap(),
        };
        let logits = numbers(&case["logits"]).into_iter();
        let logits: Vec<f32> = logits.map(|logit| logit as f32).collect();
        let found = sampling.distribution(&logits).unwrap();
        for (token, expected) in numbers(&case["probabilities"]).into_iter().enumerate() {
            close(
                found.probability(token as u32),
                expected,
                1e-5,
                1e-3,
                "probability",
            );
        }
    }
}

#[test]
fn what_is_not_finite_has_no_distribution() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert!(Sampling::default().distribution(&[0.0, bad]).is_none());
    }
}

proptest! {
    #[test]
    fn a_distribution_sums_to_one_and_keeps_the_most_probable(
        logits in prop::collection::vec(-20f32..20.0, 1..40),
        temperature in 0.05f64..5.0,
        top_k in 0usize..50,
        top_p in 0.01f64..=1.0,
    ) {
        let sampling = Sampling { temperature, top_k, top_p };
        let found = sampling.distribution(&logits).unwrap();
        let all: Vec<f64> = (0..logits.len()).map(|token| found.probability(token as u32)).collect();
        prop_assert!((all.iter().sum::<f64>() - 1.0).abs() < 1e-5);
        let kept = all.iter().filter(|probability| **probability > 0.0).count();
        prop_assert!(kept >= 1);
        let floor = (0..logits.len()).filter(|&i| all[i] > 0.0).map(|i| logits[i]).fold(f32::INFINITY, f32::min);
        for (logit, probability) in logits.iter().zip(&all) {
            // What is left out is not more probable than what is kept; very small probabilities underflow.
            prop_assert!(*probability > 0.0 || *logit <= floor || (f64::from(floor - logit) / temperature) > 80.0);
        }
        if top_k > 0 {
            let mut sorted = logits.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let ties = sorted.iter().filter(|logit| **logit == sorted[top_k.min(sorted.len()) - 1]).count();
            prop_assert!(kept < top_k.min(sorted.len()) + ties);
        }
    }
}
