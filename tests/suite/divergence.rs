//! Divergences against scipy and PyTorch, against closed forms, and the relations that hold for every pair of distributions.

use burn::tensor::{Device, Tensor, TensorData};
use milepost::measure::divergence::Divergence;
use milepost::measure::evaluation::template_divergences;
use milepost::measure::positions::{Text, divergences_along};
use proptest::prelude::*;
use serde_json::Value;

use crate::harness::{REFERENCE, close, fixture_pair, ids, numbers};

fn compare(found: &Divergence, expected: &Value, relative: f64, floor: f64) {
    for (name, value) in [
        ("kl", found.kl),
        ("kl_batchmean", found.kl_batchmean),
        ("kl_reverse", found.kl_reverse),
        ("js", found.js),
        ("tv", found.tv),
        ("acceptance_expected", found.acceptance_expected),
        ("entropy_main", found.entropy_main),
        ("entropy_assistant", found.entropy_assistant),
        ("margin_main", found.margin_main),
    ] {
        close(
            value,
            expected[name].as_f64().unwrap(),
            relative,
            floor,
            name,
        );
    }
    assert_eq!(
        found.top1_agreement,
        expected["top1_agreement"].as_bool().unwrap()
    );
}

fn singles(values: &Value) -> Vec<f32> {
    numbers(values)
        .into_iter()
        .map(|value| value as f32)
        .collect()
}

#[test]
fn every_measure_agrees_with_scipy() {
    for case in REFERENCE["divergence"].as_array().unwrap() {
        let found =
            Divergence::between(&singles(&case["main"]), &singles(&case["assistant"])).unwrap();
        // 1e-9 relative; what is nearly zero is compared absolutely at the rounding of a sum of terms up to 1.
        compare(&found, &case["expected"], 1e-9, 1e-5);
    }
}

#[test]
fn at_the_templates_it_agrees_with_the_models_in_double_precision() {
    let pair = fixture_pair(&Device::flex());
    let cases = REFERENCE["templates_kl"].as_array().unwrap();
    let prompts: Vec<Vec<u32>> = cases.iter().map(|case| ids(&case["ids"])).collect();
    let found = template_divergences(&pair, &prompts, &|| Ok(())).unwrap();
    assert_eq!(found.len(), cases.len());
    for (found, case) in found.iter().zip(cases) {
        compare(found, &case["expected"], 2e-5, 0.1);
    }
}

#[test]
fn closed_forms() {
    // p = (3/4, 1/4), q = (1/2, 1/2).
    let (p, q) = ([3f32.ln(), 0.0], [0.0, 0.0]);
    let found = Divergence::between(&p, &q).unwrap();
    let kl = 0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln();
    close(found.kl, kl, 1e-7, 0.0, "kl");
    close(found.kl_batchmean, kl / 2.0, 1e-7, 0.0, "batchmean");
    close(found.tv, 0.25, 1e-7, 0.0, "tv");
    close(found.acceptance_expected, 0.75, 1e-7, 0.0, "acceptance");
    close(
        found.entropy_assistant,
        std::f64::consts::LN_2,
        1e-12,
        0.0,
        "entropy",
    );
    close(found.margin_main, 0.5, 1e-7, 0.0, "margin");
    // Two point masses on different tokens, with probabilities that underflow: JS reaches ln 2, KL stays finite.
    let found = Divergence::between(&[0.0, -2000.0], &[-2000.0, 0.0]).unwrap();
    close(found.js, std::f64::consts::LN_2, 1e-12, 0.0, "js");
    close(found.kl, 2000.0, 1e-12, 0.0, "kl");
}

#[test]
fn of_equal_logits_the_lowest_token_is_the_choice() {
    let agree = |main: &[f32], assistant: &[f32]| {
        let found = Divergence::between(main, assistant).unwrap();
        found.top1_agreement
    };
    assert!(agree(&[0.0, 2.0, 2.0], &[-1.0, 5.0, 0.0]));
    assert!(!agree(&[0.0, 2.0, 2.0], &[-1.0, 0.0, 5.0]));
    assert!(agree(&[1.0, 1.0], &[1.0, 1.0]));
    let found = Divergence::between(&[3.0, 3.0, 0.0], &[0.0; 3]).unwrap();
    assert_eq!(found.margin_main, 0.0);
    assert_eq!(
        Divergence::between(&[7.0], &[-7.0]).unwrap().margin_main,
        1.0
    );
}

