//! Runs with adapters in the rest of the program: attribution, replay, influence, distillation, interventions, texts sampled from a model.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::fixtures;
use crate::harness::{Project, close, milestones, numbers, timeless};

/// Adapters of both models.
const BOTH: &str = "train.lora.main.r=3 train.lora.main.target_modules='all-linear' train.lora.assistant.r=2 train.lora.assistant.alpha=4.0";

/// What a hook reported at a step.
fn reported(run: &Path, source: &str, step: u64) -> Map<String, Value> {
    let lines = milestones(run);
    let line = (lines.iter()).find(|line| line["source"] == source && line["step"] == step);
    line.unwrap()["scalars"].as_object().unwrap().clone()
}

/// The first and the last value of a tag.
fn ends(run: &Path, tag: &str) -> [f64; 2] {
    let lines = timeless(run).into_iter();
    let found: Vec<f64> = lines
        .filter_map(|line| line["scalars"][tag].as_f64())
        .collect();
    [found[0], found[found.len() - 1]]
}

const ATTRIBUTIONS: &str = "
[hooks.weight-attribution]
at = ['start', 'every 3 steps']
measures = ['kl', 'log-odds-main', 'smooth-matches']
per_tensor = true
[hooks.attribution]
at = ['start', 'every 3 steps']
[hooks.drift]
at = ['start', 'every 3 steps']
[hooks.representation]
at = ['start', 'every 3 steps']
";

/// Both ways to say what moved the numbers: by weight and by model. The base's weights have no share. A replay at the checkpoints, which have the adapters
/// alone, finds the same numbers.
#[test]
fn what_moved_the_numbers_adds_up_and_is_replayed() {
    let project = Project::new();
    project.write("small.toml", project.read("small.toml") + ATTRIBUTIONS);
    project.write("hooks.toml", ATTRIBUTIONS);
    let set = format!("{BOTH} train.lr=1e-2 train.save='every 3 steps'");
    let run = project.run("a", &["--set", &set]);
    let shares = reported(&run, "weight-attribution", 6);
    let number = |tag: &str| shares[tag].as_f64().unwrap();
    for measure in ["kl", "log_odds_main", "smooth_matches"] {
        for mean in ["mean", "disparity"] {
            let tag = format!("weight_attribution/{measure}/{mean}");
            let [observed, residual, tolerance] =
                ["observed", "residual", "tolerance"].map(|part| number(&format!("{tag}/{part}")));
            assert!(
                residual.abs() <= tolerance,
                "{tag}: {residual} of {observed}"
            );
            assert!(
                tolerance < 0.1 * observed.abs(),
                "{tag}: {tolerance} {observed}"
            );
            for role in ["main", "assistant"] {
                let all = format!("weight_attribution_tensors/{measure}/{mean}/{role}/");
                let mut sum = 0.0;
                for (name, share) in &shares {
                    let Some(tensor) = name.strip_prefix(&all) else {
                        continue;
                    };
                    let share = share.as_f64().unwrap();
                    assert!(tensor.contains(".lora_") || share == 0.0, "{name}");
                    sum += share;
                }
                close(sum, number(&format!("{tag}/by_{role}")), 1e-9, 1e-3, &tag);
            }
        }
    }
    assert!(number("weight_attribution/kl/mean/by_assistant").abs() > 1e-4);
    let by_model = reported(&run, "attribution", 6);
    let effect = |of: &str| {
        by_model[&format!("attribution/kl_nats/by_{of}")]
            .as_f64()
            .unwrap()
    };
    let [before, after] = ends(&run, "kl/mean_nats");
    close(
        effect("main") + effect("assistant"),
        after - before,
        1e-9,
        1e-3,
        "attribution",
    );
    close(
        number("weight_attribution/kl/mean/observed"),
        after - before,
        1e-9,
        1e-3,
        "observed",
    );
    let again = [
        "replay",
        "runs/small/a",
        "--hooks",
        "hooks.toml",
        "--name",
        "again",
    ];
    project.milepost(&again).assert().success();
    let replayed = run.join("replay/again");
    for hook in [
        "weight-attribution",
        "attribution",
        "drift",
        "representation",
    ] {
        for step in [0, 3, 6] {
            assert_eq!(
                reported(&replayed, hook, step),
                reported(&run, hook, step),
                "{hook} at {step}"
            );
        }
    }
}

