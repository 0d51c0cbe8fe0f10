//! Training in bf16 and f16: against PyTorch's autocast, in whole runs, and what is refused.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use milepost::model::{Network, Precision, TrainingPass, next_token_loss};
use milepost::random::{Purpose, stream};
use milepost::train::Learner;
use serde_json::Value;

use crate::harness::{Project, close, fixture, milestones, numbers, other_devices, timeless};

const STEPS: usize = 100;

fn reference() -> Value {
    let text = include_str!("../fixtures/precision/reference.json");
    serde_json::from_str(text).unwrap()
}

/// The rows of each step, `[step][row][time]`, as `make_fixtures.py` makes them.
fn text() -> Vec<Vec<Vec<u32>>> {
    let (mut state, mut token) = (1u64, 0u64);
    let mut next = || {
        state = (state * 1_103_515_245 + 12345) % (1 << 31);
        token = (token * 5 + 1 + (state >> 16) % 3) % 97;
        token as u32
    };
    let mut row = || (0..33).map(|_| next()).collect();
    (0..STEPS)
        .map(|_| (0..4).map(|_| row()).collect())
        .collect()
}

/// The devices to try: flex, and those of MILEPOST_TEST_DEVICES.
fn devices() -> Vec<(String, Device)> {
    let flex = ("flex".to_owned(), Device::flex());
    [flex].into_iter().chain(other_devices()).collect()
}

fn learner(device: &Device, precision: Precision) -> Learner {
    let model = Network::load(&fixture("main"), &device.clone().autodiff()).unwrap();
    let model = model.with_dropout(0.0);
    let learner = Learner::new(model, 0.0);
    match precision {
        Precision::F32 | Precision::Bf16 => learner,
        Precision::F16 => learner.with_loss_scale(),
    }
}

/// The gradients of a step, summed over its rows one by one.
fn pass_over(learner: &mut Learner, rows: &[Vec<u32>], precision: Precision, factor: f64) {
    let predictions = rows.iter().map(|row| row.len() - 1).sum();
    let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    learner.accumulate(predictions, |model| {
        let keys = stream(1, Purpose::Dropout, 0, 0);
        let mut pass = TrainingPass::new(keys).in_precision(precision);
        let sum: Tensor<1> = next_token_loss(model, &rows, Some(&mut pass)).0;
        sum * factor
    });
}

fn losses(device: &Device, precision: Precision, steps: usize) -> Vec<f64> {
    let mut learner = learner(device, precision);
    let losses = text().into_iter().take(steps).map(|rows| {
        pass_over(&mut learner, &rows, precision, 1.0);
        let loss = learner.gather();
        learner.clip(learner.gradient_norm(), 1.0);
        learner.step(1e-3);
        loss
    });
    losses.collect()
}

/// The loss of every step is within 0.2% of that of PyTorch in the same precision, and of that in f32. It is no loss of f32 either.
#[test]
fn a_hundred_steps_lose_what_they_lose_by_autocast() {
    let reference = reference();
    for (name, device) in devices() {
        // Software Vulkan takes its time.
        let steps = if name == "wgpu" { 5 } else { STEPS };
        for precision in Precision::ALL {
            if let Err(reason) = precision.check(&device) {
                println!("{name} has no {}: {reason}", precision.as_str());
                continue;
            }
            let found = losses(&device, precision, steps);
            let same = numbers(&reference[precision.as_str()]["losses"]);
            let single = numbers(&reference["f32"]["losses"]);
            assert_eq!(same.len(), STEPS);
            let furthest = |others: &[f64]| {
                let off = found
                    .iter()
                    .zip(others)
                    .map(|(one, other)| (one / other - 1.0).abs());
                off.fold(0.0, f64::max)
            };
            let what = format!("{name}, {}", precision.as_str());
            let (off, off_single) = (furthest(&same), furthest(&single));
            println!(
                "{what}: losses of {steps} steps within {off:.1e} of PyTorch's, {off_single:.1e} of those in f32"
            );
            assert!(off < 2e-3 && off_single < 2e-3, "{what}");
            let is_single = off_single < 1e-5;
            assert_eq!(is_single, precision == Precision::F32, "{what}");
        }
    }
}

