//! A run that was killed, stopped or extended goes on as one that never was; damage is named, and nothing is changed before all is read.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Project, milestones, timeless, until};

/// How often the training loss stands in a run's event files.
fn losses_in_events(run: &Path) -> usize {
    let entries = std::fs::read_dir(run).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.to_string_lossy().contains("tfevents"));
    let tag = b"train/main/loss";
    let count = |bytes: Vec<u8>| bytes.windows(tag.len()).filter(|one| one == tag).count();
    files.map(|path| count(std::fs::read(path).unwrap())).sum()
}

#[test]
#[cfg(unix)]
fn a_killed_run_resumes_to_what_it_would_have_been() {
    let project = Project::new();
    let set = ["--set", "train.max_steps=40 train.save='every 4 steps'"];
    let whole = project.run("whole", &set);
    let arguments = [&["finetune", "small.toml", "--name", "killed"], &set[..]].concat();
    let mut child = project.spawn(&arguments);
    let killed = project.path().join("runs/small/killed");
    let second = killed.join("checkpoints/step-00000008");
    until("the second checkpoint", || second.exists());
    // Two more steps have reached TensorBoard's file, where they must not stand twice afterwards.
    let losses = || losses_in_events(&killed);
    let at_checkpoint = losses();
    until("two more steps", || losses() >= at_checkpoint + 2);
    child.kill().unwrap();
    child.wait().unwrap();
    project
        .milepost(&["finetune", "small.toml", "--resume", "killed"])
        .assert()
        .success();
    assert_eq!(timeless(&whole), timeless(&killed));
    for role in ["main", "assistant"] {
        let weights = |run: &Path| {
            std::fs::read(run.join("models").join(role).join("model.safetensors")).unwrap()
        };
        assert_eq!(weights(&whole), weights(&killed), "{role}");
    }
    if let Some(python) = crate::harness::python() {
        let scalars = |run: &Path| {
            let mut read = crate::harness::read_events(&python, run)["scalars"].clone();
            read.as_object_mut()
                .unwrap()
                .retain(|tag, _| !tag.starts_with("hook/"));
            read
        };
        assert_eq!(scalars(&whole), scalars(&killed));
    }
}

/// Every file of a folder with its bytes, but for the lock.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.file_name().unwrap() != ".lock" {
            found.push((path.clone(), std::fs::read(path).unwrap()));
        }
    }
    found.sort();
    found
}

/// Asserts that two runs recorded the same, but for times, and came to the same weights.
#[track_caller]
fn assert_equal(one: &Path, other: &Path) {
    assert_eq!(timeless(one), timeless(other));
    let of = |run: &Path, folder: &str| -> Vec<(PathBuf, Vec<u8>)> {
        let all = files(&run.join(folder)).into_iter();
        all.map(|(path, bytes)| (path.strip_prefix(run).unwrap().to_owned(), bytes))
            .collect()
    };
    for folder in ["models", "templates"] {
        assert!(of(one, folder) == of(other, folder), "{folder}");
    }
}

const RESUME: [&str; 4] = ["finetune", "small.toml", "--resume", "a"];

/// A run of six steps with checkpoints at 3 and 6, as if it had been killed at its very end.
fn killed_at_the_end(project: &Project) -> PathBuf {
    let run = project.run("a", &["--set", "train.save='every 3 steps'"]);
    std::fs::remove_file(run.join("outcome.json")).unwrap();
    run
}

/// The same, killed behind the first checkpoint.
fn half_a_run(project: &Project) -> PathBuf {
    let run = killed_at_the_end(project);
    std::fs::remove_dir_all(run.join("checkpoints/step-00000006")).unwrap();
    run
}

fn state(run: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(run.join("outcome.json")).unwrap()).unwrap()
}

#[test]
fn what_a_process_left_unfinished_is_cleared() {
    let project = Project::new();
    let run = half_a_run(&project);
    let unfinished = run.join("checkpoints/.unfinished-x");
    std::fs::create_dir(&unfinished).unwrap();
    // It was killed while a checkpoint was replaced: the old one is put back.
    let (first, replaced) = (
        run.join("checkpoints/step-00000003"),
        run.join("checkpoints/.replaced-step-00000003"),
    );
    std::fs::rename(&first, &replaced).unwrap();
    let resumed = project.milepost(&RESUME).assert().success();
    let said = String::from_utf8_lossy(&resumed.get_output().stderr).into_owned();
    assert!(
        said.contains("resumed from runs/small/a/checkpoints/step-00000003"),
        "{said}"
    );
    assert!(!unfinished.exists() && !replaced.exists());
    assert_equal(
        &project.run("whole", &["--set", "train.save='every 3 steps'"]),
        &run,
    );
}

