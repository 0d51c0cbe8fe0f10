//! Many seeds and settings: one process each, killed, resumed, pooled.

use std::path::{Path, PathBuf};

use milepost::hook::Cells;
use milepost::hooks::shipping;
use milepost::report::RecordedRun;
use milepost::report::pooling::pool;
use serde_json::Value;

use crate::harness::{Project, close, timeless, until};

const SEEDS: [&str; 4] = ["sweep", "small.toml", "--seeds", "1,2,3"];

fn cell(project: &Project, sweep: &str, name: &str) -> PathBuf {
    project.path().join("runs/small").join(sweep).join(name)
}

fn pooled(project: &Project, sweep: &str) -> Value {
    serde_json::from_str(&project.read(&format!("runs/small/{sweep}/pooled.json"))).unwrap()
}

/// The processes that a process has started and not yet waited for.
#[cfg(target_os = "linux")]
fn children(process: u32) -> Vec<String> {
    let path = format!("/proc/{process}/task/{process}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
#[cfg(target_os = "linux")]
fn a_killed_run_is_resumed_and_the_seeds_are_pooled() {
    let project = Project::new();
    let set = ["--set", "train.max_steps=40 train.save='every 4 steps'"];
    let arguments = [&SEEDS[..], &set, &["--name", "killed"]].concat();
    let sweep = project.spawn(&arguments);
    let second = cell(&project, "killed", "seed=2");
    let checkpoint = second.join("checkpoints/step-00000008");
    until("a checkpoint of the second run", || checkpoint.exists());
    let running = children(sweep.id());
    assert_eq!(running.len(), 1, "one run at a time");
    let killed = std::process::Command::new("kill")
        .args(["-9", &running[0]])
        .status();
    assert!(killed.unwrap().success());
    let output = sweep.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("seed=2 FAILED: it was killed"), "{said}");
    assert!(said.contains("seed=3 done"), "the others go on: {said}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("run seed=2 failed: it was killed; the same command goes on with it"),
        "{errors}"
    );
    assert_eq!(
        pooled(&project, "killed")[0]["pooled"]["runs"]
            .as_array()
            .unwrap()
            .len(),
        2
    );

    let first = cell(&project, "killed", "seed=1");
    let before = std::fs::metadata(first.join("milestones.jsonl"))
        .unwrap()
        .modified()
        .unwrap();
    let again = project.milepost(&arguments).assert().success();
    let said = String::from_utf8_lossy(&again.get_output().stdout).into_owned();
    assert!(
        said.contains("3 runs in runs/small/killed: 2 done, 1 to do"),
        "{said}"
    );
    let after = std::fs::metadata(first.join("milestones.jsonl"))
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(before, after, "what is done is left alone");
    let log = project.read("runs/small/killed/seed=2.log");
    assert!(log.contains("resumed from"), "{log}");

    // Runs never killed, started by hand, are the same; so is what they are pooled to.
    let by_hand: Vec<RecordedRun> = ["1", "2", "3"]
        .iter()
        .map(|seed| {
            let run = project.run(
                seed,
                &[&set[..], &["--set", &format!("seed={seed}")]].concat(),
            );
            assert_eq!(
                timeless(&run),
                timeless(&cell(&project, "killed", &format!("seed={seed}")))
            );
            RecordedRun::read(&run, &shipping()).unwrap()
        })
        .collect();
    let expected = pool(&by_hand.iter().collect::<Vec<_>>()).unwrap().remove(0);
    let found = &pooled(&project, "killed")[0]["pooled"];
    for (name, one) in [
        ("over_seeds", expected.over_seeds),
        ("over_seeds_identities_templates", expected.over_all),
    ] {
        assert_eq!(found[name]["change"].as_f64(), Some(one.value));
        assert_eq!(found[name]["low"].as_f64(), Some(one.low));
        assert_eq!(found[name]["high"].as_f64(), Some(one.high));
        assert_eq!(found[name]["p_value"].as_f64(), Some(one.p_value));
    }
    assert!(said.contains("over seeds, identities, templates"), "{said}");
    rows_are_means_with_students_t(&project, &by_hand, &said);
    let html = project.read("runs/small/killed/report.html");
    assert!(html.contains("All runs together") && html.contains("seed=3"));
    if let Some(python) = crate::harness::python() {
        for seed in [1, 2, 3] {
            let run = cell(&project, "killed", &format!("seed={seed}"));
            let read = crate::harness::read_events(&python, &run);
            assert_eq!(read["hparams"]["values"]["seed"], f64::from(seed));
        }
    }
}

/// Every row of the runs' own tables is pooled: its mean, and Student's t over three seeds by the quantile of its tables, 4.302653 with two
/// degrees of freedom.
fn rows_are_means_with_students_t(project: &Project, runs: &[RecordedRun], said: &str) {
    let document = pooled(project, "killed");
    let rows = document.as_array().unwrap().iter();
    let rows = rows.filter_map(|part| part["rows"].as_array()).flatten();
    let rows: Vec<&Value> = rows.collect();
    let declared = runs[0]
        .rows()
        .filter(|row| row.cells == Cells::Change && runs[0].change(&row.tag).is_ok());
    let declared: Vec<_> = declared.collect();
    assert!(declared.len() > 3);
    for row in declared {
        let found = rows.iter().find(|found| found["tag"] == *row.tag);
        let found = found.unwrap_or_else(|| panic!("{} is not pooled", row.tag));
        let ends = runs.iter().map(|run| {
            let scalars = &run.scalars[&row.tag];
            [scalars[0].1, scalars[scalars.len() - 1].1]
        });
        let ends: Vec<[f64; 2]> = ends.collect();
        let mean = |of: &dyn Fn(&[f64; 2]) -> f64| ends.iter().map(of).sum::<f64>() / 3.0;
        let change = mean(&|[start, end]| end - start);
        let squares = mean(&|[start, end]| (end - start - change).powi(2));
        let half = 4.302_653 * (squares / 2.0).sqrt();
        close(
            found["start"].as_f64().unwrap(),
            mean(&|ends| ends[0]),
            1e-12,
            1e-12,
            &row.tag,
        );
        close(
            found["end"].as_f64().unwrap(),
            mean(&|ends| ends[1]),
            1e-12,
            1e-12,
            &row.tag,
        );
        close(
            found["change"].as_f64().unwrap(),
            change,
            1e-9,
            1e-3,
            &row.tag,
        );
        let size = change.abs() + half + 1e-9;
        close(
            found["low"].as_f64().unwrap(),
            change - half,
            1e-6,
            size,
            &row.tag,
        );
        close(
            found["high"].as_f64().unwrap(),
            change + half,
            1e-6,
            size,
            &row.tag,
        );
        assert!(said.contains(row.name.trim_start()), "{said}");
    }
    let html = project.read("runs/small/killed/report.html");
    assert!(html.contains("Every measure, mean over the seeds"));
}

#[test]
fn a_grid_has_every_combination_and_one_failure_ends_no_other() {
    let project = Project::new();
    // A rate at which the loss leaves the finite numbers.
    let arguments = [
        "sweep",
        "small.toml",
        "--seeds",
        "2,1",
        "--grid",
        "train.lr=1e-3,1e30",
        "--set",
        "train.clip=0",
        "--jobs",
        "2",
    ];
    let assert = project.milepost(&arguments).assert().code(4);
    let said = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    let errors = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    for seed in [1, 2] {
        let good = format!("train.lr=1e-3,seed={seed}");
        let bad = format!("train.lr=1e30,seed={seed}");
        assert!(said.contains(&format!("{good} done")), "{said}");
        assert!(said.contains(&format!("{bad} FAILED with 4")), "{said}");
        assert!(
            errors.contains(&format!("run {bad} failed: error: ")),
            "{errors}"
        );
        assert!(cell(&project, "sweep", &good).join("report.html").is_file());
    }
    let found = pooled(&project, "sweep");
    assert_eq!(
        found.as_array().unwrap().len(),
        2,
        "the gap, and the rows of the tables"
    );
    assert_eq!(found[0]["pooled"]["runs"].as_array().unwrap().len(), 2);
    // The same rate would end them the same way: they are listed, not begun again.
    let log = || project.read("runs/small/sweep/train.lr=1e30,seed=1.log");
    let before = log();
    let assert = project.milepost(&arguments).assert().code(4);
    let said = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    let errors = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(said.contains("2 done, 2 failed, 0 to do"), "{said}");
    for seed in [1, 2] {
        let bad = format!("run train.lr=1e30,seed={seed} failed: the ");
        assert!(errors.contains(&bad), "{errors}");
    }
    assert!(errors.contains("to try it anew remove"), "{errors}");
    assert_eq!(before, log());
    assert_eq!(pooled(&project, "sweep"), found);
}

/// What a cluster's scheduler is given: commands that need nothing of each other.
#[test]
#[cfg(unix)]
fn the_commands_of_missing_runs_can_be_run_elsewhere() {
    let project = Project::new();
    let print = |more: &[&str]| {
        let assert = project
            .milepost(&[&SEEDS[..], &["--print"], more].concat())
            .assert()
            .success();
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    };
    let commands = print(&["--set", "train.max_steps=4"]);
    assert_eq!(commands.lines().count(), 3, "{commands}");
    let begun = std::fs::read_dir(project.path().join("runs/small/sweep")).unwrap();
    assert_eq!(begun.count(), 1, "only sweep.toml, nothing was run");
    for line in commands.lines() {
        let run = std::process::Command::new("sh")
            .args(["-c", line])
            .current_dir(project.path())
            .output()
            .unwrap();
        assert!(
            run.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&run.stderr)
        );
    }
    assert_eq!(print(&["--set", "train.max_steps=4"]), "");
    // Only the pooling is left.
    let arguments = [&SEEDS[..], &["--set", "train.max_steps=4"]].concat();
    let assert = project.milepost(&arguments).assert().success();
    let said = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert!(said.contains("3 done, 0 to do"), "{said}");
    assert_eq!(
        pooled(&project, "sweep")[0]["pooled"]["runs"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

#[test]
fn mistakes_are_said_before_the_first_run() {
    let project = Project::new();
    for (more, part) in [
        (["--grid", "train.lrr=1e-3,2e-3"], "unknown key `lrr`"),
        (["--grid", "train.lr"], "KEY=VALUE"),
        (["--grid", "train.lr=1e-3,"], "a value is missing"),
        (["--seeds", "1,x"], "invalid value"),
        (["--jobs", "0"], "invalid value"),
        (["--grid", "seed=1,2"], "--seeds"),
        (["--grid", "train.lr=1e-3,0.001"], "have the same settings"),
        (["--grid", "about='a/b','a-b'"], "in the same folder"),
        (["--grid", "about='a,b"], "not closed"),
        (["--name", ""], "not a name"),
        (["--name", "../x"], "not a name"),
    ] {
        let message = project.fails(&[&["sweep", "small.toml"], &more[..]].concat(), 2);
        assert!(message.contains(part), "{part}: {message}");
        assert!(!project.path().join("runs").exists(), "{part}");
    }
}

#[test]
fn another_experiment_under_the_same_name_is_refused() {
    let project = Project::new();
    let two = [
        "sweep",
        "small.toml",
        "--seeds",
        "1,2",
        "--set",
        "train.max_steps=2",
    ];
    project.milepost(&two).assert().success();
    let other = [
        "sweep",
        "small.toml",
        "--seeds",
        "1,2",
        "--set",
        "train.max_steps=3",
    ];
    let message = project.fails(&other, 2);
    assert!(
        message.contains("begun with another experiment") && message.contains("--name"),
        "{message}"
    );
    // A run whose process died before it had written what it is, is begun anew.
    let third = cell(&project, "sweep", "seed=3");
    std::fs::create_dir(&third).unwrap();
    std::fs::write(third.join(".tmpHalf"), "").unwrap();
    let more = [
        "sweep",
        "small.toml",
        "--seeds",
        "1,2,3",
        "--set",
        "train.max_steps=2",
    ];
    project.milepost(&more).assert().success();
    assert!(is_done(&third));
}

#[test]
fn without_the_gap_there_is_nothing_to_pool_but_a_report() {
    let project = Project::new();
    let arguments = [
        "sweep",
        "small.toml",
        "--seeds",
        "1,2",
        "--no-hooks",
        "--set",
        "train.max_steps=2",
    ];
    let assert = project.milepost(&arguments).assert().success();
    let said = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert!(
        said.contains("not pooled: ") && said.contains("match-disparity"),
        "{said}"
    );
    assert!(
        project
            .path()
            .join("runs/small/sweep/report.html")
            .is_file()
    );
}

/// A reader that has had enough, as `head` is, ends no run.
#[test]
#[cfg(unix)]
fn nobody_needs_to_listen() {
    let project = Project::new();
    let program = env!("CARGO_BIN_EXE_milepost");
    let script = format!(
        "{{ '{program}' sweep small.toml --seeds 1,2 --set train.max_steps=2; echo $? >code; }} | head -1 >/dev/null"
    );
    let status = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(project.path())
        .env("MILEPOST_OFFLINE", "1")
        .env_remove("MILEPOST_DATA")
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(project.read("code"), "0\n");
    assert!(is_done(&cell(&project, "sweep", "seed=2")));
}

/// Nobody would wait for runs whose sweep is gone, so they save and end.
#[test]
#[cfg(target_os = "linux")]
fn a_killed_sweep_lets_its_runs_save() {
    let project = Project::new();
    let arguments = [&SEEDS[..], &["--set", "train.max_steps=300"]].concat();
    let mut sweep = project.spawn(&arguments);
    let first = cell(&project, "sweep", "seed=1");
    let lines = || std::fs::read_to_string(first.join("milestones.jsonl")).unwrap_or_default();
    until("some lines", || lines().lines().count() >= 4);
    // Two sweeps are not at work in one folder.
    let message = project.fails(&arguments, 5);
    assert!(
        message.contains("another process is writing into"),
        "{message}"
    );
    sweep.kill().unwrap();
    sweep.wait().unwrap();
    until("the run to save and end", || is_done(&first));
    let outcome = project.read("runs/small/sweep/seed=1/outcome.json");
    assert!(outcome.contains("interrupted"), "{outcome}");
}

fn is_done(run: &Path) -> bool {
    run.join("outcome.json").is_file()
}

#[test]
#[cfg(unix)]
fn ctrl_c_lets_the_runs_save_and_the_same_command_goes_on() {
    let project = Project::new();
    let arguments = [&SEEDS[..], &["--set", "train.max_steps=300", "--jobs", "2"]].concat();
    let sweep = project.spawn(&arguments);
    let begun = |seed: &str| cell(&project, "sweep", seed).join("milestones.jsonl");
    until("some lines of both", || {
        let paths = [begun("seed=1"), begun("seed=2")];
        let text = paths.map(|path| std::fs::read_to_string(path).unwrap_or_default());
        text.iter().all(|text| text.lines().count() > 3)
    });
    let asked = std::process::Command::new("kill")
        .args(["-INT", &sweep.id().to_string()])
        .status();
    assert!(asked.unwrap().success());
    let output = sweep.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("the same command goes on"), "{said}");
    for seed in ["seed=1", "seed=2"] {
        let outcome = project.read(&format!("runs/small/sweep/{seed}/outcome.json"));
        assert!(outcome.contains("interrupted"), "{outcome}");
        assert!(
            said.contains(&format!("{seed} stopped and saved")),
            "{said}"
        );
    }
    assert!(!cell(&project, "sweep", "seed=3").exists());
    let print = project
        .milepost(&[&arguments[..], &["--print"]].concat())
        .assert()
        .success();
    let commands = String::from_utf8(print.get_output().stdout.clone()).unwrap();
    assert_eq!(commands.matches("--resume").count(), 2, "{commands}");
}
