//! `milepost export`: tables that say exactly what a run has recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::harness::{Project, TEMPLATES, milestones};

/// A table as a strict reader of RFC 4180 sees it, written anew: the header, and the rows. It knows quotes, and nothing else.
fn rfc4180(text: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let mut rows = Vec::new();
    let (mut row, mut cell) = (Vec::new(), String::new());
    let mut letters = text.chars().peekable();
    let mut quoted = false;
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            letter => cell.push(letter),
        }
    }
    assert!(!quoted && cell.is_empty() && row.is_empty(), "a torn end");
    let header: Vec<String> = rows.remove(0);
    for row in &rows {
        assert_eq!(row.len(), header.len(), "{row:?}");
    }
    (header, rows)
}

/// A table as rows by the names of columns.
fn table(text: &str) -> Vec<BTreeMap<String, String>> {
    let (header, rows) = rfc4180(text);
    let rows = rows.into_iter();
    rows.map(|row| header.iter().cloned().zip(row).collect())
        .collect()
}

fn read(path: &Path) -> Vec<BTreeMap<String, String>> {
    table(&std::fs::read_to_string(path).unwrap())
}

fn shown(project: &Project, arguments: &[&str]) -> String {
    let assert = project.milepost(arguments).assert().success();
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

/// What a row of milestones.csv or texts.csv says of its line.
fn of_line(line: &Value) -> Vec<(&'static str, String)> {
    let text = |key: &str| line[key].as_str().unwrap().to_owned();
    let count = |key: &str| line[key].as_u64().unwrap().to_string();
    vec![
        ("step", count("step")),
        ("event", text("event")),
        ("source", text("source")),
        ("epoch", count("epoch")),
        ("samples", count("samples")),
        ("tokens", count("tokens")),
    ]
}

#[track_caller]
fn says(row: &BTreeMap<String, String>, cells: &[(&str, String)]) {
    for (column, cell) in cells {
        assert_eq!(row[*column], *cell, "{column} of {row:?}");
    }
}

/// The same number, with every bit; JSON has null where a number is not finite.
#[track_caller]
fn same(cell: &str, value: &Value) {
    let found: f64 = cell.parse().unwrap();
    match value.as_f64() {
        Some(value) => assert_eq!(found.to_bits(), value.to_bits(), "{cell}"),
        None => assert_eq!(cell, "NaN"),
    }
}

/// Prompts and identities with all that CSV must quote.
fn awkward() -> Project {
    let project = Project::new();
    let templates = TEMPLATES
        .replace("found work as a", "said, \"I, too, work\" as a")
        .replace("the woman", "the \"woman\"");
    let counterparts = templates.lines().enumerate().map(|(index, line)| {
        let cell = match index {
            0 => "counterpart",
            _ if line.contains("the \"woman\"") => "the man",
            _ => "",
        };
        format!("{line}\t{cell}\n")
    });
    project.write("templates.tsv", counterparts.collect::<String>());
    project
}

#[test]
fn the_tables_are_what_the_run_recorded() {
    let project = awkward();
    let set = "hooks.batches={kind='template-kl',on='evaluation-batch-end',at='every 2 steps'} train.evaluate='every 2 steps'";
    let run = project.run("a", &["--set", set]);
    let said = shown(&project, &["export", "runs/small/a"]);
    let lines = milestones(&run);
    // Every scalar, and every time that has a tag, in the order of the file.
    let rows = read(&run.join("milestones.csv"));
    let count = format!("runs/small/a/milestones.csv  {} rows\n", rows.len());
    assert!(said.starts_with(&count), "{said}");
    let mut left = rows.iter();
    for line in &lines {
        let times = line["times"].as_object().unwrap();
        let times = times
            .iter()
            .filter(|(tag, _)| *tag != "wall" && *tag != "elapsed");
        for (tag, value) in line["scalars"].as_object().unwrap().iter().chain(times) {
            let row = left.next().unwrap();
            says(row, &of_line(line));
            assert_eq!(row["tag"], *tag);
            same(&row["value"], value);
            same(&row["elapsed_seconds"], &line["times"]["elapsed"]);
        }
    }
    assert!(left.next().is_none() && rows.len() > 100, "{}", rows.len());
    assert!(
        rows.iter()
            .any(|row| row["tag"] == "hook/template-kl/seconds")
    );
    // Every text.
    let rows = read(&run.join("texts.csv"));
    let mut left = rows.iter();
    for line in &lines {
        for (tag, text) in line["texts"].as_object().into_iter().flatten() {
            let row = left.next().unwrap();
            says(row, &of_line(line));
            assert_eq!((&row["tag"], &*row["text"]), (tag, text.as_str().unwrap()));
        }
    }
    assert!(left.next().is_none());
    assert!(rows.iter().any(|row| row["text"].contains('\n')));
    prompts_are_those_of_the_files(&run, &lines);
    let rows = read(&run.join("prompts.csv"));
    let texts: BTreeSet<&str> = rows.iter().map(|row| &*row["text"]).collect();
    assert!(
        texts.contains("the \"woman\" said, \"I, too, work\" as a"),
        "{texts:?}"
    );
    assert!(rows.iter().any(|row| row["identity"] == "the \"woman\""));
    // Steps of one event are batches, of the other optimiser steps.
    for event in ["evaluation-batch-end", "step-end"] {
        assert!(rows.iter().any(|row| row["event"] == event), "{event}");
    }
}

#[test]
fn a_prompt_may_be_in_several_pairs_or_in_none() {
    let project = Project::new();
    let text = project.read("small.toml");
    let (before, _) = text.split_once("[hooks.template-kl]").unwrap();
    let more =
        "[hooks.match-disparity]\nat = 'start'\n[contrasts.gender]\ngroups = ['female', 'male']\n";
    project.write("small.toml", before.to_owned() + more);
    let rows = TEMPLATES.lines().enumerate().map(|(index, line)| {
        let cell = match index {
            0 => "counterpart",
            _ if line.contains("\tshe\t") => "the man",
            _ => "",
        };
        format!("{line}\t{cell}\n")
    });
    project.write("templates.tsv", rows.collect::<String>());
    for (name, set, expected) in [
        ("several", "templates.set='paired'", "0 2"),
        ("all", "templates.set='all'", ""),
        (
            "none",
            "templates.set='all' contrasts.gender.pairing='none'",
            "",
        ),
    ] {
        let run = project.run(name, &["--set", set]);
        shown(&project, &["export", &format!("runs/small/{name}")]);
        prompts_are_those_of_the_files(&run, &milestones(&run));
        let rows = read(&run.join("prompts.csv"));
        assert!(rows.iter().any(|row| row["pair"] == expected), "{name}");
    }
}

/// Compares prompts.csv with the run's tab-separated files, read by splitting them at tabs.
fn prompts_are_those_of_the_files(run: &Path, lines: &[Value]) {
    let rows = read(&run.join("prompts.csv"));
    let split = |name: &str| -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(run.join(name)).unwrap();
        let lines = text.lines();
        lines
            .map(|line| line.split('\t').map(str::to_owned).collect())
            .collect()
    };
    let pairs = split("templates/pairs.tsv");
    let mut files: Vec<(u64, String, String, String)> = Vec::new();
    for line in lines {
        for (name, _) in line["files"].as_object().into_iter().flatten() {
            let text = |key: &str| line[key].as_str().unwrap().to_owned();
            let step = line["step"].as_u64().unwrap();
            files.push((step, name.clone(), text("source"), text("event")));
        }
    }
    files.sort();
    let mut left = rows.iter();
    for (step, name, hook, event) in &files {
        let content = split(name);
        for (index, cells) in content[1..].iter().enumerate() {
            let units = pairs[1..].iter().enumerate();
            let units = units.filter(|(_, unit)| unit[1..3].contains(&index.to_string()));
            let units: Vec<_> = units.collect();
            // A prompt that is compared with none is in no unit.
            let of_unit = |column: usize| {
                let first = units.first();
                first.map_or(String::new(), |(_, unit)| unit[column].clone())
            };
            let matched = units
                .iter()
                .filter(|(_, unit)| unit[1..3].iter().all(|one| !one.is_empty()));
            let matched: Vec<String> = matched.map(|(place, _)| place.to_string()).collect();
            for (column, value) in content[0].iter().zip(cells).skip(3) {
                let row = left.next().unwrap();
                let expected = [
                    ("step", step.to_string()),
                    ("event", event.clone()),
                    ("hook", hook.clone()),
                    ("prompt", index.to_string()),
                    ("text", cells[0].clone()),
                    ("contrast", "gender".to_owned()),
                    ("group", cells[1].clone()),
                    ("identity", cells[2].clone()),
                    ("pair", matched.join(" ")),
                    ("template", of_unit(4)),
                    ("raw", of_unit(7)),
                    ("column", column.clone()),
                ];
                says(row, &expected);
                same(&row["value"], &Value::from(value.parse::<f64>().unwrap()));
            }
        }
    }
    assert!(left.next().is_none() && !rows.is_empty());
}

