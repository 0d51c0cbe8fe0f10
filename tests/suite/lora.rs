//! Adapters against PEFT (tests/fixtures/lora), and against themselves.

mod files;
mod layers;
mod measures;
mod objectives;
mod program;
mod runs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use burn::tensor::{Device, Int, Tensor, TensorData};
use milepost::decode::greedy;
use milepost::model::{Base, Lora, Network, named_parameters, next_token_loss};
use milepost::train::Learner;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::harness::{close, numbers, rows};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The values made by `tests/fixtures/lora/make_fixtures.py`.
static REFERENCE: LazyLock<Value> = LazyLock::new(|| {
    let text = include_str!("../fixtures/lora/reference.json");
    serde_json::from_str(text).unwrap()
});

/// The adapters, each with what PEFT makes of it.
fn adapters() -> impl Iterator<Item = (&'static str, &'static Value)> {
    let adapters = REFERENCE["adapters"].as_object().unwrap().iter();
    adapters.map(|(name, expected)| (name.as_str(), expected))
}

fn base(path: &str, device: &Device) -> Network {
    Network::load(&fixtures().join(path), device).unwrap()
}

/// An adapter of the fixtures beside its base.
fn load(name: &str, device: &Device) -> Network {
    let path = REFERENCE["adapters"][name]["base"].as_str().unwrap();
    let folder = fixtures().join("lora").join(name);
    base(path, device).with_adapter(&folder).unwrap()
}

fn on_flex() -> Device {
    Device::flex()
}

fn slices(rows: &[Vec<u32>]) -> Vec<&[u32]> {
    rows.iter().map(Vec::as_slice).collect()
}

fn logits(model: &Network, rows: &[Vec<u32>]) -> Vec<f32> {
    let shape = [rows.len(), rows[0].len()];
    let ids: Vec<i32> = rows.iter().flatten().map(|&id| id as i32).collect();
    let ids: Tensor<2, Int> = Tensor::from_data(TensorData::new(ids, shape), &model.device());
    model.logits(ids).into_data().try_into_vec::<f32>().unwrap()
}

fn parameters(model: &Network) -> BTreeMap<String, Vec<f32>> {
    let named = named_parameters(model).into_iter();
    named
        .map(|(name, data)| (name, data.try_into_vec::<f32>().unwrap()))
        .collect()
}

fn settings(r: usize, targets: &[&str]) -> Lora {
    Lora {
        r,
        alpha: 4.0,
        target_modules: targets.iter().map(|&name| name.to_owned()).collect(),
        dropout: 0.0,
        use_rslora: false,
    }
}

fn some_base() -> Base {
    Base {
        name: "the/base".to_owned(),
        revision: None,
    }
}

fn fresh(model: Network, lora: &Lora, seed: u64) -> Network {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    model
        .with_fresh_adapters(lora, some_base(), &mut rng)
        .unwrap()
}

#[track_caller]
fn near(found: &[f32], expected: &[f32], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0.0, |one: f32, x| one.max(x.abs()));
    for (found, expected) in found.iter().zip(expected) {
        let (found, expected) = (f64::from(*found), f64::from(*expected));
        close(found, expected, tolerance, f64::from(scale), what);
    }
}

fn floats(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|one| one as f32).collect()
}

fn accumulate(learner: &mut Learner, batch: &[Vec<u32>]) {
    let count = batch.iter().map(|row| row.len() - 1).sum();
    learner.accumulate(count, |model| {
        next_token_loss(model, &slices(batch), None).0
    });
}

#[test]
fn logits_are_pefts() {
    for (name, expected) in adapters() {
        let ids = rows(&expected["ids"]);
        let found = logits(&load(name, &on_flex()), &ids);
        near(&found, &floats(&expected["logits"]), 1e-4, name);
        let without = base(expected["base"].as_str().unwrap(), &on_flex());
        let moved = logits(&without, &ids).into_iter().zip(&found);
        assert!(
            moved.into_iter().any(|(a, b)| (a - b).abs() > 0.05),
            "{name}"
        );
    }
}

/// No other parameter has one: not even a base weight's was made.
#[test]
fn gradients_of_adapters_are_pefts() {
    for (name, expected) in adapters() {
        let mut learner = Learner::new(load(name, &on_flex().autodiff()), 0.0);
        accumulate(&mut learner, &rows(&expected["ids"]));
        learner.gather();
        let gradients = learner.gradients();
        let names: Vec<String> = gradients
            .norms()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let known = expected["gradients"].as_object().unwrap();
        assert_eq!(names.len(), known.len(), "{name}: {names:?}");
        for parameter in names {
            let found = gradients.values(&parameter).unwrap();
            let expected = floats(&known[&parameter]);
            near(&found, &expected, 1e-4, &format!("{name} {parameter}"));
        }
    }
}

