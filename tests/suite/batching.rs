//! Many prompts at once: row by row what the one-prompt definition gives, for any lengths, ends of text, draft lengths and limits.

use burn::tensor::{Device, Int, Tensor, TensorData};
use milepost::decode::{Decoding, Drafting, Request, Round, Schedule, Settings, assisted, greedy};
use milepost::model::{Network, Pair, Role};
use proptest::prelude::*;
use serde_json::Value;

use crate::harness::{fixture_pair, ids, rows};

fn tiny() -> Pair {
    fixture_pair(&Device::flex())
}

fn decode(
    pair: &Pair,
    prompts: &[Vec<u32>],
    eos: Option<u32>,
    settings: &Settings,
) -> Vec<Decoding> {
    let requests = prompts.iter().map(|prompt| Request { prompt, seed: 0 });
    let requests: Vec<Request> = requests.collect();
    assisted(pair, &requests, eos, settings, &|_| Ok(())).unwrap()
}

/// The logits after `text`, read anew from its beginning by the training network.
fn last_logits(model: &Network, text: &[u32]) -> Vec<f32> {
    let ids: Vec<i32> = text.iter().map(|&id| id as i32).collect();
    let tokens: Tensor<2, Int> =
        Tensor::from_data(TensorData::new(ids, [1, text.len()]), &Device::flex());
    let last = model.logits(tokens).narrow(1, text.len() - 1, 1);
    last.into_data().try_into_vec().unwrap()
}

/// The most probable next token and its probability.
fn best(model: &Network, text: &[u32]) -> (u32, f64) {
    let logits = last_logits(model, text);
    let mut best = 0;
    for (token, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = token;
        }
    }
    let exps = logits
        .iter()
        .map(|&logit| f64::from(logit - logits[best]).exp());
    (best as u32, 1.0 / exps.sum::<f64>())
}

/// The definition of measures.md word for word: one prompt, no keys and values kept, one token at a time.
fn slow(pair: &Pair, prompt: &[u32], eos: Option<u32>, settings: &Settings) -> Decoding {
    let limit = prompt.len() + settings.max_new_tokens;
    let mut k = settings.draft_length;
    let (mut text, mut rounds) = (prompt.to_vec(), Vec::new());
    while text.len() < limit {
        let kk = k.min(limit - text.len() - 1);
        let mut draft: Vec<u32> = Vec::new();
        while draft.len() < kk {
            let (token, probability) = best(&pair.assistant, &[&text[..], &draft].concat());
            draft.push(token);
            if Some(token) == eos || probability < settings.confidence_threshold {
                break;
            }
        }
        let choices: Vec<u32> = (0..=draft.len())
            .map(|n| best(&pair.main, &[&text[..], &draft[..n]].concat()).0)
            .collect();
        let mut n = 0;
        while n < draft.len() && draft[n] == choices[n] {
            n += 1;
        }
        k = match settings.schedule {
            Schedule::Constant => k,
            Schedule::Heuristic if n == k => k + 2,
            Schedule::Heuristic => (k - 1).max(1),
        };
        if n > 0 && n == draft.len() && draft.last().copied() == eos {
            n -= 1;
        }
        text.extend(&choices[..=n]);
        rounds.push(Round {
            drafted: match settings.drafting {
                Drafting::Whole => draft.len(),
                Drafting::Lazy => draft.len().min(n + 1),
            },
            matched: n,
        });
        if text.last().copied() == eos {
            break;
        }
    }
    let tokens = text.split_off(prompt.len());
    Decoding { tokens, rounds }
}

