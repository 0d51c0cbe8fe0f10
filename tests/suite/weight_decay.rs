//! Weight decay against PyTorch with the parameter groups of transformers' Trainer, and across a resume.

use std::sync::LazyLock;

use burn::tensor::Device;
use milepost::model::{Network, named_parameters, next_token_loss};
use milepost::train::{Learner, WeightDecay};
use serde_json::Value;

use crate::harness::{Project, close, fixture, numbers, rows};

/// The values made by `tests/fixtures/weight_decay/make_fixtures.py`.
static REFERENCE: LazyLock<Value> = LazyLock::new(|| {
    let text = include_str!("../fixtures/weight_decay/reference.json");
    serde_json::from_str(text).unwrap()
});

fn learner(run: &Value) -> Learner {
    let model = Network::load(&fixture("main"), &Device::flex().autodiff()).unwrap();
    let decay = WeightDecay {
        rate: REFERENCE["weight_decay"].as_f64().unwrap(),
        norms_and_biases: run["norms_and_biases"].as_bool().unwrap(),
    };
    Learner::new(model, decay)
}

/// One step, clipped at 1; gives the loss and the norm of the gradients.
fn step(learner: &mut Learner, step: &Value) -> (f64, f64) {
    let rows = rows(&step["rows"]);
    let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    learner.accumulate(rows.len() * (rows[0].len() - 1), |model| {
        next_token_loss(model, &rows, None).0
    });
    let loss = learner.gather();
    let norm = learner.gradient_norm();
    learner.clip(norm, 1.0);
    learner.step(step["lr"].as_f64().unwrap());
    (loss, norm)
}

fn parameters(learner: &Learner) -> Vec<(String, Vec<f32>)> {
    let named = named_parameters(&learner.model).into_iter();
    named
        .map(|(name, data)| (name, data.try_into_vec::<f32>().unwrap()))
        .collect()
}

#[test]
fn ten_steps_agree_with_pytorch_in_the_trainers_groups_and_without() {
    for run in REFERENCE["runs"].as_array().unwrap() {
        let mut learner = learner(run);
        for expected in run["steps"].as_array().unwrap() {
            let (loss, norm) = step(&mut learner, expected);
            close(loss, expected["loss"].as_f64().unwrap(), 1e-4, 0.0, "loss");
            let expected = expected["grad_norm"].as_f64().unwrap();
            close(norm, expected, 1e-3, 0.0, "gradient norm");
        }
        let found = parameters(&learner);
        assert_eq!(found.len(), run["norms"].as_object().unwrap().len());
        for (name, values) in found {
            let squares = values.iter().map(|value| f64::from(*value).powi(2));
            let norm = squares.sum::<f64>().sqrt();
            // The loss does not depend on a key bias: its gradient is rounding noise, which AdamW divides by its own size.
            let keys = if name.ends_with("c_attn.bias") {
                values.len() / 3..2 * values.len() / 3
            } else {
                0..0
            };
            if keys.is_empty() {
                close(
                    norm,
                    run["norms"][&name].as_f64().unwrap(),
                    1e-4,
                    0.0,
                    &name,
                );
            }
            let Some(expected) = run["vectors"].get(&name) else {
                continue;
            };
            let expected = numbers(expected);
            let scale = expected
                .iter()
                .fold(0.0, |scale: f64, one| scale.max(one.abs()));
            for (index, (value, expected)) in values.iter().zip(expected).enumerate() {
                if !keys.contains(&index) {
                    close(f64::from(*value), expected, 1e-3, scale, &name);
                }
            }
        }
    }
}

/// The two ways differ by more than the tolerance of the test above, or it would show nothing.
#[test]
fn the_two_ways_are_far_enough_apart_to_tell() {
    let [trainer, everything] = [0, 1].map(|index| &REFERENCE["runs"][index]["vectors"]);
    for (name, of_trainer) in trainer.as_object().unwrap() {
        let (one, other) = (numbers(of_trainer), numbers(&everything[name]));
        let scale = one
            .iter()
            .fold(0.0, |scale: f64, value| scale.max(value.abs()));
        let apart = one.iter().zip(&other).map(|(a, b)| (a - b).abs() / scale);
        assert!(apart.fold(0.0, f64::max) > 4e-3, "{name}");
    }
}