#[test]
fn twenty_steps_of_adamw_are_pytorchs() {
    for (name, expected) in adapters() {
        let model = load(name, &on_flex().autodiff());
        let before = parameters(&model);
        let mut learner = Learner::new(model, REFERENCE["weight_decay"].as_f64().unwrap());
        for step in expected["steps"].as_array().unwrap() {
            accumulate(&mut learner, &rows(&step["rows"]));
            let loss = learner.gather();
            let norm = learner.gradient_norm();
            learner.clip(norm, 1.0);
            learner.step(step["lr"].as_f64().unwrap());
            close(loss, step["loss"].as_f64().unwrap(), 1e-3, 0.0, name);
            close(norm, step["grad_norm"].as_f64().unwrap(), 1e-3, 0.0, name);
        }
        for (parameter, values) in parameters(&learner.model) {
            let is_adapter = parameter.contains(".lora_");
            assert_eq!(values != before[&parameter], is_adapter, "{parameter}");
        }
        // The optimiser keeps nothing of the base.
        let bytes = learner.optimiser.to_bytes().unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(
            file.len(),
            2 * expected["gradients"].as_object().unwrap().len()
        );
        assert!(file.names().iter().all(|name| name.contains(".lora_")));
    }
}

#[test]
fn fresh_adapters_add_nothing_and_are_drawn_as_pefts() {
    for (name, expected) in adapters() {
        let path = expected["base"].as_str().unwrap();
        let lora = load(name, &on_flex()).adapters().unwrap().clone();
        for device in [on_flex(), on_flex().autodiff()] {
            let model = fresh(base(path, &device), &lora, 1);
            let ids = rows(&expected["ids"]);
            assert!(
                logits(&model, &ids) == logits(&base(path, &device), &ids),
                "{name}"
            );
            let same = fresh(base(path, &device), &lora, 1);
            let other = fresh(base(path, &device), &lora, 2);
            assert!(
                parameters(&model) == parameters(&same) && parameters(&model) != parameters(&other)
            );
        }
        for (parameter, values) in parameters(&fresh(base(path, &on_flex()), &lora, 3)) {
            if parameter.ends_with("lora_B.weight") {
                assert!(values.iter().all(|value| *value == 0.0), "{parameter}");
            }
            if parameter.ends_with("lora_A.weight") {
                let bound = 1.0 / ((values.len() / lora.r) as f32).sqrt();
                let largest = values.iter().fold(0.0, |one: f32, x| one.max(x.abs()));
                assert!(largest <= bound && largest > 0.75 * bound, "{parameter}");
                // PEFT's, measured against the same bound.
                let pefts = expected["bounds"][&parameter].as_f64().unwrap();
                assert!((0.75..=1.0001).contains(&pefts), "{parameter} {pefts}");
            }
        }
    }
}

/// A uniform draw of many numbers has the variance of its bounds: `1 / (3 in)`.
#[test]
fn the_first_factor_is_uniform() {
    let path = "families/llama";
    let model = fresh(base(path, &on_flex()), &settings(500, &["q_proj"]), 5);
    let all = parameters(&model);
    let values = &all["layers.0.self_attn.q_proj.lora_A.weight"];
    let count = values.len() as f64;
    let mean = values.iter().map(|one| f64::from(*one)).sum::<f64>() / count;
    let square = values
        .iter()
        .map(|one| f64::from(*one).powi(2))
        .sum::<f64>()
        / count;
    close(square, 1.0 / (3.0 * 16.0), 0.05, 0.0, "variance");
    assert!(mean.abs() < 4.0 * (square / count).sqrt(), "{mean}");
}

#[test]
fn merged_weights_compute_the_same() {
    for (name, expected) in adapters() {
        let model = load(name, &on_flex());
        let merged = model.clone().merged();
        assert!(merged.adapters().is_none());
        let ids = rows(&expected["ids"]);
        near(&logits(&merged, &ids), &logits(&model, &ids), 1e-5, name);
        let names: Vec<String> = parameters(&merged).into_keys().collect();
        let path = expected["base"].as_str().unwrap();
        let own: Vec<String> = parameters(&base(path, &on_flex())).into_keys().collect();
        assert_eq!(names, own);
        // New tokens are read by the same sum.
        let ends = model.ends().clone();
        let [slow, fast] = [&merged, &model].map(|model| {
            let prompts = [vec![3, 1, 4], vec![1, 5]];
            let prompts = prompts.iter().map(|prompt| prompt.as_slice());
            prompts
                .map(|prompt| greedy(model, prompt, 8, &ends).unwrap())
                .collect::<Vec<_>>()
        });
        assert_eq!(slow, fast, "{name}");
    }
    // All weights of a merged network are trained.
    let mut learner = Learner::new(load("gpt2", &on_flex().autodiff()).merged(), 0.0);
    accumulate(&mut learner, &rows(&REFERENCE["adapters"]["gpt2"]["ids"]));
    learner.gather();
    let parameters = parameters(&learner.model).len();
    assert_eq!(learner.gradients().norms().len(), parameters);
}