#[test]
fn a_checkpoint_that_cannot_be_used_is_named_and_the_one_before_is_used() {
    let project = Project::new();
    let whole = project.run("whole", &["--set", "train.save='every 3 steps'"]);
    let run = killed_at_the_end(&project);
    let newest = run.join("checkpoints/step-00000006");
    let kept = files(&run);
    let names: Vec<PathBuf> = files(&newest).into_iter().map(|(path, _)| path).collect();
    assert!(names.len() >= 8, "{names:?}");
    for name in &names {
        for damage in ["flipped", "cut", "longer", "gone"] {
            // As it was, with one file damaged.
            std::fs::remove_dir_all(&run).unwrap();
            for (path, bytes) in &kept {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, bytes).unwrap();
            }
            let mut bytes = std::fs::read(name).unwrap();
            let middle = bytes.len() / 2;
            match damage {
                "flipped" => bytes[middle] ^= 4,
                "cut" => bytes.truncate(middle),
                "longer" => bytes.splice(middle..middle, [0, 1]).for_each(drop),
                _ => {}
            }
            match damage {
                "gone" => std::fs::remove_file(name).unwrap(),
                _ => std::fs::write(name, bytes).unwrap(),
            }
            let resumed = project.milepost(&RESUME).assert().success();
            let said = String::from_utf8_lossy(&resumed.get_output().stderr).into_owned();
            let file = name.file_name().unwrap().to_string_lossy();
            assert!(
                said.contains("the checkpoint of step 6 cannot be used")
                    && said.contains("step-00000006"),
                "{file} {damage}: {said}"
            );
            assert!(
                said.contains("resumed from runs/small/a/checkpoints/step-00000003"),
                "{said}"
            );
            assert!(run.join("checkpoints/damaged-step-00000006").is_dir());
            assert_equal(&whole, &run);
        }
    }
}

#[test]
fn without_a_checkpoint_that_can_be_used_nothing_is_changed() {
    let project = Project::new();
    let run = half_a_run(&project);
    let lines = run.join("milestones.jsonl");
    let text = std::fs::read_to_string(&lines).unwrap();
    let changed = text.replacen("\"step\":2", "\"step\":7", 1);
    assert_ne!(text, changed);
    for (written, says) in [
        ("", "lines are lost"),
        (&*changed, "are not what was written"),
    ] {
        std::fs::write(&lines, written).unwrap();
        let before = files(&run);
        let message = project.fails(&RESUME, 4);
        assert!(
            message.contains("milestones.jsonl") && message.contains(says),
            "{message}"
        );
        assert!(
            message.contains("no checkpoint of this run can be used"),
            "{message}"
        );
        assert!(files(&run) == before, "nothing is changed");
    }
    // The event file is part of it, too.
    std::fs::write(&lines, text).unwrap();
    for entry in std::fs::read_dir(&run).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains("tfevents") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let message = project.fails(&RESUME, 4);
    assert!(message.contains("no event file here begins"), "{message}");
}