/// The table of measures word for word, with nothing saved: probabilities first, then one sum a measure.
fn slow(main: &[f32], assistant: &[f32]) -> [f64; 6] {
    let softmax = |logits: &[f32]| -> Vec<f64> {
        let exps: Vec<f64> = logits.iter().map(|&logit| f64::from(logit).exp()).collect();
        let sum: f64 = exps.iter().sum();
        exps.iter().map(|exp| exp / sum).collect()
    };
    let (p, q) = (softmax(main), softmax(assistant));
    let m: Vec<f64> = p.iter().zip(&q).map(|(p, q)| (p + q) / 2.0).collect();
    let kl =
        |p: &[f64], q: &[f64]| -> f64 { p.iter().zip(q).map(|(p, q)| p * (p.ln() - q.ln())).sum() };
    let entropy = |p: &[f64]| -> f64 { -p.iter().map(|p| p * p.ln()).sum::<f64>() };
    let acceptance = p.iter().zip(&q).map(|(p, q)| p.min(*q)).sum();
    let js = (kl(&p, &m) + kl(&q, &m)) / 2.0;
    [
        kl(&p, &q),
        kl(&q, &p),
        js,
        acceptance,
        entropy(&p),
        entropy(&q),
    ]
}

#[test]
fn what_is_not_a_distribution_is_refused() {
    assert!(Divergence::between(&[0.0], &[0.0, 1.0]).is_err());
    assert!(Divergence::between(&[], &[]).is_err());
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = Divergence::between(&[0.0, 0.0], &[bad, 0.0]).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("logit 0 of the assistant model"),
            "{message}"
        );
    }
    let error = Divergence::between(&[0.0, f32::NAN], &[0.0, 0.0]).unwrap_err();
    assert!(
        error.to_string().contains("logit 1 of the main model"),
        "{error}"
    );
}

proptest! {
    #[test]
    fn relations_that_always_hold(pairs in prop::collection::vec((-30f32..30.0, -30f32..30.0), 1..60)) {
        let (p, q): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
        let found = Divergence::between(&p, &q).unwrap();
        prop_assert!(found.kl >= -1e-12 && found.kl_reverse >= -1e-12);
        prop_assert!(found.tv <= (found.kl.max(0.0) / 2.0).sqrt() + 1e-9);
        prop_assert!(found.js >= -1e-12 && found.js <= std::f64::consts::LN_2 + 1e-12);
        prop_assert!((found.acceptance_expected + found.tv - 1.0).abs() < 1e-12);
        let mirrored = Divergence::between(&q, &p).unwrap();
        prop_assert!((mirrored.kl - found.kl_reverse).abs() < 1e-9);
        let same = Divergence::between(&p, &p).unwrap();
        prop_assert_eq!((same.kl, same.kl_reverse, same.js, same.tv), (0.0, 0.0, 0.0, 0.0));
        prop_assert_eq!(same.acceptance_expected, 1.0);
        let fast = [found.kl, found.kl_reverse, found.js, found.acceptance_expected, found.entropy_main, found.entropy_assistant];
        for (fast, slow) in fast.into_iter().zip(slow(&p, &q)) {
            // Relative to 1 where the measure is nearly 0: each is a sum of terms that large.
            prop_assert!((fast - slow).abs() <= 1e-12 * slow.abs().max(1.0), "{fast} is not {slow}");
        }
        let mean = Divergence::mean([found, mirrored].iter()).unwrap();
        prop_assert!((mean.js - found.js).abs() < 1e-9);
    }
}

/// Every position of every text by itself, read anew by the training network.
#[test]
fn divergences_along_texts_equal_one_position_at_a_time() {
    let pair = fixture_pair(&Device::flex());
    // More tokens than are read together, beginnings in common, some texts twice, some a beginning of others.
    let tokens: Vec<Vec<u32>> = (0..240u32)
        .map(|index| {
            let length = 1 + index * 5 % 23;
            (0..length)
                .map(|place| (place * 29 + index % 80 * u32::from(place > 3)) % 97)
                .collect()
        })
        .collect();
    let texts: Vec<Text> = (tokens.iter().enumerate())
        .map(|(index, tokens)| Text {
            tokens,
            from: [0, tokens.len() - 1, tokens.len() / 2][index % 3],
        })
        .collect();
    assert!(tokens.iter().map(Vec::len).sum::<usize>() > 2048);
    let found = divergences_along(&pair, &texts, &|| Ok(())).unwrap();
    for (text, found) in texts.iter().zip(&found).step_by(7) {
        let positions: Vec<usize> = (text.from..text.tokens.len()).collect();
        assert_eq!(found.len(), positions.len());
        let all = [&pair.main, &pair.assistant].map(|model| {
            let ids: Vec<i32> = text.tokens.iter().map(|&id| id as i32).collect();
            let ids = TensorData::new(ids, [1, text.tokens.len()]);
            let logits = model.logits(Tensor::from_data(ids, &Device::flex()));
            logits.into_data().try_into_vec::<f32>().unwrap()
        });
        for (position, found) in positions.into_iter().zip(found) {
            let row = |all: &[f32]| all[position * 97..][..97].to_vec();
            let expected = Divergence::between(&row(&all[0]), &row(&all[1])).unwrap();
            close(found.kl, expected.kl, 2e-5, 0.1, "kl");
            close(found.js, expected.js, 2e-5, 0.1, "js");
            close(found.tv, expected.tv, 2e-5, 0.1, "tv");
            assert_eq!(found.top1_agreement, expected.top1_agreement);
        }
    }
}
