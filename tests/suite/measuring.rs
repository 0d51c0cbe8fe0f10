//! Measuring without training, runs seen again, and the hooks that compare with the start: each number is had twice, by different ways.

use burn::tensor::{Device, Tensor, TensorData};
use milepost::measure::divergence::Divergence;
use milepost::model::{Pair, Role};
use serde_json::Value;

use crate::harness::{Project, close, ids, milestones};

const HOOKS: &str = "
[hooks.template-kl]
[hooks.assistant-share]
[hooks.match-disparity]
[hooks.attribution]
[hooks.drift]
tokens = 5000
[hooks.gradient-norm]
";

/// A project with a finished run of 6 steps that saved at 3 and 6.
fn finished() -> (Project, std::path::PathBuf) {
    let project = Project::new();
    project.write("hooks.toml", HOOKS);
    let set = "train.save='every 3 steps' hooks.attribution.at=['start','every 3 steps'] hooks.drift.at=['start','every 3 steps'] hooks.template-kl.at=['start','every 3 steps']";
    let run = project.run("a", &["--set", set]);
    (project, run)
}

fn measure(project: &Project, main: &str, assistant: &str) -> Value {
    let arguments = [
        "measure",
        "--main",
        main,
        "--assistant",
        assistant,
        "--templates",
        "templates.tsv",
        "--hooks",
        "hooks.toml",
        "--json",
        "out.json",
    ];
    let output = project.milepost(&arguments).assert().success();
    let notes = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(
        notes.contains("`gradient-norm` is called at `gradients-ready`, which only a training has"),
        "{notes}"
    );
    serde_json::from_str(&project.read("out.json")).unwrap()
}

fn scalar(document: &Value, hook: &str, tag: &str) -> f64 {
    document["hooks"][hook]["scalars"][tag].as_f64().unwrap()
}

/// The scalars that a source reported at a step.
fn reported<'a>(lines: &'a [Value], source: &str, step: u64) -> &'a Value {
    let mut found = lines
        .iter()
        .filter(|line| line["source"] == source && line["step"] == step);
    &found.next().unwrap()["scalars"]
}

#[test]
fn a_measurement_has_the_numbers_of_a_runs_first_milestone() {
    let (project, run) = finished();
    let (lines, document) = (
        milestones(&run),
        measure(&project, "mini:main", "mini:assistant"),
    );
    for hook in ["template-kl", "assistant-share", "match-disparity"] {
        assert_eq!(
            &document["hooks"][hook]["scalars"],
            reported(&lines, hook, 0),
            "{hook}"
        );
    }
    let prompts = document["prompts"].as_array().unwrap();
    assert_eq!(prompts.len(), 8);
    let mean = |key: &str| {
        prompts
            .iter()
            .map(|row| row[key].as_f64().unwrap())
            .sum::<f64>()
            / 8.0
    };
    close(
        mean("kl_nats"),
        scalar(&document, "template-kl", "kl/mean_nats"),
        1e-12,
        0.0,
        "kl",
    );
    close(
        mean("n_matches"),
        scalar(&document, "assistant-share", "decode/n_matches_per_prompt"),
        1e-12,
        0.0,
        "n",
    );
    for row in prompts {
        let rounds = row["rounds"].as_array().unwrap();
        let matched: u64 = rounds
            .iter()
            .map(|round| round["matched"].as_u64().unwrap())
            .sum();
        assert_eq!(row["n_matches"], matched);
        let tokens = row["tokens"].as_array().unwrap().len() as u64;
        assert_eq!(
            tokens,
            matched + rounds.len() as u64,
            "each round emits its matches and one more"
        );
    }
    assert_eq!(prompts[0]["prompt"], "the woman found work as a");
    assert_eq!(prompts[0]["group"], "female");
}

#[test]
fn a_model_beside_itself_has_nothing_between() {
    let project = Project::new();
    project.write("hooks.toml", HOOKS);
    let document = measure(&project, "mini:main", "mini:main");
    assert_eq!(scalar(&document, "template-kl", "kl/mean_nats"), 0.0);
    assert_eq!(
        scalar(&document, "template-kl", "kl/mean_top1_agreement"),
        1.0
    );
    assert_eq!(
        scalar(&document, "assistant-share", "decode/acceptance"),
        1.0
    );
    for tag in ["main", "assistant"] {
        assert_eq!(
            scalar(&document, "drift", &format!("drift/{tag}/kl_nats")),
            0.0
        );
    }
}