/// `models/` belongs to an end. A run that goes on has none: what lies there is of another step than its last line.
#[test]
fn a_run_that_is_not_over_has_no_models_of_its_end() {
    let project = Project::new();
    let run = killed_at_the_end(&project);
    std::fs::remove_dir_all(run.join("checkpoints/step-00000006")).unwrap();
    assert!(run.join("models/main").is_dir());
    let replayed = project.milepost(&["replay", "runs/small/a"]).assert();
    let said = String::from_utf8_lossy(&replayed.get_output().stdout).into_owned();
    assert!(said.contains("measuring steps 0, 3 of"), "{said}");
    // As far as a resume has taken the folder back when it is killed again.
    let arguments = [&RESUME[..], &["--extend", "train.max_steps=3000"]].concat();
    let mut child = project.spawn(&arguments);
    until("the models are gone", || !run.join("models").exists());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_run_without_a_checkpoint_begins_anew() {
    let project = Project::new();
    let run = project.run("a", &[]);
    let whole = project.run("whole", &[]);
    std::fs::remove_file(run.join("outcome.json")).unwrap();
    project.milepost(&RESUME).assert().success();
    assert_equal(&whole, &run);
    // Killed between the two first files of a run, before its first line.
    for name in ["outcome.json", "manifest.json", "milestones.jsonl"] {
        std::fs::remove_file(run.join(name)).unwrap();
    }
    project.milepost(&RESUME).assert().success();
    assert!(run.join("manifest.json").is_file());
    assert_equal(&whole, &run);
}

#[test]
fn two_processes_never_write_one_run() {
    let project = Project::new();
    let run = half_a_run(&project);
    let before = files(&run);
    let held = milepost::record::RunDirectory::existing(&run).unwrap();
    let message = project.fails(&RESUME, 5);
    assert!(
        message.contains("another process is writing into"),
        "{message}"
    );
    assert!(files(&run) == before);
    drop(held);
    project.milepost(&RESUME).assert().success();
}

#[test]
fn a_finished_run_says_so_and_how_to_extend_it() {
    let project = Project::new();
    let run = project.run("a", &["--set", "train.save='end'"]);
    let before = files(&run);
    let message = project.fails(&RESUME, 2);
    for says in ["complete", "after 6 steps", "--extend train.max_steps=N"] {
        assert!(message.contains(says), "{message}");
    }
    let refused =
        |set: &str, code: i32| project.fails(&[&RESUME[..], &["--extend", set]].concat(), code);
    let message = refused("train.batch=4", 2);
    assert!(
        message.contains("`train.batch` cannot change in the middle of a run"),
        "{message}"
    );
    let message = refused("train.max_steps=6", 4);
    assert!(
        message.contains("there is nothing to go on with"),
        "{message}"
    );
    assert!(files(&run) == before, "nothing is changed");
    // At a constant rate, more steps are what a longer run would have done.
    let constant =
        |steps: u64| format!("train.save='end' train.schedule='constant' train.max_steps={steps}");
    let long = project.run("long", &["--set", &constant(9)]);
    project.run("b", &["--set", &constant(6)]);
    let resume = [
        "finetune",
        "small.toml",
        "--resume",
        "b",
        "--extend",
        "train.max_steps=9",
    ];
    project.milepost(&resume).assert().success();
    let extended = project.path().join("runs/small/b");
    assert_eq!(state(&extended)["stop"], "complete");
    assert_eq!(state(&extended)["steps"], 9);
    let report = std::fs::read_to_string(extended.join("report.html")).unwrap();
    let said = "with other settings from step 6 on: train.max_steps=9";
    assert!(report.contains(said), "{report}");
    let losses = |run: &Path| -> Vec<Value> {
        let lines = timeless(run).into_iter();
        lines.filter(|line| line["source"] == "train").collect()
    };
    assert_eq!(losses(&long), losses(&extended));
    let weights = |run: &Path| std::fs::read(run.join("models/main/model.safetensors")).unwrap();
    assert!(weights(&long) == weights(&extended));
    // Nothing was saved: there is nothing to go on from, and the run stays what it is.
    let bare = project.run("bare", &[]);
    let before = files(&bare);
    let message = project.fails(
        &[
            "finetune",
            "small.toml",
            "--resume",
            "bare",
            "--extend",
            "train.max_steps=9",
        ],
        4,
    );
    assert!(
        message.contains("begin a new run where nothing was saved"),
        "{message}"
    );
    assert!(files(&bare) == before);
}

#[test]
fn a_run_that_failed_is_not_begun_again_by_a_resume() {
    let project = Project::new();
    let set = [
        "--set",
        "train.lr=1e30 train.clip=0 train.save='every step'",
    ];
    let arguments = [&["finetune", "small.toml", "--name", "a"], &set[..]].concat();
    project.fails(&arguments, 4);
    let run = project.path().join("runs/small/a");
    assert_eq!(state(&run)["stop"], "failed");
    let message = project.fails(&RESUME, 2);
    assert!(
        message.contains("this run is over: failed") && message.contains("--extend train.lr"),
        "{message}"
    );
    let lower = [&RESUME[..], &["--extend", "train.lr=1e-3"]].concat();
    // Whether it can go on depends on what was saved; in any case one message, and no panic.
    let output = project.milepost(&lower).output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 4)), "{output:?}");
}

