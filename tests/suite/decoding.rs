//! Assisted decoding against the slow reference and against plain greedy; its totals against a second count.

use burn::tensor::Device;
use milepost::decode::{Decoding, Round, Schedule, Settings, assisted, greedy};
use milepost::measure::decoding::DecodingTotals;
use milepost::measure::evaluation::template_divergences;
use milepost::model::{Gpt2, Pair, Role};
use proptest::prelude::*;

use crate::harness::{REFERENCE, fixture, ids, rows};

fn pair() -> Pair {
    let load = |name| Gpt2::load(&fixture(name), &Device::flex()).unwrap();
    Pair::new(load("main"), load("assistant")).unwrap()
}

fn go_on() -> Result<(), String> {
    Ok(())
}

#[test]
fn every_token_and_round_is_that_of_the_reference() {
    let (pair, reference) = (pair(), &REFERENCE["decoding"]);
    let eos = REFERENCE["eos"].as_u64().map(|id| id as u32);
    let prompts = rows(&reference["prompts"]);
    for case in reference["settings"].as_array().unwrap() {
        let settings = Settings {
            draft_length: case["draft_length"].as_u64().unwrap() as usize,
            max_new_tokens: case["max_new_tokens"].as_u64().unwrap() as usize,
            schedule: match case["schedule"].as_str().unwrap() {
                "constant" => Schedule::Constant,
                _ => Schedule::Heuristic,
            },
        };
        let found = assisted(&pair, &prompts, eos, &settings, &go_on).unwrap();
        for (index, expected) in case["expected"].as_array().unwrap().iter().enumerate() {
            assert_eq!(
                found[index].tokens,
                ids(&expected["tokens"]),
                "{settings:?}, prompt {index}"
            );
            let rounds: Vec<Vec<u32>> = found[index]
                .rounds
                .iter()
                .map(|round| vec![round.drafted as u32, round.matched as u32])
                .collect();
            assert_eq!(
                rounds,
                rows(&expected["rounds"]),
                "{settings:?}, prompt {index}"
            );
            let plain = greedy(&pair.main, &prompts[index], settings.max_new_tokens, eos).unwrap();
            assert_eq!(found[index].tokens, plain);
        }
    }
}

#[test]
fn a_model_that_assists_itself_is_always_right() {
    let main = milepost::mini::model(Role::Main, &Device::flex()).unwrap();
    let tokenizer = milepost::mini::tokenizer().unwrap();
    let pair = Pair::new(main.clone(), main).unwrap();
    let prompts: Vec<Vec<u32>> = ["the woman found work as a", "he seemed rather", "Shares of"]
        .iter()
        .map(|prompt| tokenizer.encode(prompt).unwrap())
        .collect();
    let decodings = assisted(&pair, &prompts, None, &Settings::default(), &go_on).unwrap();
    for decoding in &decodings {
        assert!(
            decoding
                .rounds
                .iter()
                .all(|round| round.drafted == round.matched)
        );
        assert_eq!(decoding.tokens.len(), 20);
    }
    let divergences = template_divergences(&pair, &prompts, 4, &|| Ok(())).unwrap();
    for divergence in divergences {
        assert_eq!(
            (divergence.kl, divergence.js, divergence.tv),
            (0.0, 0.0, 0.0)
        );
        assert_eq!(divergence.acceptance_expected, 1.0);
        assert!(divergence.top1_agreement);
    }
}

#[test]
fn prompts_that_do_not_fit_are_refused() {
    let settings = Settings {
        max_new_tokens: 40,
        ..Settings::default()
    };
    let error = assisted(&pair(), &[vec![1; 10]], None, &settings, &go_on).unwrap_err();
    assert!(
        error.to_string().contains("exceeds the 48 positions"),
        "{error}"
    );
    let error = assisted(&pair(), &[vec![]], None, &settings, &go_on).unwrap_err();
    assert!(error.to_string().contains("empty"), "{error}");
    let stop = || Err("enough".to_owned());
    let error = assisted(&pair(), &[vec![1]], None, &settings, &stop).unwrap_err();
    assert!(error.to_string().contains("enough"), "{error}");
}

proptest! {
    #[test]
    fn totals_equal_a_second_count(rounds in prop::collection::vec(prop::collection::vec((0usize..6, 0usize..6), 0..5), 0..6)) {
        let decodings: Vec<Decoding> = rounds
            .iter()
            .map(|rounds| {
                let rounds: Vec<Round> =
                    rounds.iter().map(|&(a, b)| Round { drafted: a.max(b), matched: a.min(b) }).collect();
                let new = rounds.iter().map(|round| round.matched + 1).sum();
                Decoding { tokens: vec![0; new], rounds }
            })
            .collect();
        let totals = DecodingTotals::of(&decodings);
        let all: Vec<Round> = decodings.iter().flat_map(|decoding| decoding.rounds.clone()).collect();
        let matched: usize = all.iter().map(|round| round.matched).sum();
        let with_draft: Vec<&Round> = all.iter().filter(|round| round.drafted > 0).collect();
        let new: usize = decodings.iter().map(|decoding| decoding.tokens.len()).sum();
        prop_assert_eq!(totals.assistant_share(), (new > 0).then(|| matched as f64 / new as f64));
        // Every emitted token is either accepted or the main model's one of that pass.
        if let Some(share) = totals.assistant_share() {
            prop_assert!((share - (1.0 - all.len() as f64 / new as f64)).abs() < 1e-12);
        }
        let mean = with_draft.iter().map(|round| round.matched as f64).sum::<f64>() / with_draft.len() as f64;
        match totals.n_matches_per_round() {
            Some(found) => prop_assert!((found - mean).abs() < 1e-12),
            None => prop_assert!(with_draft.is_empty()),
        }
    }
}