/// Numbers that only a reader of all digits tells apart, and those that are no numbers.
#[test]
fn every_digit_is_kept_and_what_is_not_finite_is_nan() {
    let project = Project::new();
    let run = project.run("a", &["--no-hooks"]);
    std::fs::remove_file(run.join("outcome.json")).unwrap();
    let line = r#"{"step":7,"event":"step-end","source":"train","epoch":0,"samples":1,"tokens":2,"scalars":{"a":0.1,"b":0.30000000000000004,"c":1e300,"d":5e-324,"e":-0.0,"f":null,"g":12345678.0},"times":{"wall":1.5}}"#;
    let path = run.join("milestones.jsonl");
    std::fs::write(&path, format!("{line}\n")).unwrap();
    let arguments = [
        "export",
        "runs/small/a",
        "--table",
        "milestones",
        "--out",
        "-",
    ];
    let rows = table(&shown(&project, &arguments));
    let value: Value = serde_json::from_str(line).unwrap();
    assert_eq!(rows.len(), 7);
    for row in &rows {
        same(&row["value"], &value["scalars"][&row["tag"]]);
        assert!(row["value"].len() < 25, "{row:?}");
        // The line does not say when.
        assert_eq!(row["elapsed_seconds"], "");
    }
}

#[test]
fn a_killed_run_gives_what_it_wrote_and_a_damaged_one_is_refused() {
    let project = Project::new();
    let run = project.run("a", &[]);
    let export = ["export", "runs/small/a"];
    let path = run.join("milestones.jsonl");
    let whole = std::fs::read_to_string(&path).unwrap();
    let torn = &whole[..whole.len() - 20];
    std::fs::write(&path, torn).unwrap();
    // Of a run that is over, the same is damage.
    let message = project.fails(&export, 3);
    assert!(message.contains("milestones.jsonl:"), "{message}");
    assert!(!run.join("milestones.csv").exists() && !run.join("prompts.csv").exists());
    let forced = project
        .milepost(&["export", "runs/small/a", "--force"])
        .assert()
        .success();
    let said = String::from_utf8_lossy(&forced.get_output().stderr).into_owned();
    assert!(said.contains("although it is damaged"), "{said}");
    std::fs::remove_file(run.join("outcome.json")).unwrap();
    let assert = project.milepost(&export).assert().success();
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(
        said.contains("small/a: The run is under way, or it was killed"),
        "{said}"
    );
    let lines: Vec<Value> = torn
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert_eq!(lines.len() + 1, whole.lines().count());
    let expected: usize = lines
        .iter()
        .map(|line| {
            let times = line["times"].as_object().unwrap().len() - 2;
            line["scalars"].as_object().unwrap().len() + times
        })
        .sum();
    assert_eq!(read(&run.join("milestones.csv")).len(), expected);
    // Nothing unfinished stays.
    let left = std::fs::read_dir(&run).unwrap().flatten();
    let mut names = left.map(|entry| entry.file_name().to_string_lossy().into_owned());
    assert!(!names.any(|name| name.starts_with(".tmp")));
    // Values of a prompt that were changed are named.
    let values = run.join("templates/step-00000003-match-disparity.tsv");
    let text = std::fs::read_to_string(&values).unwrap();
    std::fs::write(&values, text.replacen("\tfemale\t", "\tmale\t", 1)).unwrap();
    let message = project.fails(&export, 3);
    assert!(
        message.contains("step-00000003-match-disparity.tsv: it was changed"),
        "{message}"
    );
    let forced = project
        .milepost(&["export", "runs/small/a", "--force"])
        .assert()
        .success();
    let said = String::from_utf8_lossy(&forced.get_output().stderr).into_owned();
    assert!(
        said.contains("step-00000003-match-disparity.tsv: it was changed"),
        "{said}"
    );
}