#[test]
fn the_last_checkpoints_are_kept_and_the_best() {
    let project = Project::new();
    let saved = |name: &str, set: &str| -> Vec<String> {
        let set = format!("train.save='every step' {set}");
        let run = project.run(name, &["--set", &set]);
        let mut names: Vec<String> = std::fs::read_dir(run.join("checkpoints"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
            .iter()
            .map(|name| name[name.len() - 1..].to_owned())
            .collect()
    };
    assert_eq!(saved("two", ""), ["5", "6"]);
    assert_eq!(saved("one", "train.keep=1"), ["6"]);
    assert_eq!(
        saved("all", "train.keep='all'"),
        ["1", "2", "3", "4", "5", "6"]
    );
    // Measured at 3 and at 6 only; whichever is the better by either word is kept.
    let mut kept = Vec::new();
    for which in ["lowest", "highest"] {
        let best = format!(
            "train.keep=1 train.keep_best='{which} eval/main/perplexity' hooks.perplexity.at='every 3 steps'"
        );
        kept.push(saved(which, &best));
    }
    let run = project.path().join("runs/small/lowest");
    let lines = milestones(&run).into_iter();
    let perplexities: Vec<f64> = lines
        .filter_map(|line| line["scalars"]["eval/main/perplexity"].as_f64())
        .collect();
    assert_eq!(perplexities.len(), 2);
    let falls = perplexities[1] < perplexities[0];
    assert_eq!(kept[usize::from(falls)], ["3", "6"]);
    assert_eq!(kept[usize::from(!falls)], ["6"]);
    for (set, says) in [
        ("train.keep=0", "at least 1"),
        ("train.keep='some'", "or \"all\""),
        ("train.keep_best='eval/main/loss'", "lowest eval/main/loss"),
    ] {
        let message = project.fails(&["plan", "small.toml", "--set", set], 2);
        assert!(message.contains(says), "{message}");
    }
}

#[test]
#[cfg(unix)]
fn a_run_stopped_by_ctrl_c_goes_on_as_if_it_never_had_been() {
    let project = Project::new();
    let set = ["--set", "train.max_steps=60"];
    let whole = project.run("whole", &set);
    let child = project.spawn(&[&["finetune", "small.toml", "--name", "a"], &set[..]].concat());
    let run = project.path().join("runs/small/a");
    let lines = run.join("milestones.jsonl");
    until("some lines", || {
        std::fs::metadata(&lines).is_ok_and(|file| file.len() >= 2000)
    });
    signal(child.id(), "-INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("stopped by Ctrl-C after step"), "{shown}");
    assert!(run.join("models/main/model.safetensors").is_file());
    assert_eq!(milestones(&run).pop().unwrap()["event"], "run-end");
    assert_eq!(state(&run)["stop"], "interrupted");
    project.milepost(&RESUME).assert().success();
    assert_equal(&whole, &run);
    assert_eq!(state(&run)["stop"], "complete");
}

#[cfg(unix)]
fn signal(process: u32, signal: &str) {
    let sent = std::process::Command::new("kill")
        .args([signal, &process.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// A hook that takes long keeps the first Ctrl-C waiting; the second ends the run at once.
#[test]
#[cfg(unix)]
fn a_second_ctrl_c_leaves_at_once_and_says_what_is_saved() {
    let project = Project::new();
    // So many draws that the milestone at step 4 takes a minute. The other hooks are inline, and one of them is called at step 4 just before.
    let inline = [
        "template-kl",
        "assistant-share",
        "perplexity",
        "match-disparity",
    ]
    .map(|hook| format!("hooks.{hook}.runs='inline'"))
    .join(" ");
    let slow = |save: &str| {
        format!(
            "train.max_steps=400 {save} hooks.template-kl.at='steps 4' hooks.match-disparity.at='steps 4' hooks.match-disparity.draws=100000000 {inline}"
        )
    };
    for (name, save, says) in [
        (
            "saved",
            "train.save='every 2 steps'",
            "the last checkpoint is runs/small/saved/checkpoints/step-00000002",
        ),
        ("bare", "", "nothing is saved"),
    ] {
        let set = slow(save);
        let child = project.spawn(&["finetune", "small.toml", "--name", name, "--set", &set]);
        let lines = project
            .path()
            .join(format!("runs/small/{name}/milestones.jsonl"));
        // A checkpoint is written while the training goes on.
        let checkpoint = project
            .path()
            .join(format!("runs/small/{name}/checkpoints/step-00000002"));
        until("the checkpoint", || save.is_empty() || checkpoint.exists());
        until("the call of template-kl at step 4", || {
            let text = std::fs::read_to_string(&lines).unwrap_or_default();
            let of_hook = |line: &str| line.contains("template-kl") && line.contains("\"step\":4,");
            text.lines().any(of_hook)
        });
        std::thread::sleep(std::time::Duration::from_millis(500));
        signal(child.id(), "-INT");
        std::thread::sleep(std::time::Duration::from_millis(1100));
        signal(child.id(), "-INT");
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains("left at once") && said.contains(says),
            "{said}"
        );
    }
}