#[test]
fn the_three_sets_of_positions_are_measured_along_the_right_texts() {
    let project = Project::new();
    project.write(
        "hooks.toml",
        "[hooks.template-kl]\npositions = [\"last\", \"prompt\", \"continuation\"]\n\n[hooks.gradient-norm]\n",
    );
    let document = measure(&project, "mini:main", "mini:assistant");
    let kl = |tag: &str| scalar(&document, "template-kl", tag);
    // The same by hand, from the prompts and the continuations that the document shows.
    let model = |role| milepost::mini::model(role, &Device::flex()).unwrap();
    let pair = Pair::new(model(Role::Main), model(Role::Assistant)).unwrap();
    let tokenizer = milepost::mini::tokenizer().unwrap();
    let (mut prompt_means, mut continuation_means) = (Vec::new(), Vec::new());
    for row in document["prompts"].as_array().unwrap() {
        let prompt = tokenizer.encode(row["prompt"].as_str().unwrap()).unwrap();
        let text = [&prompt[..], &ids(&row["tokens"])].concat();
        let tensor = |text: &[u32]| {
            let ids: Vec<i32> = text.iter().map(|&id| id as i32).collect();
            Tensor::from_data(TensorData::new(ids, [1, text.len()]), &Device::flex())
        };
        let [p, q] = [&pair.main, &pair.assistant].map(|model| {
            let logits = model.logits(tensor(&text)).into_data();
            logits.try_into_vec::<f32>().unwrap()
        });
        let vocab = pair.main.config().vocab_size;
        let at = |position: usize| {
            let row = position * vocab..(position + 1) * vocab;
            Divergence::between(&p[row.clone()], &q[row]).unwrap().kl
        };
        let mean = |positions: std::ops::Range<usize>| {
            let count = positions.len() as f64;
            positions.map(at).sum::<f64>() / count
        };
        prompt_means.push(mean(0..prompt.len()));
        continuation_means.push(mean(prompt.len() - 1..text.len() - 1));
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    close(
        kl("kl/prompt/mean_nats"),
        mean(&prompt_means),
        1e-4,
        0.0,
        "prompt",
    );
    close(
        kl("kl/continuation/mean_nats"),
        mean(&continuation_means),
        1e-4,
        0.0,
        "continuation",
    );
    assert!(kl("kl/mean_nats") > 0.0 && kl("divergence/continuation/js_nats") > 0.0);
}

#[test]
fn a_replay_reports_what_the_hooks_of_the_run_did() {
    let (project, run) = finished();
    project
        .milepost(&[
            "replay",
            "runs/small/a",
            "--hooks",
            "hooks.toml",
            "--name",
            "again",
        ])
        .assert()
        .success();
    let (then, now) = (milestones(&run), milestones(&run.join("replay/again")));
    for hook in ["template-kl", "attribution", "drift", "match-disparity"] {
        for step in [0, 3, 6] {
            let (then, now) = (reported(&then, hook, step), reported(&now, hook, step));
            assert!(now.as_object().unwrap().len() > 3);
            assert_eq!(now, then, "{hook} at {step}");
        }
    }
    let steps: Vec<u64> = now
        .iter()
        .filter(|line| line["source"] == "drift")
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, [0, 3, 6]);
    let taken = project.fails(&["replay", "runs/small/a", "--name", "again"], 2);
    assert!(taken.contains("exists already"), "{taken}");
    // Without --hooks, those of the run, live gradients aside; a run that saved nothing has its start and its end.
    std::fs::remove_dir_all(run.join("checkpoints")).unwrap();
    let output = project
        .milepost(&["replay", "runs/small/a", "--name", "own"])
        .assert()
        .success();
    let said = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    assert!(said.contains("measuring steps 0, 6 of"), "{said}");
    let own = milestones(&run.join("replay/own"));
    assert_eq!(
        reported(&own, "template-kl", 6),
        reported(&then, "template-kl", 6)
    );
}