/// Every tensor's gradient points where PyTorch's does in the same precision, and where that in f32 does, and is as long.
#[test]
fn gradients_are_those_of_autocast() {
    let reference = reference();
    for (name, device) in devices() {
        for precision in [Precision::Bf16, Precision::F16] {
            if precision.check(&device).is_err() {
                continue;
            }
            let mut learner = learner(&device, precision);
            pass_over(&mut learner, &text()[0], precision, 1.0);
            learner.gather();
            let gradients = learner.gradients();
            let mut lowest = 1.0f64;
            for single in [false, true] {
                let kind = if single { "f32" } else { precision.as_str() };
                let tensors = reference[kind]["gradients"].as_object().unwrap();
                assert_eq!(tensors.len(), 28);
                for (tensor, expected) in tensors {
                    let what = format!("{name}, {} against {kind}, {tensor}", precision.as_str());
                    let found = gradients.values(tensor).unwrap();
                    let norm = found
                        .iter()
                        .map(|&one| f64::from(one).powi(2))
                        .sum::<f64>()
                        .sqrt();
                    close(norm, expected["norm"].as_f64().unwrap(), 5e-3, 0.0, &what);
                    let stride = expected["stride"].as_u64().unwrap() as usize;
                    let some: Vec<f64> = found
                        .iter()
                        .step_by(stride)
                        .map(|&one| one.into())
                        .collect();
                    let cosine = cosine(&some, &numbers(&expected["values"]));
                    assert!(cosine > 0.9995, "{what}: {cosine}");
                    lowest = lowest.min(cosine);
                }
            }
            println!(
                "{name}, {}: the lowest cosine is {lowest:.6}",
                precision.as_str()
            );
        }
    }
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Half precision cannot hold these gradients at the first scale: steps that overflow move nothing, and the scale shrinks until one holds.
#[test]
fn a_step_that_overflows_moves_nothing_and_halves_the_scale() {
    let mut learner = learner(&Device::flex(), Precision::F16);
    let weights = |learner: &Learner| {
        milepost::model::named_parameters(&learner.model)[0]
            .1
            .clone()
    };
    let before = weights(&learner);
    let rows = text().remove(0);
    let scale = |learner: &Learner| learner.loss_scale().unwrap().value();
    let mut scales = vec![scale(&learner)];
    while weights(&learner) == before {
        pass_over(&mut learner, &rows, Precision::F16, 1e3);
        assert!(learner.gather().is_finite());
        let norm = learner.gradient_norm();
        assert!(norm.is_finite());
        learner.clip(norm, 1.0);
        learner.step(1e-3);
        scales.push(scale(&learner));
        assert!(scales.len() < 20);
    }
    // Of a gradient of the logits, at most 1000 times 1 / 128, half precision holds 65504.
    assert!(scales.len() > 2 && scales[1] == 32768.0, "{scales:?}");
    // The last step held, so that it has the scale of the one before.
    assert!(scales.is_sorted_by(|one, next| *next == one / 2.0 || next == one));
    assert_eq!(scales[scales.len() - 1], scales[scales.len() - 2]);
}

const SET: [&str; 2] = ["--set", "train.save='every 3 steps'"];

#[test]
fn plan_shows_the_precision_and_a_run_is_made_of_it() {
    let project = Project::new();
    let plan = |set: &[&str]| {
        let arguments = [&["plan", "small.toml"], set].concat();
        let shown = project.milepost(&arguments).output().unwrap();
        assert!(shown.status.success());
        let both = [shown.stdout, shown.stderr].concat();
        String::from_utf8_lossy(&both).into_owned()
    };
    let usual = plan(&[]);
    assert!(usual.contains("precision = \"f32\"") && !usual.contains("multiplies in f32"));
    let half = plan(&["--set", "train.precision=bf16"]);
    assert!(half.contains("precision = \"bf16\""), "{half}");
    assert!(
        half.contains("`flex` rounds to bf16 and multiplies in f32"),
        "{half}"
    );
    let run = project.run("half", &["--set", "train.precision=bf16"]);
    let whole = project.run("single", &[]);
    let losses = |run: &Path| -> Vec<f64> {
        let lines = milestones(run).into_iter();
        let trained = lines.filter(|line| line["source"] == "train");
        trained
            .map(|line| line["scalars"]["train/main/loss"].as_f64().unwrap())
            .collect()
    };
    let (half, single) = (losses(&run), losses(&whole));
    assert_eq!(half.len(), 6);
    assert_ne!(half, single);
    for (half, single) in half.iter().zip(&single) {
        close(*half, *single, 1e-2, 0.0, "loss");
    }
    let experiment = std::fs::read_to_string(run.join("experiment.toml")).unwrap();
    assert!(experiment.contains("precision = \"bf16\""));
}

#[test]
fn another_precision_is_refused() {
    let project = Project::new();
    let said = project.fails(&["plan", "small.toml", "--set", "train.precision=fp8"], 2);
    assert!(said.contains("fp8") && said.contains("bf16"), "{said}");
    let run = project.run("a", &SET);
    std::fs::remove_file(run.join("outcome.json")).unwrap();
    std::fs::remove_dir_all(run.join("checkpoints/step-00000006")).unwrap();
    let resume = ["finetune", "small.toml", "--resume", "a"];
    let extend = [&resume[..], &["--extend", "train.precision=bf16"]].concat();
    let said = project.fails(&extend, 2);
    assert!(said.contains("train.precision"), "{said}");
    let path = run.join("experiment.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let other = text.replace("precision = \"f32\"", "precision = \"bf16\"");
    assert_ne!(text, other);
    std::fs::write(&path, other).unwrap();
    let said = project.fails(&resume, 3);
    assert!(said.contains("experiment.toml"), "{said}");
}

#[test]
fn a_run_in_f16_goes_on_with_the_scale_of_its_checkpoint() {
    let project = Project::new();
    let set = ["--set", "train.save='every 3 steps' train.precision=f16"];
    let whole = project.run("whole", &set);
    let run = project.run("a", &set);
    std::fs::remove_file(run.join("outcome.json")).unwrap();
    std::fs::remove_dir_all(run.join("checkpoints/step-00000006")).unwrap();
    let resume = ["finetune", "small.toml", "--resume", "a"];
    project.milepost(&resume).assert().success();
    assert_eq!(timeless(&whole), timeless(&run));
    for role in ["main", "assistant"] {
        let weights = |run: &Path| {
            std::fs::read(run.join("models").join(role).join("model.safetensors")).unwrap()
        };
        assert_eq!(weights(&whole), weights(&run), "{role}");
    }
    // Another scale, as if steps had overflowed before the checkpoint.
    std::fs::remove_file(run.join("outcome.json")).unwrap();
    std::fs::remove_dir_all(run.join("checkpoints/step-00000006")).unwrap();
    let checkpoint = run.join("checkpoints/step-00000003");
    let write = |text: &str| {
        let name = "main.loss_scale.json";
        std::fs::write(checkpoint.join(name), text).unwrap();
        let sums = std::fs::read_to_string(checkpoint.join("SHA256SUMS")).unwrap();
        let sums = sums.lines().map(|line| match line.split_once("  ") {
            Some((_, file)) if file == name => {
                format!("{}  {name}\n", milepost::checksum::sha256(text.as_bytes()))
            }
            _ => format!("{line}\n"),
        });
        let sums: String = sums.collect();
        std::fs::write(checkpoint.join("SHA256SUMS"), sums).unwrap();
    };
    write("{\"scale\": 3.0, \"steps\": 0}");
    let said = project.fails(&resume, 4);
    assert!(said.contains("main.loss_scale.json"), "{said}");
    write("{\"scale\": 1024.0, \"steps\": 0}");
    project.milepost(&resume).assert().success();
    let lines = milestones(&run).into_iter();
    let scales = lines.filter(|line| line["source"] == "train");
    let scales: Vec<f64> = scales
        .map(|line| line["scalars"]["train/main/loss_scale"].as_f64().unwrap())
        .collect();
    assert_eq!(scales, [65536.0, 65536.0, 65536.0, 1024.0, 1024.0, 1024.0]);
}

/// A device that has not the element type is refused at the key, before anything is written, and the message says in what it can train.
#[test]
fn a_device_is_refused_a_precision_that_it_has_not() {
    let project = Project::new();
    for (name, device) in devices() {
        for precision in Precision::ALL {
            let what = precision.as_str();
            let set = format!("train.precision={what}");
            let arguments = ["plan", "small.toml", "--device", &name, "--set", &set];
            if precision.check(&device).is_ok() {
                project.milepost(&arguments).assert().success();
                continue;
            }
            let said = project.fails(&arguments, 2);
            let refused = format!("`{name}` cannot train in {what}");
            for says in [refused.as_str(), "it can in f32", "precision ="] {
                assert!(said.contains(says), "{said}");
            }
            println!("{said}");
        }
    }
}