#[test]
fn several_runs_and_sweeps_come_into_one_table() {
    let project = Project::new();
    let no_hooks = ["--no-hooks", "--set", "train.max_steps=2"];
    project.run("a", &no_hooks);
    project.run("sweep/seed=1", &no_hooks);
    project.run(
        "sweep/seed=2",
        &[&no_hooks[..], &["--set", "seed=2"]].concat(),
    );
    project.write("runs/small/sweep/seed=3.log", "");
    let rows_of = |run: &str| {
        let run = format!("runs/small/{run}");
        let arguments = ["export", &run, "--table", "milestones", "--out", "-"];
        rfc4180(&shown(&project, &arguments))
    };
    let alone = ["sweep/seed=1", "sweep/seed=2", "a"].map(rows_of);
    assert_eq!(alone[0].0[0], "step");
    let said = shown(&project, &["export", "runs/small/sweep"]);
    assert!(said.contains("runs/small/sweep/milestones.csv"), "{said}");
    // No hook has reported a prompt or a text.
    assert!(
        !said.contains("prompts.csv") && !said.contains("texts.csv"),
        "{said}"
    );
    let with_names = |runs: &[usize]| -> Vec<Vec<String>> {
        let names = ["sweep/seed=1", "sweep/seed=2", "small/a"];
        let rows = runs.iter().flat_map(|&run| {
            let rows = alone[run].1.iter();
            rows.map(move |row| [&[names[run].to_owned()], &row[..]].concat())
        });
        rows.collect()
    };
    let (header, rows) = rfc4180(&project.read("runs/small/sweep/milestones.csv"));
    assert_eq!(header[..2], ["run", "step"]);
    assert_eq!(rows, with_names(&[0, 1]));
    // A run that is named twice counts once.
    let arguments = [
        "export",
        "runs/small/a",
        "runs/small/sweep",
        "runs/small/sweep/seed=1",
    ];
    shown(
        &project,
        &[&arguments[..], &["--out", "tables/all"]].concat(),
    );
    let (_, rows) = rfc4180(&project.read("tables/all/milestones.csv"));
    assert_eq!(rows, with_names(&[2, 0, 1]));
    shown(&project, &arguments);
    let beside = project.read("runs/small/milestones.csv");
    assert_eq!(beside, project.read("tables/all/milestones.csv"));
    // Tables of before do not stay beside new ones.
    project.write("tables/all/texts.csv", "old\n1\n");
    shown(&project, &["export", "runs/small/a", "--out", "tables/all"]);
    assert_eq!(rfc4180(&project.read("tables/all/texts.csv")).1.len(), 0);
}

