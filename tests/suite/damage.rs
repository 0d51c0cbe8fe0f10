//! Files of a run that are not what the run has written: named, and refused or said.

use std::path::{Path, PathBuf};

use milepost::hooks::shipping;
use milepost::report::{RecordedRun, page};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

use crate::harness::{Project, milestones};

/// Makes a run look as if an older version had written it.
fn aged(run: &Path) {
    let without = |path: &Path, keys: &[&str]| {
        let mut value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for key in keys {
            value.as_object_mut().unwrap().shift_remove(*key);
        }
        std::fs::write(path, value.to_string()).unwrap();
    };
    without(&run.join("outcome.json"), &["milestones", "hooks"]);
    without(
        &run.join("manifest.json"),
        &["format", "sha256", "inputs", "experiments", "pairs_sha256"],
    );
    let lines = milestones(run).into_iter().map(|mut line| {
        line.as_object_mut().unwrap().shift_remove("files");
        format!("{line}\n")
    });
    let lines: String = lines.collect();
    std::fs::write(run.join("milestones.jsonl"), lines).unwrap();
}

/// The files whose every byte matters.
fn checked(run: &Path) -> Vec<PathBuf> {
    let mut paths = vec![
        run.join("milestones.jsonl"),
        run.join("manifest.json"),
        run.join("experiment.toml"),
    ];
    for entry in std::fs::read_dir(run.join("templates")).unwrap() {
        paths.push(entry.unwrap().path());
    }
    paths.sort();
    paths
}

