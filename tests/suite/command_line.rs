//! What people type, and what they are told when it is wrong.

use crate::harness::{Project, timeless};

/// Changes small.toml and gives what `plan` says of it.
fn wrong(from: &str, to: &str, code: i32) -> String {
    let project = Project::new();
    let text = project.read("small.toml");
    assert!(text.contains(from), "{from}");
    project.write("small.toml", text.replacen(from, to, 1));
    let errors = project.fails(&["finetune", "small.toml"], code);
    assert_eq!(errors.matches("error:").count(), 1, "{errors}");
    assert!(
        !project.path().join("runs").exists(),
        "no half of a run may be left: {errors}"
    );
    errors
}

#[test]
fn mistakes_in_an_experiment_are_shown_where_they_are() {
    for (from, to, says) in [
        ("max_steps = 6", "max_steps = ", &["small.toml:7:"][..]),
        (
            "max_steps = 6",
            "max_step = 6",
            &[
                "unknown key `max_step`",
                "small.toml:7:1",
                "^^^^^^^^ did you mean `max_steps`?",
            ],
        ),
        (
            "lr = 1e-3",
            "lr = \"fast\"",
            &[
                "small.toml:10:6",
                "expected a number, found string \"fast\"",
            ],
        ),
        (
            "lr = 1e-3",
            "lr = -1.0",
            &["small.toml:10:6", "must not be negative"],
        ),
        ("batch = 2", "batch = 0", &["small.toml:8:9", "at least 1"]),
        (
            "[hooks.template-kl]",
            "[hooks.template-lk]",
            &[
                "unknown kind of hook `template-lk`",
                "did you mean `template-kl`?",
            ],
        ),
        (
            "prompts = 1",
            "promts = 1",
            &[
                "`sample-text` has no option `promts`",
                "did you mean `prompts`?",
            ],
        ),
        (
            "prompts = 1",
            "prompts = \"one\"",
            &["expected a whole number", "small.toml:24:"],
        ),
        (
            "at = \"every step\"",
            "at = \"every stepp\"",
            &["`stepp` is not understood", "did you mean `step`?"],
        ),
        (
            "at = \"every step\"",
            "at = \"every 7 steps\"",
            &["`gradient-norm` is never due", "small.toml:26:"],
        ),
        (
            "at = \"every step\"",
            "at = \"end\"",
            &["never due at `gradients-ready`"],
        ),
        (
            "at = \"every step\"",
            "runs = \"background\"",
            &["needs live gradients"],
        ),
        (
            "at = \"every step\"",
            "on = \"step-end\"",
            &["is written as `at`"],
        ),
        (
            "block = 32",
            "block = 500",
            &["longer than the 128 positions"],
        ),
        (
            "evaluate = [",
            "evaluate = \"every 9 steps\"\nsave = [",
            &["never due in a run of 6 steps"],
        ),
        (
            "evaluate = [",
            "evaluate = \"budget 5%\"\nsave = [",
            &["only hooks have a budget"],
        ),
        (
            "at = \"every step\"",
            "at = \"budget 5%\"",
            &["cannot be combined with `on`"],
        ),
        (
            "at = \"every step\"",
            "at = \"budget 0%\"",
            &["`0%` is not a percentage above 0"],
        ),
        (
            "at = \"every step\"",
            "at = \"budget 5\"",
            &["the clause ends too early"],
        ),
        (
            "[templates]",
            "[decode]\nconfidence_threshold = 1.5\n[templates]",
            &["must be a share from 0 to 1", "^^^"],
        ),
        (
            "[templates]",
            "[decode]\nsampling = { temperature = 0.0 }\n[templates]",
            &["must be above 0; leave `sampling` out for greedy decoding"],
        ),
        (
            "[templates]",
            "[decode]\ndrafting = \"lazy\"\nsampling = {}\n[templates]",
            &["lazy drafts need greedy decoding", "^^^"],
        ),
        (
            "at = [\"start\", \"end\"]",
            "decode = { drafting = \"some\" }",
            &["unknown value `some`", "known: whole, lazy"],
        ),
        (
            "[templates]",
            "[decode]\nsampling = { top_q = 0.5 }\n[templates]",
            &["`top_q`"],
        ),
        (
            "[templates]",
            "[decode]\nmax_new_tokens = 200\n[templates]",
            &["exceed the 128 positions"],
        ),
        (
            "at = [\"start\", \"end\"]",
            "decode = { max_new_tokens = 200 }",
            &["exceed the 128 positions", "small.toml:17:29"],
        ),
        (
            "at = [\"start\", \"end\"]",
            "decode = { draft_length = 0 }",
            &["must be at least 1", "small.toml:17:27"],
        ),
        (
            "at = [\"start\", \"end\"]",
            "decode = { draft_length = 1000 }",
            &["exceeds the 128 positions", "small.toml:17:27"],
        ),
        (
            "lr = 1e-3",
            "lr = 1e39",
            &["small.toml:10:6", "single precision cannot hold"],
        ),
        (
            "lr = 1e-3",
            "lr = 1e-3\nweight_decay = 1001",
            &["small.toml:11:16", "more than all of a weight"],
        ),
        (
            "[data]",
            "seed = 18446744073709551615\n[data]",
            &[
                "small.toml:2:8",
                "too large: the largest that TOML can hold is 9223372036854775807",
            ],
        ),
        (
            "at = \"every step\"",
            "deadline_seconds = 0xFFFF_FFFF_FFFF_FFFF",
            &[
                "small.toml:26:20",
                "too large: the largest that TOML can hold",
            ],
        ),
        (
            "[data]",
            "queue = 1000000000\n[data]",
            &["small.toml:2:9", "at most 1024"],
        ),
        (
            "[data]",
            "[models]\nmain = \"nowhere\"\n[data]",
            &["no model directory"],
        ),
        (
            "[data]",
            "device = \"abacus\"\n[data]",
            &["unknown device `abacus`"],
        ),
        ("[data]", "device = \"tch\"\n[data]", &["--features tch"]),
    ] {
        let errors = wrong(from, to, 2);
        for part in says {
            assert!(errors.contains(part), "{to}: {errors}");
        }
    }
}

