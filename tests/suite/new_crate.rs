//! `milepost new`: what it writes builds and runs, and what it refuses.

use std::path::Path;
use std::process::Command;

use crate::harness::Project;
use crate::own_hook::{line, program};

/// The paths of all files below a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_crate_is_written_under_its_name() {
    let project = Project::new();
    project
        .milepost(&["new", "two_dialects"])
        .assert()
        .success();
    let folder = project.path().join("two_dialects");
    let expected = [
        ".gitignore",
        "Cargo.lock",
        "Cargo.toml",
        "Makefile",
        "README.md",
        "experiments/two_dialects.toml",
        "src/draft_chance.rs",
        "src/main.rs",
    ];
    assert_eq!(files(&folder), expected);
    for file in expected {
        let text = project.read(&format!("two_dialects/{file}"));
        assert!(!text.contains("my-study"), "{file}");
    }
    let manifest: toml::Table = project.read("two_dialects/Cargo.toml").parse().unwrap();
    assert_eq!(manifest["package"]["name"].as_str(), Some("two_dialects"));
    let path = manifest["dependencies"]["milepost"]["path"].as_str();
    assert_eq!(path, Some(env!("CARGO_MANIFEST_DIR")));
    let own: toml::Table = include_str!("../../Cargo.toml").parse().unwrap();
    assert_eq!(manifest["profile"], own["profile"]);
    assert_eq!(manifest["package"]["edition"], own["package"]["edition"]);
}

#[test]
fn a_path_of_milepost_is_any_that_toml_can_say() {
    let project = Project::new();
    let other = "a \"quoted\" \\ path";
    project.write(
        &format!("{other}/Cargo.toml"),
        "[package]\nname = 'milepost'\n",
    );
    let new = ["new", "my-study", "--milepost", other];
    project.milepost(&new).assert().success();
    let manifest: toml::Table = project.read("my-study/Cargo.toml").parse().unwrap();
    let path = manifest["dependencies"]["milepost"]["path"]
        .as_str()
        .unwrap();
    assert_eq!(
        Path::new(path),
        project.path().join(other).canonicalize().unwrap()
    );
    // A checkout without a lock file has none to pass on.
    assert!(!project.path().join("my-study/Cargo.lock").exists());
}

#[test]
fn what_cannot_be_written_is_refused_and_nothing_is_left() {
    let project = Project::new();
    project.write("taken/file", "");
    project.write("other/Cargo.toml", "[package]\nname = 'other'\n");
    let before = files(project.path());
    let names = [
        "My-study", "1st", "-", "--", "_x", "my study", "my.study", "async", "milepost", "test",
        "core", "serde", "nul", ".", "..", "stüdie",
    ];
    for name in names {
        let errors = project.fails(&["new", "--", name], 2);
        assert!(errors.contains("not a crate's name"), "{name}: {errors}");
    }
    for (arguments, says) in [
        (&["new", "taken"][..], "already"),
        (&["new", "nowhere/my-study"], "make that first"),
        (
            &["new", "my-study", "--milepost", "other"],
            "of another crate",
        ),
        (
            &["new", "my-study", "--milepost", "taken"],
            "taken/Cargo.toml",
        ),
    ] {
        let errors = project.fails(arguments, 2);
        assert!(errors.contains(says), "{arguments:?}: {errors}");
    }
    let long = "x".repeat(65);
    assert!(
        project
            .fails(&["new", &long], 2)
            .contains("not a crate's name")
    );
    assert_eq!(files(project.path()), before);
    let entries = std::fs::read_dir(project.path()).unwrap();
    let hidden = entries.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with(".new")
    });
    assert_eq!(hidden.count(), 0);
}

#[test]
fn its_experiment_shows_its_hook() {
    let project = Project::new();
    project.milepost(&["new", "my-study"]).assert().success();
    let experiment = "my-study/experiments/my-study.toml";
    let set = "train.max_steps=4 data.train_articles=60 data.test_articles=20 templates.file='../../templates.tsv'";
    let out = program(&project, &["finetune", experiment, "--set", set]);
    let row = line(&out, "chance of the first draft");
    let start: f64 = row[0].parse().unwrap();
    assert!(start > 0.0 && start < 1.0, "{out}");
    for name in [
        "  female",
        "  male",
        "  gap, female - male",
        "  95% interval",
    ] {
        line(&out, name);
    }
}

/// The crate is built in the folder of this one, so that its dependencies are there.
#[test]
#[ignore = "builds a crate, a minute or two"]
fn it_builds_passes_its_tests_and_runs() {
    let project = Project::new();
    project.milepost(&["new", "my-study"]).assert().success();
    let folder = project.path().join("my-study");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    // milepost itself is compiled without optimisation, which takes a fifth of the time.
    let quick = "profile.release.package.milepost.opt-level=0";
    let done = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(&folder)
            .env("CARGO_TARGET_DIR", target)
            .env("CARGO_NET_OFFLINE", "true")
            .env("MILEPOST_OFFLINE", "1")
            .env("MILEPOST_CACHE", project.path().join("cache"))
            .env_remove("MILEPOST_DATA")
            .output()
            .unwrap();
        let [out, errors] =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(
            output.status.success() && !errors.contains("warning"),
            "{program} {arguments:?}: {out}{errors}"
        );
        out
    };
    done("cargo", &["fmt", "--", "--check"]);
    let out = done("cargo", &["test", "--release", "--config", quick]);
    assert!(out.contains("3 passed"), "{out}");
    let program = format!("MILEPOST=cargo run -q --release --config '{quick}' --");
    let set = "SET=train.max_steps=4 hooks.match-disparity.enabled=false";
    let out = done("make", &["-s", "finetune", &program, set]);
    let says = "settings  experiments/my-study.toml with --set";
    assert!(out.contains(says), "{out}");
    line(&out, "chance of the first draft");
    // As it is written, without what this test sets.
    let shown = done(
        "make",
        &["-n", "finetune", "plan", "sweep", "report", "test"],
    );
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    for says in [
        "cargo run -q --release -- finetune my-study",
        "cargo run -q --release -- plan my-study",
        "cargo run -q --release -- sweep my-study --seeds '1,2,3'",
        "cargo run -q --release -- report",
        "cargo test --release",
    ] {
        assert!(shown.contains(says), "{says}: {shown}");
    }
}