#[test]
fn one_table_is_written_or_printed() {
    let project = Project::new();
    let run = project.run("a", &[]);
    // Without a run, the newest.
    let printed = shown(&project, &["export", "--table", "prompts", "--out", "-"]);
    assert!(!run.join("prompts.csv").exists());
    shown(&project, &["export", "--table", "prompts"]);
    assert_eq!(project.read("runs/small/a/prompts.csv"), printed);
    assert!(!run.join("milestones.csv").exists() && !run.join("texts.csv").exists());
}

#[test]
fn mistakes_of_an_export_are_named() {
    let project = Project::new();
    let none = project.fails(&["export"], 2);
    assert!(none.contains("no run here"), "{none}");
    let gone = project.fails(&["export", "runs/small/gone"], 2);
    assert!(gone.contains("runs/small/gone: no such run"), "{gone}");
    project.write("empty/file", "");
    let empty = project.fails(&["export", "empty"], 2);
    assert!(empty.contains("no run, and no run in it"), "{empty}");
    project.run("a", &["--no-hooks"]);
    let table = project.fails(&["export", "--table", "prompt"], 2);
    assert!(
        table.contains("milestones") && table.contains("prompts"),
        "{table}"
    );
    let all = project.fails(&["export", "--out", "-"], 2);
    assert!(all.contains("--table"), "{all}");
    for out in ["empty/file", "empty/prompts.csv"] {
        let file = project.fails(&["export", "--table", "prompts", "--out", out], 2);
        assert!(file.contains("not a folder"), "{file}");
    }
    let below = project.fails(&["export", "--out", "empty/file/tables"], 5);
    assert!(below.contains("cannot write empty/file/tables"), "{below}");
    // The experiment is gone.
    std::fs::remove_file(project.path().join("runs/small/a/experiment.toml")).unwrap();
    let broken = project.fails(&["export", "runs/small/a"], 3);
    assert!(broken.contains("experiment.toml"), "{broken}");
}
