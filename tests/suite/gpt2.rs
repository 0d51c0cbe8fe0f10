//! The network, its loss, gradients and optimiser against PyTorch; its caches and its files against itself.

use burn::tensor::{Device, Int, Tensor, TensorData};
use milepost::model::{KvPool, Network, NewToken, Pair, named_parameters, next_token_loss};
use milepost::train::{Decay, Learner, Schedule, WeightDecay};
use serde_json::Value;

use crate::harness::{REFERENCE, close, fixture, numbers, rows};

fn main_model(device: &Device) -> Network {
    Network::load(&fixture("main"), device).unwrap()
}

fn slices(rows: &[Vec<u32>]) -> Vec<&[u32]> {
    rows.iter().map(Vec::as_slice).collect()
}

fn compare_digest(expected: &Value, norms: &[(String, f64)], values: impl Fn(&str) -> Vec<f32>) {
    let expected_norms = expected["norms"].as_object().unwrap();
    assert_eq!(norms.len(), expected_norms.len());
    let largest = norms
        .iter()
        .fold(0.0, |largest: f64, (_, norm)| largest.max(*norm));
    for (name, norm) in norms {
        close(
            *norm,
            expected_norms[name].as_f64().unwrap(),
            1e-4,
            1e-3 * largest,
            name,
        );
    }
    for (name, expected) in expected["values"].as_object().unwrap() {
        let (expected, found) = (numbers(expected), values(name));
        let scale = expected
            .iter()
            .fold(0.0, |scale: f64, value| scale.max(value.abs()));
        for (index, value) in expected.iter().enumerate() {
            // The loss does not depend on a key bias (softmax takes no notice of what is added to a whole row): its gradient is
            // rounding noise, which AdamW divides by its own size. After steps it has nothing to compare.
            if name == "h.0.attn.c_attn.bias" && (32..64).contains(&index) {
                continue;
            }
            close(f64::from(found[index]), *value, 1e-4, scale, name);
        }
    }
}

#[test]
fn logits_and_loss_agree_with_pytorch() {
    let reference = &REFERENCE["forward"];
    let batch = rows(&reference["ids"]);
    let model = main_model(&Device::flex());
    let ids: Vec<i32> = batch.iter().flatten().map(|&id| id as i32).collect();
    let ids: Tensor<2, Int> = Tensor::from_data(TensorData::new(ids, [3, 20]), &Device::flex());
    let logits = model.logits(ids).into_data().try_into_vec::<f32>().unwrap();
    for (found, expected) in logits.iter().zip(numbers(&reference["logits"])) {
        close(f64::from(*found), expected, 1e-4, 1.0, "logit");
    }
    let (sum, count) = next_token_loss(&model, &slices(&batch), None);
    assert_eq!(count, 3 * 19);
    let loss = f64::from(sum.into_scalar::<f32>()) / count as f64;
    close(loss, reference["loss"].as_f64().unwrap(), 1e-5, 0.0, "loss");
}

#[test]
fn gradients_agree_with_pytorch() {
    let reference = &REFERENCE["forward"];
    let batch = rows(&reference["ids"]);
    let mut learner = Learner::new(main_model(&Device::flex().autodiff()), 0.0);
    learner.accumulate(3 * 19, |model| {
        next_token_loss(model, &slices(&batch), None).0
    });
    learner.gather();
    let norm = reference["grad_norm"].as_f64().unwrap();
    close(learner.gradient_norm(), norm, 1e-4, 0.0, "global norm");
    let gradients = learner.gradients();
    let values = |name: &str| gradients.values(name).unwrap();
    compare_digest(&reference["gradients"], &gradients.norms(), values);
}

