//! Runs that train adapters, and what is made of them.

use std::path::{Path, PathBuf};

use milepost::model::Network;
use serde_json::Value;

use super::{on_flex, parameters};
use crate::harness::{Project, close, timeless, until};

const LORA: &str = "train.lora.main.r=3 train.lora.main.dropout=0.1 train.lora.main.target_modules='all-linear' train.save='every 4 steps'";

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
#[cfg(unix)]
fn a_killed_run_with_adapters_resumes_to_what_it_would_have_been() {
    let project = Project::new();
    let set = ["--set", &format!("{LORA} train.max_steps=30")];
    let whole = project.run("whole", &set);
    let arguments = [&["finetune", "small.toml", "--name", "killed"], &set[..]].concat();
    let mut child = project.spawn(&arguments);
    let killed = project.path().join("runs/small/killed");
    let second = killed.join("checkpoints/step-00000008");
    until("the second checkpoint", || second.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    project
        .milepost(&["finetune", "small.toml", "--resume", "killed"])
        .assert()
        .success();
    assert_eq!(timeless(&whole), timeless(&killed));
    let adapter = ["adapter_config.json", "adapter_model.safetensors"];
    for file in [
        "main/adapter_config.json",
        "main/adapter_model.safetensors",
        "assistant/model.safetensors",
    ] {
        let bytes = |run: &Path| std::fs::read(run.join("models").join(file)).unwrap();
        assert!(bytes(&whole) == bytes(&killed), "{file}");
    }
    // A checkpoint has the adapters alone, with the name of their base.
    let checkpoint = whole.join("checkpoints/step-00000028");
    assert_eq!(names_in(&checkpoint.join("main")), adapter);
    let config = std::fs::read_to_string(checkpoint.join("main/adapter_config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["base_model_name_or_path"], "mini:main");
    let size = |path: PathBuf| std::fs::metadata(path).unwrap().len();
    let of_main = size(checkpoint.join("main.optimiser.safetensors"));
    assert!(of_main < size(checkpoint.join("assistant.optimiser.safetensors")) / 2);
}

/// What is measured is what the saved adapter computes: the run's last numbers come out again.
#[test]
fn a_saved_adapter_is_measured_trained_on_and_merged() {
    let project = Project::new();
    let run = project.run("first", &["--set", LORA]);
    let value = |run: &Path, tag: &str, last: bool| {
        let lines = timeless(run).into_iter();
        let found: Vec<f64> = lines
            .filter_map(|line| line["scalars"][tag].as_f64())
            .collect();
        if last {
            found[found.len() - 1]
        } else {
            found[0]
        }
    };
    let tag = "kl/mean_nats";
    let models = "models.main='runs/small/first/models/main' models.assistant='runs/small/first/models/assistant'";
    let again = |name: &str, more: &str| {
        project.run(
            name,
            &["--set", &format!("{models} train.max_steps=2 {more}")],
        )
    };
    // Unmerged, with adapters that go on, and with one that is not trained.
    for (name, more) in [
        ("on", "train.lora.main.r=3"),
        ("stays", "train.models=['assistant']"),
    ] {
        let other = again(name, more);
        assert_eq!(value(&other, tag, false), value(&run, tag, true), "{name}");
    }
    let stays = project.path().join("runs/small/stays/models/main");
    let bytes = |folder: &Path| std::fs::read(folder.join("adapter_model.safetensors")).unwrap();
    assert!(bytes(&stays) == bytes(&run.join("models/main")));
    assert!(bytes(&project.path().join("runs/small/on/models/main")) != bytes(&stays));
    // Exported whole, and read again as any model.
    project
        .milepost(&["export", "runs/small/first", "--merged"])
        .assert()
        .success();
    assert_eq!(names_in(&run.join("merged")), ["main"]);
    let whole = Network::load(&run.join("merged/main"), &on_flex()).unwrap();
    let alone = [
        "export",
        "runs/small/first/models/main",
        "--merged",
        "--out",
        "alone",
    ];
    project.milepost(&alone).assert().success();
    let one = Network::load(&project.path().join("alone"), &on_flex()).unwrap();
    assert!(parameters(&whole) == parameters(&one));
    let set = "models.main='runs/small/first/merged/main' models.assistant='runs/small/first/models/assistant' train.max_steps=2";
    let whole = project.run("whole", &["--set", set]);
    let (found, expected) = (value(&whole, tag, false), value(&run, tag, true));
    close(found, expected, 1e-4, 0.0, "exported");
    for (arguments, part) in [
        (
            &["export", "runs/small/whole", "--merged"][..],
            "no adapter",
        ),
        (
            &["export", "runs/small/first", "runs/small/whole", "--merged"],
            "at a time",
        ),
    ] {
        let refused = project.fails(arguments, 2);
        assert!(refused.contains(part), "{refused}");
    }
    // Merged where all weights are trained.
    let merged = again("merged", "");
    let (found, expected) = (value(&merged, tag, false), value(&run, tag, true));
    close(found, expected, 1e-4, 0.0, "merged");
    assert!(merged.join("models/main/model.safetensors").is_file());
    let arguments = ["finetune", "small.toml", "--name", "x", "--set"];
    for (more, part) in [
        ("train.lora.main.r=4", "another `r`"),
        ("train.lora.main.alpha=3", "another `alpha`"),
        (
            "train.lora.main.target_modules=['c_attn']",
            "another `target_modules`",
        ),
        ("train.lora.main.use_rslora=true", "another `use_rslora`"),
    ] {
        let set = format!("{models} {more}");
        let refused = project.fails(&[&arguments[..], &[&set]].concat(), 2);
        assert!(refused.contains(part), "{refused}");
    }
}

#[test]
fn settings_that_cannot_be_used_are_refused_at_their_key() {
    let project = Project::new();
    for (set, part) in [
        ("train.lora.main.r=0", "from 1 to"),
        ("train.lora.main.dropout=1.0", "below 1"),
        ("train.lora.main.bias='all'", "only \"none\""),
        (
            "train.lora.main.modules_to_save=['wte']",
            "no layer is trained whole",
        ),
        ("train.lora.main.target_modules='.*attn'", "all-linear"),
        ("train.lora.main.target_modules=[]", "names no layer"),
        (
            "train.lora.main.target_modules=['wte']",
            "`wte` is no dense layer",
        ),
        ("train.lora.main.use_dora=true", "use_dora"),
        ("train.lora.main.rank_pattern={}", "rank_pattern"),
        (
            "train.lora.assistant={} train.models=['main']",
            "not trained",
        ),
    ] {
        let refused = project.fails(&["finetune", "small.toml", "--set", set], 2);
        assert!(refused.contains(part), "{set}: {refused}");
    }
}

/// Replays, and hooks that look at weights and gradients, know the adapters by the names that PEFT's files have.
#[test]
fn hooks_and_interventions_know_adapters_by_their_names() {
    let project = Project::new();
    project.write(
        "hooks.toml",
        "[interventions.freeze]\nkind = \"freeze\"\nmodel = \"main\"\nparameters = [\"h.0.*\"]\nat = \"step 2\"\n",
    );
    let small = project.read("small.toml") + &project.read("hooks.toml");
    project.write("frozen.toml", small + "[train.lora.main]\n");
    project
        .milepost(&["finetune", "frozen.toml", "--name", "a"])
        .assert()
        .success();
    let run = project.path().join("runs/frozen/a");
    let gradients: Vec<String> = timeless(&run)
        .iter()
        .filter_map(|line| line["scalars"].as_object())
        .flat_map(|scalars| scalars.keys().cloned())
        .filter(|tag| tag.contains("main") && tag.contains("grad"))
        .collect();
    assert!(!gradients.is_empty());
    let set = "interventions.freeze.parameters=['wte.weight']";
    let refused = project.fails(&["finetune", "frozen.toml", "--name", "b", "--set", set], 2);
    assert!(
        refused.contains("wte.weight") && refused.contains("h.0.attn.c_attn.lora_A.weight"),
        "{refused}"
    );
}
