//! A pair of gpt2's and distilgpt2's size against PyTorch and transformers, when `tests/fixtures/full_size/make_reference.py` has made it.

use std::path::PathBuf;

use burn::tensor::Device;
use milepost::data::tokenizer::Tokenizer;
use milepost::decode::greedy;
use milepost::measure::divergence::Divergence;
use milepost::model::{KvPool, Network, NewToken, next_token_loss};
use milepost::train::Learner;
use serde_json::Value;

use crate::harness::{close, ids, numbers};

/// The reference and its folder, or None with a word that the test skips.
fn reference() -> Option<(PathBuf, Value)> {
    let Some(folder) = std::env::var_os("MILEPOST_REFERENCE").map(PathBuf::from) else {
        println!("skipped: MILEPOST_REFERENCE is not set");
        return None;
    };
    let text = std::fs::read_to_string(folder.join("reference.json")).unwrap();
    Some((folder, serde_json::from_str(&text).unwrap()))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().unwrap().iter()
}

#[test]
fn every_text_has_the_ids_of_transformers() {
    let Some((folder, reference)) = reference() else {
        return;
    };
    let tokenizer = Tokenizer::load(&folder.join("main")).unwrap();
    let mut count = 0;
    for (text, expected) in list(&reference["texts"]).zip(list(&reference["encoded"])) {
        let text = text.as_str().unwrap();
        let found = tokenizer.encode(text).unwrap();
        assert_eq!(found, ids(expected), "{text:?}");
        assert_eq!(tokenizer.decode(&found).unwrap(), text);
        count += 1;
    }
    println!("{count} texts have the same ids");
    assert!(count > 8000);
}

fn last_logits(model: &Network, prompt: &[u32]) -> Vec<f32> {
    let mut pool = KvPool::new(model.config());
    let mut sequence = Vec::new();
    pool.resize(&mut sequence, prompt.len());
    let new: Vec<NewToken> = NewToken::of(prompt, &sequence, 0).collect();
    let hidden = model.read(&new, &mut pool);
    model.logits_of(hidden.narrow(0, prompt.len() - 1, 1))
}

#[test]
fn logits_divergences_and_text_are_those_of_pytorch() {
    let Some((folder, reference)) = reference() else {
        return;
    };
    let start = std::time::Instant::now();
    let main = Network::load(&folder.join("main"), &Device::flex()).unwrap();
    println!(
        "gpt2's size loaded in {:.2} s",
        start.elapsed().as_secs_f64()
    );
    let assistant = Network::load(&folder.join("assistant"), &Device::flex()).unwrap();
    let (mut furthest, mut kl_furthest) = (0f64, 0f64);
    for case in list(&reference["at_prompts"]) {
        let prompt = ids(&case["ids"]);
        let [p, q] = [&main, &assistant].map(|model| last_logits(model, &prompt));
        for (found, expected) in [(&p, &case["main"]), (&q, &case["assistant"])] {
            for (found, expected) in found.iter().zip(numbers(expected)) {
                close(f64::from(*found), expected, 1e-4, 1.0, "logit");
                furthest = furthest.max((f64::from(*found) - expected).abs());
            }
        }
        let (kl, expected) = (
            Divergence::between(&p, &q).unwrap().kl,
            case["kl"].as_f64().unwrap(),
        );
        kl_furthest = kl_furthest.max((kl / expected - 1.0).abs());
        close(kl, expected, 1e-6, 0.0, "kl");
    }
    println!("logits within {furthest:.1e}, KL within {kl_furthest:.1e} relative");
    for case in list(&reference["decoded"]) {
        let found = greedy(&main, &ids(&case["ids"]), 20, Some(50256)).unwrap();
        assert_eq!(found, ids(&case["tokens"]));
    }
}

#[test]
fn twenty_steps_on_ag_news_have_the_losses_of_pytorch() {
    let Some((folder, reference)) = reference() else {
        return;
    };
    let model = Network::load(&folder.join("main"), &Device::flex().autodiff()).unwrap();
    let mut learner = Learner::new(model, 0.0);
    let stream = ids(&reference["stream"]);
    let mut furthest = 0f64;
    for (rows, expected) in stream.chunks(128).zip(numbers(&reference["losses"])) {
        let rows: Vec<&[u32]> = rows.chunks(64).collect();
        learner.accumulate(2 * 63, |model| next_token_loss(model, &rows, None).0);
        let loss = learner.gather();
        learner.clip(learner.gradient_norm(), 1.0);
        learner.step(5e-5);
        close(loss, expected, 1e-3, 0.0, "loss");
        furthest = furthest.max((loss / expected - 1.0).abs());
    }
    println!("20 losses within {furthest:.1e} relative");
}
