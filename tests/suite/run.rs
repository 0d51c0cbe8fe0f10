//! The loop: the same bytes for the same seed, hooks that change nothing, failures, requests.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use milepost::clock::Length;
use milepost::hook::{Context, Request, Runs};
use milepost::train::{Begin, OnError, StopReason, finetune};

use crate::harness::{Project, milestones, timeless};
use crate::small_run::*;

#[test]
fn a_failing_hook_ends_neither_the_run_nor_another_hook() {
    let folder = tempfile::tempdir().unwrap();
    let at = ["start", "every step"];
    let mut retry = spec(
        "retries",
        &at,
        Each(|_: &mut Context| anyhow::bail!("not today")),
    );
    retry.on_error = OnError::Retry;
    let mut slow = spec(
        "slow",
        &["start"],
        Each(|_: &mut Context| {
            std::thread::sleep(Duration::from_millis(1100));
            Ok(())
        }),
    );
    slow.deadline = Some(1);
    let mut inline = spec(
        "inline-panics",
        &at,
        Each(|_: &mut Context| panic!("inline boom")),
    );
    inline.runs = Runs::Inline;
    let hooks = vec![
        spec("panics", &at, Each(|_: &mut Context| panic!("boom {}", 1))),
        inline,
        retry,
        slow,
        spec(
            "twice",
            &at,
            Each(|context: &mut Context| {
                context.scalar("a/b", 1.0);
                context.scalar("a/b", 2.0);
                Ok(())
            }),
        ),
        spec(
            "good",
            &at,
            Each(|context: &mut Context| {
                context.scalar("good/one", 1.0);
                Ok(())
            }),
        ),
        spec(
            "thief",
            &at,
            Each(|context: &mut Context| {
                context.scalar("good/one", 7.0);
                Ok(())
            }),
        ),
    ];
    let (outcome, trace) = go(plan(&folder.path().join("run"), 7, Length::Steps(2), hooks));
    assert_eq!(outcome.stop, StopReason::Complete);
    let failed = |name: &str| {
        outcome
            .failures
            .iter()
            .filter(|failure| failure.name == name)
            .count()
    };
    assert_eq!(
        [
            "panics",
            "inline-panics",
            "retries",
            "slow",
            "twice",
            "good",
            "thief"
        ]
        .map(failed),
        [1, 1, 3, 1, 1, 0, 1]
    );
    assert_eq!(outcome.spans["good/one"].last, (2, 1.0));
    let all = trace.said.join("\n");
    for says in [
        "panicked: boom 1",
        "panicked: inline boom",
        "not today",
        "deadline of 1 s",
        "`a/b` has been reported",
        "it is switched off",
    ] {
        assert!(all.contains(says), "{says}: {all}");
    }
    let lines = milestones(&folder.path().join("run"));
    assert!(
        lines
            .iter()
            .any(|line| line["texts"]["hook/panics/error"] == "panicked: boom 1")
    );
}

#[test]
fn hooks_may_ask_to_stop_to_save_and_to_evaluate() {
    let folder = tempfile::tempdir().unwrap();
    let mut hook = spec(
        "asks",
        &["steps 1, 3"],
        Each(|context: &mut Context| {
            if context.milestone().step == 3 {
                context.request_stop("seen enough");
                context.request_save();
            }
            context.request_evaluation();
            Ok(())
        }),
    );
    hook.runs = Runs::Inline;
    let (outcome, trace) = go(plan(
        &folder.path().join("run"),
        40,
        Length::Steps(9),
        vec![hook],
    ));
    assert_eq!(
        outcome.stop,
        StopReason::Requested("seen enough".to_owned())
    );
    assert_eq!(outcome.clock.step.0, 3);
    assert!(trace.events.contains(&"evaluated 0/2/4".to_owned()));
    assert!(
        folder
            .path()
            .join("run/checkpoints/step-00000003/state.json")
            .is_file()
    );
    assert!(trace.events.last().unwrap().starts_with("run-end"));
    let mut stop = spec(
        "stops",
        &["steps 2"],
        Each(|_: &mut Context| anyhow::bail!("cannot go on")),
    );
    stop.on_error = OnError::Stop;
    stop.runs = Runs::Inline;
    let (outcome, _) = go(plan(
        &folder.path().join("other"),
        40,
        Length::Steps(9),
        vec![stop],
    ));
    assert!(
        matches!(outcome.stop, StopReason::Requested(reason) if reason.contains("cannot go on"))
    );
    // The requests themselves are plain data that tests of hooks can look at.
    assert_ne!(Request::Save, Request::Evaluate);
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_with_the_last_good_weights() {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = plan(
        &folder.path().join("run"),
        40,
        Length::Steps(50),
        Vec::new(),
    );
    plan.training.schedule.peak = 1e30;
    plan.training.clip = None;
    plan.training.save = None;
    let error = finetune(
        plan,
        Begin::Anew,
        &mut Trace::default(),
        &AtomicBool::new(false),
    )
    .unwrap_err()
    .to_string();
    assert!(
        error.contains("loss of the main model is")
            || error.contains("loss of the assistant model is"),
        "{error}"
    );
    assert!(
        error.contains("saved in") && error.contains("train.lr"),
        "{error}"
    );
    let saved = std::fs::read_dir(folder.path().join("run/checkpoints"))
        .unwrap()
        .count();
    assert_eq!(saved, 1);
    let last = milestones(&folder.path().join("run")).pop().unwrap();
    assert_eq!(last["event"], "run-failed");
}

#[test]
fn the_same_seed_gives_the_same_run_with_and_without_hooks() {
    let project = Project::new();
    let (one, two) = (project.run("one", &[]), project.run("two", &[]));
    assert_eq!(timeless(&one), timeless(&two));
    let weights = |run: &Path| std::fs::read(run.join("models/main/model.safetensors")).unwrap();
    assert_eq!(weights(&one), weights(&two));
    let bare = project.run("bare", &["--no-hooks"]);
    let losses = |run: &Path| {
        let lines = timeless(run)
            .into_iter()
            .filter(|line| line["source"] == "train");
        lines
            .map(|line| line["scalars"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(losses(&one).len(), 6);
    assert_eq!(losses(&one), losses(&bare));
    assert_eq!(weights(&one), weights(&bare));
    let other = project.run("other", &["--set", "seed=2"]);
    assert_ne!(losses(&one), losses(&other));
}

#[test]
fn gradient_accumulation_is_the_larger_batch() {
    let project = Project::new();
    let losses = |name: &str, set: &str| {
        let run = project.run(name, &["--no-hooks", "--set", set]);
        let lines = milestones(&run)
            .into_iter()
            .filter(|line| line["source"] == "train");
        lines
            .map(|line| line["scalars"]["train/main/loss"].as_f64().unwrap())
            .collect::<Vec<_>>()
    };
    let whole = losses("whole", "train.batch=4 train.dropout=0.0");
    let parts = losses(
        "parts",
        "train.batch=2 train.accumulation=2 train.dropout=0.0",
    );
    for (whole, parts) in whole.iter().zip(&parts) {
        assert!((whole - parts).abs() < 2e-5, "{whole} {parts}");
    }
}