#[test]
fn missing_and_broken_data_are_named() {
    let errors = wrong("builtin_sample = true", "builtin_sample = false", 3);
    assert!(
        errors.contains("no AG News") && errors.contains("MILEPOST_DATA"),
        "{errors}"
    );
    let errors = wrong("builtin_sample = true", "folder = \"gone\"", 3);
    assert!(errors.contains("gone/train.csv is missing"), "{errors}");
    let errors = wrong("templates.tsv", "gone.tsv", 3);
    assert!(errors.contains("cannot read templates"), "{errors}");
    let project = Project::new();
    project.write("news/train.csv", "\"1\",\"a\",\"b\"\n\"7\",\"a\",\"b\"\n");
    project.write("news/test.csv", "\"1\",\"a\",\"b\"\n");
    let errors = project.fails(&["finetune", "small.toml", "--set", "data.folder=news"], 3);
    assert!(errors.contains("news/train.csv:2: class 7"), "{errors}");
    project.write("news/train.csv", "\"1\",\"a\",\"b\"\n");
    let errors = project.fails(&["finetune", "small.toml", "--set", "data.folder=news"], 2);
    assert!(errors.contains("less than one block of 32"), "{errors}");
    project.write("model/config.json", "{}");
    let errors = project.fails(&["plan", "small.toml", "--set", "models.main=model"], 3);
    assert!(errors.contains("key `vocab_size` is missing"), "{errors}");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = std::fs::read(root.join("datasets/mini/main/config.json")).unwrap();
    project.write("model/config.json", config);
    let errors = project.fails(&["plan", "small.toml", "--set", "models.main=model"], 3);
    assert!(errors.contains("model.safetensors"), "{errors}");
    project.write("small.toml", b"seed = 1\n# \xff".as_slice());
    let errors = project.fails(&["plan", "small.toml"], 2);
    assert!(errors.contains("small.toml:2: not UTF-8"), "{errors}");
}

#[test]
fn mistakes_on_the_command_line_are_named() {
    let project = Project::new();
    let errors = project.fails(&["plan", "smal"], 2);
    assert!(errors.contains("no such experiment"), "{errors}");
    let errors = project.fails(&["plan", "small.toml", "--set", "train.max_step=3"], 2);
    assert!(
        errors.contains("with --set") && errors.contains("did you mean `max_steps`?"),
        "{errors}"
    );
    let errors = project.fails(&["plan", "small.toml", "--set", "train.lr"], 2);
    assert!(errors.contains("not an override"), "{errors}");
    project.run("one", &["--no-hooks"]);
    let errors = project.fails(&["finetune", "small.toml", "--name", "one"], 2);
    assert!(errors.contains("exists already"), "{errors}");
    project.write("file", "");
    let errors = project.fails(&["finetune", "small.toml", "--runs", "file"], 5);
    assert!(errors.contains("cannot write file"), "{errors}");
    project.fails(&["finetoon"], 2);
    project.fails(&["hooks", "template-lk"], 2);
}

#[test]
fn the_plan_says_what_fires_when() {
    let project = Project::new();
    let assert = project.milepost(&["plan", "small.toml"]).assert().success();
    let shown = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    for part in [
        "lr = 0.001",
        "built-in sample, not AG News",
        "6 steps in 1 epoch",
        "8 with 4 matched pairs of 2 identity pairs and 2 templates",
        "template-kl",
        "background, once (step 0)",
        "background, 3 times (steps 2, 4, 6)",
        "inline, 6 times (steps 1, 2, 3, 4, 5, 6)",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!project.path().join("runs").exists());
}

