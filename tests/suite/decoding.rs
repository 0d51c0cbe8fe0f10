//! Assisted decoding against the slow reference and against plain greedy; its totals against a second count.

use burn::tensor::Device;
use milepost::decode::{Decoding, Request, Round, Schedule, Settings, assisted, greedy};
use milepost::measure::decoding::DecodingTotals;
use milepost::measure::evaluation::template_divergences;
use milepost::model::{Network, Pair, Role};
use proptest::prelude::*;

use crate::harness::{REFERENCE, fixture_pair, ids, rows};

fn pair() -> Pair {
    fixture_pair(&Device::flex())
}

fn go_on(_done: usize) -> Result<(), String> {
    Ok(())
}

fn requests(prompts: &[Vec<u32>]) -> Vec<Request<'_>> {
    let requests = prompts.iter().map(|prompt| Request { prompt, seed: 0 });
    requests.collect()
}

#[test]
fn every_token_and_round_is_that_of_the_reference() {
    decodes_as_the_reference(&Device::flex());
}

/// Every token and round of the decodings of the reference, on a device.
pub fn decodes_as_the_reference(device: &Device) {
    let (pair, reference) = (fixture_pair(device), &REFERENCE["decoding"]);
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
            ..Settings::default()
        };
        let found = assisted(&pair, &requests(&prompts), eos, &settings, &go_on).unwrap();
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
    let decodings = assisted(
        &pair,
        &requests(&prompts),
        None,
        &Settings::default(),
        &go_on,
    )
    .unwrap();
    for decoding in &decodings {
        assert!(
            decoding
                .rounds
                .iter()
                .all(|round| round.drafted == round.matched)
        );
        assert_eq!(decoding.tokens.len(), 20);
    }
    let divergences = template_divergences(&pair, &prompts, &|| Ok(())).unwrap();
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
    let error = assisted(&pair(), &requests(&[vec![1; 10]]), None, &settings, &go_on).unwrap_err();
    assert!(
        error.to_string().contains("exceeds the 48 positions"),
        "{error}"
    );
    let error = assisted(&pair(), &requests(&[vec![]]), None, &settings, &go_on).unwrap_err();
    assert!(error.to_string().contains("empty"), "{error}");
    let stop = |_| Err("enough".to_owned());
    let error = assisted(&pair(), &requests(&[vec![1]]), None, &settings, &stop).unwrap_err();
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

/// A pair whose next-token distributions are the same everywhere and known: all weights 0 but the final norm's bias (1, 0) and the first
/// column of the token table, which then is the logits.
pub fn known_pair(main: [f32; 4], assistant: [f32; 4]) -> Pair {
    let model = |logits: [f32; 4]| {
        let folder = tempfile::tempdir().unwrap();
        let config = serde_json::json!({
            "vocab_size": 4, "n_positions": 32, "n_embd": 2, "n_layer": 1, "n_head": 1
        });
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let mut tensors: Vec<(&str, Vec<usize>, Vec<f32>)> = [
            ("wpe.weight", vec![32, 2]),
            ("h.0.ln_1.weight", vec![2]),
            ("h.0.ln_1.bias", vec![2]),
            ("h.0.attn.c_attn.weight", vec![2, 6]),
            ("h.0.attn.c_attn.bias", vec![6]),
            ("h.0.attn.c_proj.weight", vec![2, 2]),
            ("h.0.attn.c_proj.bias", vec![2]),
            ("h.0.ln_2.weight", vec![2]),
            ("h.0.ln_2.bias", vec![2]),
            ("h.0.mlp.c_fc.weight", vec![2, 8]),
            ("h.0.mlp.c_fc.bias", vec![8]),
            ("h.0.mlp.c_proj.weight", vec![8, 2]),
            ("h.0.mlp.c_proj.bias", vec![2]),
            ("ln_f.weight", vec![2]),
        ]
        .into_iter()
        .map(|(name, shape)| {
            let size = shape.iter().product();
            (name, shape, vec![0.0; size])
        })
        .collect();
        tensors.push(("ln_f.bias", vec![2], vec![1.0, 0.0]));
        let table = logits.iter().flat_map(|logit| [*logit, 0.0]).collect();
        tensors.push(("wte.weight", vec![4, 2], table));
        let bytes: Vec<(&str, Vec<usize>, Vec<u8>)> = tensors
            .into_iter()
            .map(|(name, shape, values)| {
                let bytes = values
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect();
                (name, shape, bytes)
            })
            .collect();
        let views = bytes.iter().map(|(name, shape, bytes)| {
            let dtype = safetensors::Dtype::F32;
            let view = safetensors::tensor::TensorView::new(dtype, shape.clone(), bytes);
            (*name, view.unwrap())
        });
        let file = safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap();
        std::fs::write(folder.path().join("model.safetensors"), file).unwrap();
        Network::load(folder.path(), &Device::flex()).unwrap()
    };
    Pair::new(model(main), model(assistant)).unwrap()
}

#[test]
fn a_pair_of_known_distributions_gives_its_closed_form_numbers() {
    // p = (1/2, 1/4, 1/8, 1/8), q uniform: KL = ln 4 - 7/4 ln 2 = 1/4 ln 2.
    let p = [0.5f32, 0.25, 0.125, 0.125].map(f32::ln);
    let pair = known_pair(p, [0.0; 4]);
    let prompts = [vec![0], vec![3, 1, 2], vec![1, 1]];
    let ln2 = std::f64::consts::LN_2;
    for found in template_divergences(&pair, &prompts, &|| Ok(())).unwrap() {
        for (value, expected) in [
            (found.kl, 0.25 * ln2),
            (found.kl_batchmean, 0.25 * ln2 / 4.0),
            (found.kl_reverse, 0.25 * ln2),
            (found.tv, 0.25),
            (found.acceptance_expected, 0.75),
            (found.entropy_main, 1.75 * ln2),
            (found.entropy_assistant, 2.0 * ln2),
            (found.margin_main, 0.25),
        ] {
            assert!((value - expected).abs() < 1e-6, "{value} is not {expected}");
        }
        assert!(
            found.top1_agreement,
            "of equal logits the lowest index counts"
        );
    }
    // Here both always choose token 0: every draft is right. 20 tokens are 3 rounds of 5 + 1, and a last one of 1 + 1.
    let decode = |pair: &Pair| {
        assisted(
            pair,
            &requests(&prompts),
            None,
            &Settings::default(),
            &go_on,
        )
        .unwrap()
    };
    let totals = DecodingTotals::of(&decode(&pair));
    assert_eq!(
        (totals.main_passes, totals.matched, totals.new_tokens),
        (12, 48, 60)
    );
    assert_eq!(totals.acceptance(), Some(1.0));
    assert_eq!(totals.assistant_share(), Some(0.8));
    // And here never the same one: 20 passes of the main model, no match.
    let totals = DecodingTotals::of(&decode(&known_pair(p, [0.0, 1.0, 0.0, 0.0])));
    assert_eq!(
        (totals.main_passes, totals.matched, totals.new_tokens),
        (60, 0, 60)
    );
    assert_eq!(totals.n_matches_per_round(), Some(0.0));
    // The last round of each prompt drafts nothing and does not count in the mean of rounds.
    assert_eq!(totals.rounds_with_draft, 57);
}