#[test]
fn a_saved_optimiser_goes_on_exactly() {
    for run in REFERENCE["runs"].as_array().unwrap() {
        let steps = run["steps"].as_array().unwrap();
        let mut whole = learner(run);
        for one in steps {
            step(&mut whole, one);
        }
        let mut begun = learner(run);
        for one in &steps[..4] {
            step(&mut begun, one);
        }
        let saved = begun.optimiser.to_bytes().unwrap();
        let mut resumed = learner(run);
        resumed.optimiser = resumed.optimiser.restored(&saved, &begun.model).unwrap();
        resumed.model = begun.model;
        for one in &steps[4..] {
            step(&mut resumed, one);
        }
        assert_eq!(parameters(&whole), parameters(&resumed));
    }
}

/// Moments that are not all there would begin anew, and the run would go on with other numbers.
#[test]
fn an_optimiser_of_another_model_is_refused() {
    let run = &REFERENCE["runs"][0];
    let mut learner = learner(run);
    step(&mut learner, &run["steps"][0]);
    let saved = learner.optimiser.to_bytes().unwrap();
    let restored = |bytes: &[u8]| {
        learner
            .optimiser
            .restored(bytes, &learner.model)
            .map(|_| ())
    };
    assert_eq!(restored(&saved), Ok(()));
    let other = Network::load(&fixture("assistant"), &Device::flex().autodiff()).unwrap();
    let of_other = learner.optimiser.restored(&saved, &other).map(|_| ());
    assert!(of_other.is_err());
    let file = safetensors::SafeTensors::deserialize(&saved).unwrap();
    let with = |steps: &str, leave: &str| {
        let views = file.tensors().into_iter().filter(|(name, _)| name != leave);
        let metadata = [("steps".to_owned(), steps.to_owned())].into();
        safetensors::serialize(views, Some(metadata)).unwrap()
    };
    assert_eq!(restored(&with("1", "")), Ok(()));
    for (steps, leave) in [
        ("1", "mean.wte.weight"),
        ("1", "square.ln_f.bias"),
        ("0", ""),
        ("some", ""),
    ] {
        let refused = restored(&with(steps, leave));
        assert!(refused.is_err(), "{steps} {leave}");
    }
    assert!(restored(&saved[..saved.len() - 1]).is_err());
    assert!(restored(b"").is_err());
}

/// The key of the experiment reaches the optimiser.
#[test]
fn the_experiment_says_what_decays() {
    let project = Project::new();
    let run = |name: &str, set: &str| {
        let settings = format!("train.lr=1e-2 {set}");
        let run = project.run(name, &["--no-hooks", "--set", &settings]);
        let model = Network::load(&run.join("models/main"), &Device::flex()).unwrap();
        let named = named_parameters(&model).into_iter();
        let values = named.map(|(name, data)| (name, data.try_into_vec::<f32>().unwrap()));
        values.collect::<Vec<(String, Vec<f32>)>>()
    };
    let norm = |model: &[(String, Vec<f32>)], part: &str| {
        let parts = model.iter().filter(|(name, _)| name.ends_with(part));
        let squares = parts
            .flat_map(|(_, values)| values)
            .map(|one| f64::from(*one).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let none = run("none", "train.weight_decay=0");
    let usual = run("usual", "train.weight_decay=10");
    let everything = run(
        "all",
        "train.weight_decay=10 train.decay_norms_and_biases=true",
    );
    for part in ["wte.weight", "c_fc.weight"] {
        assert!(norm(&usual, part) < 0.9 * norm(&none, part), "{part}");
    }
    for part in ["ln_1.weight", "ln_f.weight"] {
        assert!(norm(&usual, part) > 0.95 * norm(&none, part), "{part}");
        assert!(norm(&everything, part) < 0.9 * norm(&usual, part), "{part}");
    }
}