#[test]
fn the_end_of_a_run_says_what_came_out() {
    let project = Project::new();
    let assert = project
        .milepost(&["finetune", "small.toml", "--name", "one"])
        .assert()
        .success();
    let shown = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    for part in [
        "held-out perplexity, main",
        "KL at the templates",
        "assistant's share",
        "n_matches a prompt, female",
        "disparity, female - male",
        "95% interval",
        "measured on built-in sample, not AG News",
        "one run is one seed",
        "longest lag",
        "runs/small/one",
        "tensorboard --logdir runs",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let manifest = project.read("runs/small/one/manifest.json");
    for part in [
        "models/main/model.safetensors",
        "built-in sample, train",
        "flex",
        "\"milepost\"",
    ] {
        assert!(manifest.contains(part), "{part}: {manifest}");
    }
}

#[test]
fn a_hook_that_fails_is_named_in_the_exit_code() {
    let project = Project::new();
    // The first step throws the weights so far that no logit is finite.
    let set = "train.lr=1e30 train.max_steps=1 train.evaluate=start hooks.perplexity.at=start";
    let assert = project
        .milepost(&["finetune", "small.toml", "--set", set])
        .assert()
        .code(6);
    let output = assert.get_output();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        shown.contains("hook `assistant-share` failed at step 1"),
        "{shown}"
    );
}

#[test]
fn help_teaches() {
    let project = Project::new();
    let assert = project.milepost(&["--help"]).assert().success();
    let shown = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert!(
        shown.contains("finetune") && shown.contains("Exit codes") && shown.contains("130"),
        "{shown}"
    );
    let assert = project.milepost(&["hooks"]).assert().success();
    let shown = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert!(
        shown.contains("match-disparity") && shown.contains("[default: 10000]"),
        "{shown}"
    );
}

#[test]
fn a_run_with_sampled_decoding_is_the_same_twice_and_goes_on_from_its_own_experiment() {
    let project = Project::new();
    let set =
        "decode.sampling={temperature=0.9,top_k=40,top_p=0.95} decode.confidence_threshold=0.2";
    let one = project.run("one", &["--set", set]);
    let two = project.run("two", &["--set", set]);
    assert_eq!(timeless(&one), timeless(&two));
    let resolved = std::fs::read_to_string(one.join("experiment.toml")).unwrap();
    assert!(
        resolved.contains("temperature = 0.9") && resolved.contains("top_k = 40"),
        "{resolved}"
    );
    // The run's own experiment is understood again.
    let arguments = ["plan", "runs/small/one/experiment.toml"];
    project.milepost(&arguments).assert().success();
    let greedy = project.run("greedy", &[]);
    assert_ne!(timeless(&one), timeless(&greedy));
}

/// Names that folders cannot have, before anything is written.
#[test]
fn names_of_runs_are_names_of_folders() {
    let project = Project::new();
    let long = "n".repeat(241);
    let deep = format!("a/{long}");
    for name in ["", "/a", "..", "a/../b", "a\nb", "a\u{7}", &long, &deep] {
        for command in [
            ["finetune", "small.toml", "--name"],
            ["sweep", "small.toml", "--name"],
            ["finetune", "small.toml", "--resume"],
        ] {
            let errors = project.fails(&[&command[..], &[name]].concat(), 2);
            assert!(errors.contains(command[2]), "{name:?}: {errors}");
        }
    }
    let grid = format!("about={}", "x".repeat(240));
    let errors = project.fails(&["sweep", "small.toml", "--seeds", "1", "--grid", &grid], 2);
    assert!(
        errors.contains("a folder whose name has 253 bytes"),
        "{errors}"
    );
    let errors = project.fails(
        &["sweep", "small.toml", "--seeds", "18446744073709551615"],
        2,
    );
    assert!(errors.contains("too large"), "{errors}");
    assert!(!project.path().join("runs").exists());
    project.run(&"n".repeat(240), &["--no-hooks"]);
}

/// However many pairs are asked for of however many there are.
#[test]
fn sample_text_shows_each_pair_once() {
    let project = Project::new();
    for prompts in 1..=6 {
        let hooks = format!("[hooks.sample-text]\nprompts = {prompts}\n");
        project.write("hooks.toml", hooks);
        let arguments = [
            "measure",
            "--hooks",
            "hooks.toml",
            "--templates",
            "templates.tsv",
            "--json",
            "out.json",
        ];
        project.milepost(&arguments).assert().success();
        let found: serde_json::Value = serde_json::from_str(&project.read("out.json")).unwrap();
        let table = found["hooks"]["sample-text"]["texts"]["samples/continuations"]
            .as_str()
            .unwrap();
        let rows = table.lines().skip(2);
        let mut shown: Vec<&str> = rows.map(|row| row.split(" | ").next().unwrap()).collect();
        assert_eq!(shown.len(), 2 * prompts.min(4), "{table}");
        shown.sort_unstable();
        shown.dedup();
        assert_eq!(shown.len(), 2 * prompts.min(4), "{table}");
    }
}