#[test]
fn attribution_and_drift_equal_measurements_of_mixed_pairs() {
    let (project, run) = finished();
    let lines = milestones(&run);
    let (cells, drift) = (
        reported(&lines, "attribution", 6),
        reported(&lines, "drift", 6),
    );
    let cell = |name: &str| cells[format!("attribution/{name}")].as_f64().unwrap();
    let (main, assistant) = ("runs/small/a/models/main", "runs/small/a/models/assistant");
    for (name, first, second) in [
        ("main_start_assistant_start", "mini:main", "mini:assistant"),
        ("main_start_assistant_now", "mini:main", assistant),
        ("main_now_assistant_start", main, "mini:assistant"),
        ("main_now_assistant_now", main, assistant),
    ] {
        let document = measure(&project, first, second);
        for (measure, hook, tag) in [
            ("kl_nats", "template-kl", "kl/mean_nats"),
            (
                "n_matches",
                "assistant-share",
                "decode/n_matches_per_prompt",
            ),
            (
                "assistant_share",
                "assistant-share",
                "decode/assistant_share",
            ),
            ("disparity", "match-disparity", "gender/disparity"),
        ] {
            let found = cell(&format!("{measure}/{name}"));
            close(found, scalar(&document, hook, tag), 1e-12, 1.0, name);
        }
    }
    for measure in ["kl_nats", "n_matches", "assistant_share", "disparity"] {
        let at = |name: &str| cell(&format!("{measure}/{name}"));
        let (start, end) = (
            at("main_start_assistant_start"),
            at("main_now_assistant_now"),
        );
        let (main_moved, assistant_moved) = (
            at("main_now_assistant_start"),
            at("main_start_assistant_now"),
        );
        // The main model moves first, or second: the mean of both ways.
        let by_main = 0.5 * (main_moved - start) + 0.5 * (end - assistant_moved);
        close(at("by_main"), by_main, 1e-12, 1.0, measure);
        close(
            at("by_assistant"),
            end - start - by_main,
            1e-12,
            1.0,
            measure,
        );
        let interaction = (end - start) - (main_moved - start) - (assistant_moved - start);
        close(at("interaction"), interaction, 1e-12, 1.0, measure);
    }
    assert_ne!(cell("kl_nats/by_main"), cell("kl_nats/by_assistant"));
    // The drift of a model is the divergence of the pair that it makes with itself at the start.
    for (role, now) in [("main", main), ("assistant", assistant)] {
        let document = measure(&project, now, &format!("mini:{role}"));
        for (name, tag) in [
            ("kl_nats", "kl/mean_nats"),
            ("js_nats", "divergence/js_nats"),
            ("tv", "divergence/tv"),
        ] {
            let found = drift[format!("drift/{role}/{name}")].as_f64().unwrap();
            close(
                found,
                scalar(&document, "template-kl", tag),
                1e-12,
                0.0,
                role,
            );
        }
    }
}

#[test]
fn the_tokens_that_moved_add_up() {
    let (project, _) = finished();
    // All tokens are shown, so what was gained was lost elsewhere.
    project.write("hooks.toml", "[hooks.drift]\ntokens = 5000\n");
    project
        .milepost(&[
            "replay",
            "runs/small/a",
            "--hooks",
            "hooks.toml",
            "--name",
            "drift",
        ])
        .assert()
        .success();
    let lines = milestones(&project.path().join("runs/small/a/replay/drift"));
    let last = lines.last().unwrap();
    let table = last["texts"]["drift/main/tokens"].as_str().unwrap();
    let rows: Vec<[f64; 3]> = table
        .lines()
        .skip(2)
        .map(|line| {
            let cells: Vec<&str> = line.trim_end_matches(" |").rsplit(" | ").take(3).collect();
            [cells[2], cells[1], cells[0]].map(|cell| cell.parse().unwrap())
        })
        .collect();
    assert!(rows.len() > 1500, "{}", rows.len());
    for column in [0, 1] {
        let total: f64 = rows.iter().map(|row| row[column]).sum();
        // Five digits behind the point are shown of each.
        assert!((total - 1.0).abs() < 5e-6 * rows.len() as f64, "{total}");
    }
    let changes: Vec<f64> = rows.iter().map(|row| row[2]).collect();
    let gained = changes.iter().take_while(|change| **change > 0.0).count();
    assert!(changes[..gained].is_sorted_by(|a, b| a >= b));
    assert!(rows[0][1] > rows[0][0] && rows[0][2] > 0.0);
}