#[test]
fn six_hundred_prompts_of_mixed_lengths_are_decoded_as_if_alone() {
    let pair = tiny();
    // Lengths 1 to 20, beginnings in common, some prompts twice.
    let prompts: Vec<Vec<u32>> = (0..600u32)
        .map(|index| {
            let length = 1 + index * 7 % 20;
            (0..length)
                .map(|place| (place * 31 + (index * 13 + index / 96) * u32::from(place > 1)) % 96)
                .collect()
        })
        .collect();
    let distinct: std::collections::HashSet<&Vec<u32>> = prompts.iter().collect();
    assert!(distinct.len() >= 500 && distinct.len() < 600);
    for (draft_length, max_new_tokens, schedule, drafting) in [
        (5, 20, Schedule::Constant, Drafting::Whole),
        (1, 9, Schedule::Heuristic, Drafting::Whole),
        (20, 28, Schedule::Constant, Drafting::Whole),
        (5, 20, Schedule::Constant, Drafting::Lazy),
        (2, 20, Schedule::Heuristic, Drafting::Lazy),
    ] {
        let settings = Settings {
            draft_length,
            max_new_tokens,
            schedule,
            drafting,
            ..Settings::default()
        };
        let together = decode(&pair, &prompts, Some(96), &settings);
        let mut ended = 0;
        for (prompt, found) in prompts.iter().zip(&together) {
            let alone = decode(&pair, std::slice::from_ref(prompt), Some(96), &settings);
            assert_eq!(*found, alone[0], "{prompt:?}");
            let plain = greedy(&pair.main, prompt, max_new_tokens, Some(96)).unwrap();
            assert_eq!(found.tokens, plain, "{prompt:?}");
            ended += usize::from(found.tokens.last() == Some(&96));
        }
        assert!(ended > 20, "only {ended} ended by themselves");
        // The slow definition, on every tenth.
        for (prompt, found) in prompts.iter().zip(&together).step_by(10) {
            assert_eq!(*found, slow(&pair, prompt, Some(96), &settings));
        }
    }
}

#[test]
fn the_mini_pair_decodes_its_960_prompts_as_if_alone() {
    let model = |role| milepost::mini::model(role, &Device::flex()).unwrap();
    let pair = Pair::new(model(Role::Main), model(Role::Assistant)).unwrap();
    let tokenizer = milepost::mini::tokenizer().unwrap();
    let table = include_str!("../../datasets/prompt_templates.tsv");
    let prompts: Vec<Vec<u32>> = table
        .lines()
        .skip(1)
        .map(|line| line.split('\t').next().unwrap().replace(" [M].", ""))
        .map(|prompt| tokenizer.encode(&prompt).unwrap())
        .collect();
    assert_eq!(prompts.len(), 960);
    let together = decode(&pair, &prompts, Some(0), &Settings::default());
    for (prompt, found) in prompts.iter().zip(&together).step_by(2) {
        let alone = decode(
            &pair,
            std::slice::from_ref(prompt),
            Some(0),
            &Settings::default(),
        );
        assert_eq!(*found, alone[0], "{prompt:?}");
    }
}

#[test]
fn the_confidence_threshold_is_that_of_transformers() {
    let pair = tiny();
    let text = include_str!("../fixtures/sampling/reference.json");
    let reference: Value = serde_json::from_str(text).unwrap();
    for case in reference["threshold"].as_array().unwrap() {
        let settings = Settings {
            confidence_threshold: case["threshold"].as_f64().unwrap(),
            draft_length: case["k"].as_u64().unwrap() as usize,
            max_new_tokens: case["new"].as_u64().unwrap() as usize,
            schedule: match case["schedule"].as_str().unwrap() {
                "constant" => Schedule::Constant,
                _ => Schedule::Heuristic,
            },
            ..Settings::default()
        };
        let expected = case["expected"].as_array().unwrap();
        let prompts: Vec<Vec<u32>> = expected.iter().map(|one| ids(&one["ids"])).collect();
        let found = decode(&pair, &prompts, Some(96), &settings);
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found.tokens, ids(&expected["tokens"]));
            let pairs = found.rounds.iter();
            let pairs: Vec<Vec<u32>> = pairs
                .map(|round| vec![round.drafted as u32, round.matched as u32])
                .collect();
            assert_eq!(pairs, rows(&expected["rounds"]), "{settings:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_batch_is_decoded_by_the_definition(
        prompts in prop::collection::vec(prop::collection::vec(0u32..97, 1..14), 1..9),
        draft_length in 0usize..9,
        max_new_tokens in 1usize..24,
        heuristic: bool,
        lazy: bool,
        threshold in prop_oneof![Just(0.0), 0.1f64..1.0],
        // Tokens of the chain that the tiny pair was trained on come up often enough to end many continuations.
        eos in prop_oneof![Just(None), (0u32..97).prop_map(Some)],
    ) {
        let settings = Settings {
            draft_length,
            max_new_tokens,
            schedule: if heuristic { Schedule::Heuristic } else { Schedule::Constant },
            confidence_threshold: threshold,
            drafting: if lazy { Drafting::Lazy } else { Drafting::Whole },
            ..Settings::default()
        };
        let pair = tiny();
        let found = decode(&pair, &prompts, eos, &settings);
        for (prompt, found) in prompts.iter().zip(found) {
            prop_assert_eq!(found, slow(&pair, prompt, eos, &settings));
        }
    }
}