#[test]
fn five_adamw_steps_agree_with_pytorch() {
    for run in REFERENCE["training"].as_array().unwrap() {
        let model = main_model(&Device::flex().autodiff());
        let decay = WeightDecay {
            rate: run["weight_decay"].as_f64().unwrap(),
            norms_and_biases: true,
        };
        let mut learner = Learner::new(model, decay);
        for step in run["steps"].as_array().unwrap() {
            let micro_batches: Vec<Vec<Vec<u32>>> = step["micro_batches"]
                .as_array()
                .unwrap()
                .iter()
                .map(rows)
                .collect();
            let predictions = micro_batches.iter().map(|batch| batch.len() * 15).sum();
            for batch in &micro_batches {
                learner.accumulate(predictions, |model| {
                    next_token_loss(model, &slices(batch), None).0
                });
            }
            close(
                learner.gather(),
                step["loss"].as_f64().unwrap(),
                1e-4,
                0.0,
                "loss",
            );
            let norm = learner.gradient_norm();
            close(
                norm,
                step["grad_norm"].as_f64().unwrap(),
                1e-4,
                0.0,
                "gradient norm",
            );
            learner.clip(norm, 1.0);
            assert!(learner.gradient_norm() <= 1.0 + 1e-5);
            learner.step(step["lr"].as_f64().unwrap());
        }
        let parameters: Vec<(String, Vec<f32>)> = named_parameters(&learner.model)
            .into_iter()
            .map(|(name, data)| (name, data.try_into_vec::<f32>().unwrap()))
            .collect();
        let norms: Vec<(String, f64)> = parameters
            .iter()
            .map(|(name, values)| {
                let squares = values.iter().map(|value| f64::from(*value).powi(2));
                (name.clone(), squares.sum::<f64>().sqrt())
            })
            .collect();
        let values = |name: &str| {
            parameters
                .iter()
                .find(|(other, _)| other == name)
                .unwrap()
                .1
                .clone()
        };
        compare_digest(&run["parameters"], &norms, values);
    }
}

#[test]
fn learning_rates_are_those_of_transformers() {
    for case in REFERENCE["schedules"].as_array().unwrap() {
        let decay = match case["name"].as_str().unwrap() {
            "linear" => Decay::Linear,
            "cosine" => Decay::Cosine,
            _ => Decay::Constant,
        };
        let schedule = Schedule {
            peak: 1.0,
            warmup: case["warmup"].as_u64().unwrap(),
            total: case["total"].as_u64().unwrap(),
            decay,
        };
        for (step, expected) in numbers(&case["rates"]).into_iter().enumerate() {
            close(schedule.rate(step as u64), expected, 1e-12, 1.0, "rate");
        }
    }
}

#[test]
fn reading_on_equals_reading_at_once() {
    let model = main_model(&Device::flex());
    let ids = &rows(&REFERENCE["forward"]["ids"])[0];
    let mut pool = KvPool::new(model.config());
    // Two sequences: the text, and another that shares its first 8 tokens and is longer for a while.
    let (mut sequence, mut pieces) = (Vec::new(), Vec::new());
    let read_to = |pool: &mut KvPool, sequence: &mut Vec<u32>, text: &[u32]| {
        let read = sequence.len();
        pool.resize(sequence, text.len());
        let new: Vec<NewToken> = NewToken::of(text, sequence, read).collect();
        model.read(&new, pool)
    };
    pieces.push(read_to(&mut pool, &mut sequence, &ids[..7]));
    pieces.push(read_to(&mut pool, &mut sequence, &ids[..8]));
    let mut other = pool.share(&sequence);
    let longer = [&ids[..8], &[1, 2, 3, 4, 5]].concat();
    read_to(&mut pool, &mut other, &longer);
    pieces.push(read_to(&mut pool, &mut sequence, &ids[..12]));
    // A draft that is rejected must leave no trace, and its slots are used again.
    let rejected = [&ids[..12], &[1, 2, 3]].concat();
    read_to(&mut pool, &mut sequence, &rejected);
    assert_eq!(pool.len(), 15 + 5);
    pool.resize(&mut sequence, 12);
    pool.resize(&mut other, 0);
    assert_eq!(pool.len(), 12);
    pieces.push(read_to(&mut pool, &mut sequence, ids));
    assert_eq!(pool.len(), 20);
    let cached = Tensor::cat(pieces, 0);
    let whole = model.read_texts(&[&ids[..]], &mut pool).hidden;
    let difference: f32 = (whole.clone() - cached).abs().max().into_scalar();
    assert!(difference < 1e-4, "{difference}");
    let batched = model.hidden(
        Tensor::from_data(
            [ids.iter()
                .map(|&id| id as i32)
                .collect::<Vec<_>>()
                .try_into()
                .unwrap(); 1] as [[i32; 20]; 1],
            &Device::flex(),
        ),
        None,
    );
    let difference: f32 = (whole - batched.reshape([20, 32]))
        .abs()
        .max()
        .into_scalar();
    assert!(difference < 1e-4, "{difference}");
}