/// With small steps nothing is left but the first order: the documents' influence through the adapters adds up to the change of the measure.
#[test]
fn the_influence_of_all_documents_is_what_each_step_changed() {
    let project = Project::new();
    for (name, more) in [("both", ""), ("one", " train.models=['main']")] {
        let lora = match name {
            "both" => BOTH,
            _ => "train.lora.main.r=3",
        };
        let set = format!(
            "{lora} train.lr=1e-3 train.max_steps=5 train.dropout=0.0 train.save='every step' train.keep='all'{more}"
        );
        let run = project.run(name, &["--set", &set]);
        project
            .milepost(&["influence", &format!("runs/small/{name}")])
            .assert()
            .success();
        let text = std::fs::read_to_string(run.join("influence/kl/influence.json")).unwrap();
        let found: Value = serde_json::from_str(&text).unwrap();
        for goal in found["goals"].as_array().unwrap() {
            let values = numbers(&goal["values"]);
            let changes: Vec<f64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let largest = changes.iter().fold(0.0f64, |most, one| most.max(one.abs()));
            let segments = goal["segments"].as_array().unwrap();
            assert_eq!(segments.len(), 5);
            for (segment, change) in segments.iter().zip(changes) {
                let [main, assistant] =
                    ["main", "assistant"].map(|role| segment[role].as_f64().unwrap());
                println!(
                    "{name} {}: {:e} predicted, {change:e} observed",
                    goal["name"],
                    main + assistant
                );
                close(main + assistant, change, 0.01, largest, name);
                assert_eq!(assistant == 0.0, name == "one", "{assistant}");
            }
        }
    }
}

/// The retrainings of a check train the same adapters.
#[test]
fn influence_is_checked_by_retrainings_of_adapters() {
    let project = Project::new();
    let set = format!("{BOTH} train.save='every 3 steps'");
    let run = project.run("one", &["--set", &set]);
    let check = ["influence", "runs/small/one", "--check", "4"];
    project.milepost(&check).assert().success();
    let half = run.join("influence/kl/check/subsets/subset=1");
    let settings = std::fs::read_to_string(half.join("experiment.toml")).unwrap();
    assert!(settings.contains("[train.lora.main]"), "{settings}");
}

/// The teacher's adapter counts, and an assistant with adapters begins where one without does.
#[test]
fn an_assistant_with_adapters_is_distilled() {
    let project = Project::new();
    project.run("taught", &["--set", "train.lora.main.r=3 train.lr=1e-2"]);
    project
        .milepost(&["export", "runs/small/taught", "--merged"])
        .assert()
        .success();
    let distil =
        "train.models=['assistant'] train.objective.assistant.kind='distil' train.dropout=0.0";
    let run = |name: &str, main: &str, more: &str| {
        let set = format!("models.main='{main}' {distil} {more}");
        ends(&project.run(name, &["--set", &set]), "train/assistant/loss")
    };
    let adapter = "runs/small/taught/models/main";
    let lora = "train.lora.assistant.r=4 train.lora.assistant.target_modules='all-linear'";
    let found = run("adapter", adapter, &format!("{lora} train.lr=2e-3"));
    let merged = run(
        "merged",
        "runs/small/taught/merged/main",
        &format!("{lora} train.lr=2e-3"),
    );
    for (found, merged) in found.into_iter().zip(merged) {
        close(found, merged, 1e-3, 0.0, "the teacher is merged");
    }
    let whole = run("whole", adapter, "train.lr=2e-3");
    assert_eq!(found[0], whole[0]);
    let placebo = run("placebo", adapter, &format!("{lora} train.lr=0.0"));
    assert!(found[1] < placebo[1], "{found:?} {placebo:?}");
    let untaught = run("untaught", "mini:main", &format!("{lora} train.lr=2e-3"));
    let apart = found[0] / untaught[0] - 1.0;
    assert!(apart.abs() > 1e-3, "{found:?} {untaught:?}");
}

/// Before the training a model with adapters says what its base says, so that the text that is sampled from it is the same.
#[test]
fn text_sampled_from_a_model_with_adapters_is_that_of_its_base() {
    let project = Project::new();
    let sampled = "data.intervene=[{sampled='main'}]";
    let texts = ["", "train.lora.main.r=3"].map(|lora| {
        let name = if lora.is_empty() { "whole" } else { "lora" };
        let run = project.run(name, &["--set", &format!("{sampled} {lora}")]);
        std::fs::read_to_string(run.join("text_interventions.json")).unwrap()
    });
    assert!(texts[0].len() > 100 && texts[0] == texts[1]);
}

/// An adapter of PEFT's in a `.bin` goes through a run, whose manifest names the file.
#[test]
fn a_run_takes_an_adapter_that_pytorch_pickled() {
    let project = Project::new();
    let from = fixtures().join("lora/mini");
    for (folder, weights) in [
        ("safe", "adapter_model.safetensors"),
        ("pickled", "adapter_model.bin"),
    ] {
        for file in ["adapter_config.json", weights] {
            project.write(
                &format!("{folder}/{file}"),
                std::fs::read(from.join(file)).unwrap(),
            );
        }
    }
    let run = |folder: &str| {
        let set = format!("models.main='{folder}' train.lora.main.dropout=0.1");
        project.run(folder, &["--set", &set])
    };
    let (safe, pickled) = (run("safe"), run("pickled"));
    assert_eq!(timeless(&safe), timeless(&pickled));
    let inputs = |run: &PathBuf| std::fs::read_to_string(run.join("manifest.json")).unwrap();
    assert!(inputs(&pickled).contains("models/main/adapter_model.bin"));
    assert!(!inputs(&safe).contains("adapter_model.bin"));
}