#[test]
fn mistakes_are_named() {
    let project = Project::new();
    let gone = project.fails(&["measure", "--main", "nowhere/at all"], 2);
    assert!(gone.contains("no model directory"), "{gone}");
    let folder = project.fails(&["measure", "--json", "nowhere/out.json"], 2);
    assert!(folder.contains("no such folder"), "{folder}");
    project.write("bad.toml", "[hooks.template-kll]\n");
    let kind = project.fails(&["measure", "--hooks", "bad.toml"], 2);
    assert!(
        kind.contains("unknown kind of hook") && kind.contains("template-kl"),
        "{kind}"
    );
    project.write("text.toml", "[hooks.perplexity]\n");
    let failed = project.fails(
        &[
            "measure",
            "--hooks",
            "text.toml",
            "--templates",
            "templates.tsv",
        ],
        6,
    );
    assert!(failed.contains("no held-out text"), "{failed}");
    let run = project.fails(&["replay", "runs/none"], 2);
    assert!(run.contains("is this the directory of a run?"), "{run}");
    let offline = project.fails(&["fetch", "small.toml", "--set", "models.main=org/gone"], 3);
    assert!(offline.contains("nothing may be fetched"), "{offline}");
}

#[test]
fn each_model_may_have_a_device_of_its_own() {
    let project = Project::new();
    let arguments = [
        "measure",
        "--templates",
        "templates.tsv",
        "--device",
        "main=flex,assistant=flex",
    ];
    project.milepost(&arguments).assert().success();
    let arguments = [
        "plan",
        "small.toml",
        "--device",
        "main=flex,assistant=abacus",
    ];
    let unknown = project.fails(&arguments, 2);
    assert!(unknown.contains("unknown device `abacus`"), "{unknown}");
    let unknown = project.fails(&["plan", "small.toml", "--set", "device={mian='flex'}"], 2);
    assert!(unknown.contains("device"), "{unknown}");
    if !cfg!(feature = "wgpu") {
        let missing = project.fails(&["plan", "small.toml", "--device", "wgpu"], 2);
        assert!(missing.contains("--features wgpu"), "{missing}");
    }
}

#[test]
fn the_table_says_how_prompts_were_decoded() {
    let project = Project::new();
    for (set, says) in [
        (
            "decode.max_new_tokens=3",
            "; greedy, 3 new tokens, drafts of 5",
        ),
        (
            "decode.sampling={temperature=0.7,top_k=9}",
            "; sampled (temperature 0.7, top-k 9, top-p 1), 20 new tokens",
        ),
    ] {
        let arguments = ["measure", "--templates", "templates.tsv", "--set", set];
        let assert = project.milepost(&arguments).assert().success();
        let shown = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
        assert!(shown.contains(says), "{shown}");
    }
}

/// A tokenizer may make nothing of a text; then no prompt is left to continue.
#[test]
fn a_prompt_of_no_token_is_named_before_the_run() {
    let (project, run) = finished();
    for role in ["main", "assistant"] {
        let path = run.join("models").join(role).join("tokenizer.json");
        let mut tokenizer: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        tokenizer["normalizer"] =
            serde_json::json!({ "type": "Replace", "pattern": { "String": "~" }, "content": "" });
        std::fs::write(&path, tokenizer.to_string()).unwrap();
        let class = r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#;
        std::fs::write(path.with_file_name("tokenizer_config.json"), class).unwrap();
    }
    let more = "~~ [M].\t~~ [M]\tthe woman\tsingular\tfemale\ttrait\n~ [M].\t~~ [M]\tthe man\tsingular\tmale\ttrait\n";
    project.write("templates.tsv", crate::harness::TEMPLATES.to_owned() + more);
    let model = |role: &str| {
        format!(
            "models.{role}='{}'",
            run.join("models").join(role).display()
        )
    };
    let set = format!("{} {}", model("main"), model("assistant"));
    let errors = project.fails(&["finetune", "small.toml", "--name", "b", "--set", &set], 3);
    assert!(
        errors.contains("templates.tsv:10: the tokenizer makes no token of `~~`"),
        "{errors}"
    );
    assert!(!project.path().join("runs/small/b").exists());
}