#[test]
fn what_is_saved_is_loaded_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let model = main_model(&Device::flex());
    model.save(folder.path()).unwrap();
    let again = Network::load(folder.path(), &Device::flex()).unwrap();
    assert_eq!(again.config_json(), model.config_json());
    let (first, second) = (named_parameters(&model), named_parameters(&again));
    for ((name, data), (other_name, other)) in first.iter().zip(&second) {
        assert_eq!(name, other_name);
        assert_eq!(data.as_bytes(), other.as_bytes(), "{name}");
    }
    let leftovers = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(leftovers, 2, "nothing may be left beside the two files");
}

#[test]
fn unusable_weights_are_refused_by_name() {
    let load = |change: &dyn Fn(&std::path::Path)| {
        let folder = tempfile::tempdir().unwrap();
        for name in ["config.json", "model.safetensors"] {
            std::fs::copy(fixture("main").join(name), folder.path().join(name)).unwrap();
        }
        change(folder.path());
        Network::load(folder.path(), &Device::flex())
            .unwrap_err()
            .to_string()
    };
    let edit = |from: &'static str, to: &'static str| {
        move |folder: &std::path::Path| {
            let path = folder.join("config.json");
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{text}");
            std::fs::write(&path, text.replace(from, to)).unwrap();
        }
    };
    assert!(load(&edit("gelu_new", "relu")).contains("`activation_function` is relu"));
    assert!(
        load(&edit("\"n_layer\": 2", "\"n_layer\": 3")).contains("`h.2.ln_1.weight` is missing")
    );
    assert!(
        load(&edit("\"vocab_size\": 97", "\"vocab_size\": 98"))
            .contains("wte.weight` has shape [97, 32]")
    );
    let truncated = load(&|folder| {
        let path = folder.join("model.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    });
    assert!(
        truncated.contains("not a readable safetensors file"),
        "{truncated}"
    );
    let missing = load(&|folder| std::fs::remove_file(folder.join("model.safetensors")).unwrap());
    assert!(
        missing.contains("no weights here; expected model.safetensors"),
        "{missing}"
    );
    let refused = |key: &'static str| load(&edit("\"GPT2LMHeadModel\"", key));
    assert!(refused("\"LlamaForCausalLM\"").contains("`architectures` is `LlamaForCausalLM`"));
    let other = load(&|folder| {
        std::fs::write(folder.join("config.json"), r#"{"model_type": "falcon"}"#).unwrap();
    });
    let message = "config.json: `model_type` is `falcon`, but only networks of these families are supported: `gpt2`, `llama`, `mistral`, `qwen2`, `qwen3`, `smollm3`, `gpt_neox`";
    assert!(other.ends_with(message), "{other}");
    let fewer = load(&edit("\"n_layer\": 2", "\"n_layer\": 1"));
    assert!(
        fewer.contains("h.1.attn.c_attn.bias` has no place"),
        "{fewer}"
    );
}

/// Optimisers save the names of parameters, which are those of the model's checkpoint.
#[test]
fn the_family_is_in_no_path_of_a_parameter() {
    let mut learner = Learner::new(
        main_model(&Device::flex().autodiff()),
        WeightDecay::default(),
    );
    learner.accumulate(3, |model| next_token_loss(model, &[&[1, 2, 3, 4]], None).0);
    learner.gather();
    learner.step(1e-3);
    let bytes = learner.optimiser.to_bytes().unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("\"mean.h.1.attn.c_attn.weight\""));
    assert!(!text.contains("Gpt2"));
}

#[test]
fn a_weight_that_leaves_the_finite_numbers_is_named() {
    let mut learner = Learner::new(
        main_model(&Device::flex().autodiff()),
        WeightDecay::default(),
    );
    assert_eq!(learner.not_finite(), None);
    learner.accumulate(3, |model| next_token_loss(model, &[&[1, 2, 3, 4]], None).0);
    learner.gather();
    // Beyond single precision.
    learner.step(1e39);
    let (tensor, value) = learner.not_finite().unwrap();
    assert!(
        tensor.contains("wte.weight") && !value.is_finite(),
        "{tensor} {value}"
    );
}

#[test]
fn models_of_different_vocabularies_are_no_pair() {
    let main = milepost::mini::model(milepost::model::Role::Main, &Device::flex()).unwrap();
    let error = Pair::new(main, main_model(&Device::flex())).unwrap_err();
    assert!(error.to_string().contains("97"), "{error}");
}