#[test]
fn every_changed_byte_of_a_run_is_named_and_refused() {
    let project = Project::new();
    let run = project.run("a", &[]);
    RecordedRun::read(&run, &shipping()).unwrap();
    let paths = checked(&run);
    assert!(paths.len() > 6, "{paths:?}");
    let kinds = (
        0..paths.len(),
        any::<prop::sample::Index>(),
        any::<u8>(),
        0..4,
    );
    let mut runner = TestRunner::new(Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    });
    let tested = runner.run(&kinds, |(file, place, byte, way)| {
        let path = &paths[file];
        let before = std::fs::read(path).unwrap();
        let place = place.index(before.len());
        let mut bytes = before.clone();
        match way {
            0 => bytes[place] = byte,
            1 => {
                bytes.remove(place);
            }
            2 => bytes.insert(place, byte),
            _ => bytes.truncate(place),
        }
        prop_assume!(bytes != before);
        std::fs::write(path, &bytes).unwrap();
        let read = RecordedRun::read(&run, &shipping());
        let forced = RecordedRun::read_damaged(&run, &shipping());
        std::fs::write(path, &before).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let message = read.err().map(|error| error.to_string());
        prop_assert!(
            message
                .as_ref()
                .is_some_and(|message| message.contains(&name)),
            "{name}: {message:?}"
        );
        // Where enough is left, the report of it says what is wrong.
        match forced {
            Ok(run) => {
                let html = page(std::slice::from_ref(&run));
                prop_assert!(html.contains("Read by --force although it is damaged"));
                prop_assert!(
                    run.damage.iter().any(|what| what.contains(&name)),
                    "{:?}",
                    run.damage
                );
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
        Ok(())
    });
    tested.unwrap();
    RecordedRun::read(&run, &shipping()).unwrap();
}

#[test]
fn what_was_changed_is_said_with_its_line_where_it_can_be_told() {
    let project = Project::new();
    let run = project.run("a", &[]);
    let path = run.join("milestones.jsonl");
    let whole = std::fs::read_to_string(&path).unwrap();
    // Another number: it can only be told that the file is another.
    let changed = whole.replacen("\"step\":3", "\"step\":2", 1);
    std::fs::write(&path, &changed).unwrap();
    let message = project.fails(&["report", "runs/small/a"], 3);
    assert!(
        message.contains("milestones.jsonl: it was changed after it was written")
            && message.contains("--force"),
        "{message}"
    );
    // No JSON any more: its line.
    let changed = whole.replacen("\"event\":", "event:", 1);
    std::fs::write(&path, &changed).unwrap();
    let message = project.fails(&["report", "runs/small/a"], 3);
    assert!(message.contains("milestones.jsonl:1:"), "{message}");
    let forced = ["report", "runs/small/a", "--force"];
    project.milepost(&forced).assert().success();
    let html = project.read("runs/small/a/report.html");
    assert!(
        html.contains("Read by --force although it is damaged: runs/small/a/milestones.jsonl:1:"),
        "{html}"
    );
    for command in ["compare", "calibrate"] {
        let runs = ["runs/small/a"; 2];
        let runs = &runs[..if command == "compare" { 2 } else { 1 }];
        let message = project.fails(&[&[command], runs].concat(), 3);
        assert!(message.contains("milestones.jsonl:1:"), "{message}");
    }
    std::fs::write(&path, &whole).unwrap();
    // A file that the run wrote is gone.
    let values = run.join("templates/step-00000006-match-disparity.tsv");
    std::fs::remove_file(values).unwrap();
    let message = project.fails(&["report", "runs/small/a"], 3);
    assert!(
        message.contains("step-00000006-match-disparity.tsv"),
        "{message}"
    );
}

#[test]
fn values_of_discarded_steps_are_not_read() {
    let project = Project::new();
    let run = project.run("a", &[]);
    let text = std::fs::read_to_string(run.join("milestones.jsonl")).unwrap();
    for age in ["new", "old"] {
        if age == "old" {
            aged(&run);
        }
        let there = RecordedRun::read(&run, &shipping()).unwrap().columns["n_matches"].clone();
        assert_eq!(there.keys().copied().collect::<Vec<_>>(), [0, 3, 6]);
        let stray = "templates/step-00000005-match-disparity.tsv";
        let other = "templates/step-00000006-match-disparity.tsv";
        std::fs::copy(run.join(other), run.join(stray)).unwrap();
        let found = RecordedRun::read(&run, &shipping()).unwrap();
        assert_eq!(found.columns["n_matches"], there, "{age}");
        std::fs::remove_file(run.join(stray)).unwrap();
    }
    // A line that leads out of the run's folder is not followed.
    let out = text.replacen("\"templates/step-", "\"../templates/step-", 1);
    assert_ne!(text, out);
    std::fs::write(run.join("milestones.jsonl"), out).unwrap();
    let message = project.fails(&["report", "runs/small/a"], 3);
    assert!(message.contains("is no file below templates/"), "{message}");
}

#[test]
fn runs_of_older_versions_are_read_and_said_to_have_no_checksums() {
    let project = Project::new();
    let run = project.run("a", &[]);
    aged(&run);
    project
        .milepost(&["report", "runs/small/a"])
        .assert()
        .success();
    let html = project.read("runs/small/a/report.html");
    assert!(
        html.contains("An older version wrote this run: templates/, milestones.jsonl, manifest.json cannot be checked"),
        "{html}"
    );
    // Whether its inputs are what they were cannot be told, so it is not gone on with unasked.
    std::fs::remove_file(run.join("outcome.json")).unwrap();
    let message = project.fails(&["finetune", "small.toml", "--resume", "a"], 3);
    assert!(message.contains("an older version wrote it"), "{message}");
}

#[test]
fn a_replay_is_one_processs_alone() {
    let project = Project::new();
    let run = project.run("a", &[]);
    let replay = ["replay", "runs/small/a", "--name", "x"];
    let aside = run.join("replay/.unfinished-x");
    std::fs::create_dir_all(&aside).unwrap();
    let held = milepost::record::lock(&aside).unwrap();
    std::fs::write(aside.join("milestones.jsonl"), "of the first\n").unwrap();
    let message = project.fails(&replay, 5);
    assert!(
        message.contains("another process is writing into"),
        "{message}"
    );
    assert_eq!(message.matches("error:").count(), 1, "{message}");
    let kept = std::fs::read_to_string(aside.join("milestones.jsonl")).unwrap();
    assert_eq!(kept, "of the first\n");
    drop(held);
    // What a process leaves that was killed is in nobody's way.
    project.milepost(&replay).assert().success();
    assert!(!aside.exists());
    let text = std::fs::read_to_string(run.join("replay/x/milestones.jsonl")).unwrap();
    assert!(!text.contains("of the first"), "{text}");
}
