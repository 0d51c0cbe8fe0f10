//! Every number and every text of an experiment at the ends of what can be written: either a plan that works, or a message with its place.

use std::path::{Path, PathBuf};
use std::time::Instant;

use milepost::data::sources::SourceError;
use milepost::data::templates::TemplateError;
use milepost::data::tokenizer::TokenizerError;
use milepost::diagnostic::{Diagnostic, Source};
use milepost::experiment::{Places, parse, resolve};
use milepost::hook::PreparationError;
use milepost::hub::{Hub, HubError};
use milepost::model::WeightsError;
use proptest::prelude::*;

use crate::harness::Project;

/// What numbers are set to; all that TOML can write and a little more.
const NUMBERS: [&str; 12] = [
    "0",
    "-1",
    "1",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "1000000000",
    "1e308",
    "1e39",
    "nan",
    "inf",
    "-0.0",
];

/// A small experiment with every kind of hook, each option written out by `plan`.
fn project() -> Project {
    let project = Project::new();
    let rows: String = (0..40)
        .map(|index| {
            format!(
                "{},Team wins match {index},The coach said so again.\n",
                index % 4 + 1
            )
        })
        .collect();
    project.write("news/train.csv", &rows);
    project.write("news/test.csv", &rows);
    project.write(
        "pairs.csv",
        "sent_more,sent_less\nthe man won,the woman won\n",
    );
    let classifier = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/roberta/softmax");
    let decode = "{ max_new_tokens = 4, draft_length = 2, sampling = { temperature = 0.9, top_k = 5, top_p = 0.9 } }";
    let hooks = format!(
        "[hooks.template-kl]\npositions = ['last', 'prompt']\n\
         [hooks.assistant-share]\ndecode = {decode}\n\
         [hooks.match-disparity]\ndraws = 200\nmargin = 0.1\ndecode = {decode}\n\
         [hooks.perplexity]\n[hooks.sample-text]\n[hooks.gradient-norm]\nat = 'every step'\n\
         [hooks.attribution]\ndecode = {decode}\n[hooks.drift]\n\
         [hooks.honest]\ncontinuations = 2\n\
         [hooks.toxicity]\nclassifier = '{}'\nsamples = 2\n\
         [hooks.pronoun-gap]\n[hooks.crows-pairs]\nfile = 'pairs.csv'\n[hooks.representation]\ndeadline_seconds = 100\n",
        classifier.display()
    );
    project.write(
        "all.toml",
        "queue = 2\n[data]\nfolder = 'news'\ntrain_articles = 40\ntest_articles = 20\n\
         [train]\nmax_steps = 2\nepochs = 1\nwarmup_steps = 1\nbatch = 2\nblock = 32\nlr = 1e-3\ndropout = 0.1\n\
         evaluate_blocks = 2\nsave = 'end'\nweight_decay = 0.01\n[templates]\nfile = 'templates.tsv'\n\
         [decode]\nmax_new_tokens = 4\ndraft_length = 2\nconfidence_threshold = 0.1\nsampling = { temperature = 1.1, top_k = 7, top_p = 0.8 }\n"
            .to_owned()
            + &hooks,
    );
    project
}

fn places(project: &Project) -> Places {
    Places {
        base: project.path().to_owned(),
        data: None,
        cache: None,
        offline: true,
        hub: Hub::from_environment(true),
        run: PathBuf::new(),
    }
}

/// The plan of a text, or why there is none.
fn plan(project: &Project, text: &str) -> anyhow::Result<milepost::experiment::Resolved> {
    let source = Source {
        name: "all.toml".to_owned(),
        text: text.to_owned(),
    };
    let written = parse(source, &[])?;
    let registry = milepost::hooks::shipping();
    resolve(&written, &registry, &places(project), &mut |_, _, _| {})
}

/// The experiment with every default written out.
fn resolved(project: &Project) -> toml::Table {
    let text = plan(project, &project.read("all.toml"))
        .unwrap()
        .plan
        .resolved;
    text.parse().unwrap()
}

/// The paths of all values that are numbers, and of all that are texts.
fn keys(table: &toml::Table) -> (Vec<Vec<String>>, Vec<Vec<String>>) {
    let (mut numbers, mut texts) = (Vec::new(), Vec::new());
    for (key, value) in table {
        let path = |rest: &[String]| [std::slice::from_ref(key), rest].concat();
        match value {
            toml::Value::Integer(_) | toml::Value::Float(_) => numbers.push(path(&[])),
            toml::Value::String(_) => texts.push(path(&[])),
            toml::Value::Table(inner) => {
                let (inner_numbers, inner_texts) = keys(inner);
                numbers.extend(inner_numbers.iter().map(|rest| path(rest)));
                texts.extend(inner_texts.iter().map(|rest| path(rest)));
            }
            _ => {}
        }
    }
    (numbers, texts)
}

/// What texts are set to, as TOML.
fn texts() -> [String; 8] {
    let long = "x".repeat(300);
    ["", "/", "a/b", "../up", "two\nlines", "\u{0}", " ", &long]
        .map(|text| toml::Value::String(text.to_owned()).to_string())
}

/// The text of a table in which one value, given as TOML, stands instead of another. What cannot be a value of a table is put in as written.
fn with(table: &toml::Table, path: &[String], value: &str) -> String {
    let mut table = table.clone();
    let mut inner = &mut table;
    for key in &path[..path.len() - 1] {
        inner = inner[key].as_table_mut().unwrap();
    }
    let mark = "the value to be";
    inner.insert(path[path.len() - 1].clone(), mark.into());
    let text = toml::to_string(&table).unwrap();
    text.replace(&format!("\"{mark}\""), value)
}

/// A message with its place: the file and the line, or the key, or a file that the experiment names.
#[track_caller]
fn must_be_a_message(error: &anyhow::Error, path: &[String], value: &str) {
    let known = error.is::<Diagnostic>()
        || error.is::<SourceError>()
        || error.is::<TemplateError>()
        || error.is::<TokenizerError>()
        || error.is::<HubError>()
        || error.is::<PreparationError>()
        || error.is::<WeightsError>();
    let message = format!("{error:#}");
    assert!(
        known,
        "{path:?} = {value}: no exit code of its own: {message}"
    );
    let key = &path[path.len() - 1];
    let placed = message.contains("all.toml:")
        || message.contains(key.as_str())
        || error.is::<SourceError>()
        || error.is::<TemplateError>()
        || error.is::<HubError>()
        || error.is::<WeightsError>();
    // A hook's file is named with the hook.
    let of_hook = path[0] == "hooks" && message.contains(&path[1]);
    assert!(placed || of_hook, "{path:?} = {value}: {message}");
}

/// What became of one value: the settings that make it, when there is a plan.
fn outcome(project: &Project, table: &toml::Table, path: &[String], value: &str) -> Option<String> {
    let text = with(table, path, value);
    let start = Instant::now();
    let accepted = match plan(project, &text) {
        Ok(_) => Some(text),
        Err(error) => {
            must_be_a_message(&error, path, value);
            None
        }
    };
    let seconds = start.elapsed().as_secs();
    assert!(
        seconds < 60,
        "{path:?} = {value}: the plan took {seconds} s"
    );
    accepted
}

/// Runs two steps of a plan that was accepted.
fn run(project: &Project, name: &str, text: &str) {
    project.write(&format!("{name}.toml"), text);
    let file = format!("{name}.toml");
    let set = "train.max_steps=2 train.evaluate=end train.save=end";
    let output = project
        .milepost(&["finetune", &file, "--name", "a", "--set", set])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{name}: {errors}\n{text}");
}

#[test]
fn every_number_is_planned_or_refused_with_its_place() {
    let project = project();
    let table = resolved(&project);
    let (numbers, _) = keys(&table);
    assert!(numbers.len() > 40, "{numbers:?}");
    let mut sample = Vec::new();
    for path in &numbers {
        for value in NUMBERS {
            if let Some(text) = outcome(&project, &table, path, value) {
                sample.push((path.join("-"), text));
            }
        }
    }
    assert!(
        sample.len() > numbers.len(),
        "{} of {}",
        sample.len(),
        numbers.len()
    );
    // A sample from all sections.
    for (index, (name, text)) in sample.iter().enumerate().step_by(sample.len() / 12) {
        run(&project, &format!("{name}-{index}"), text);
    }
}

#[test]
fn every_text_is_planned_or_refused_with_its_place() {
    let project = project();
    let table = resolved(&project);
    let (_, keys) = keys(&table);
    assert!(keys.len() > 30, "{keys:?}");
    let mut sample = Vec::new();
    for path in &keys {
        for value in texts() {
            if let Some(text) = outcome(&project, &table, path, &value) {
                sample.push((path.join("-"), text));
            }
        }
    }
    for (index, (name, text)) in sample.iter().enumerate().step_by(sample.len().div_ceil(4)) {
        run(&project, &format!("{name}-{index}"), text);
    }
}

#[test]
fn every_name_of_a_hook_is_planned_or_refused_with_its_place() {
    let project = project();
    let names = [
        "",
        "/",
        "a/b",
        "..",
        ".",
        ".a",
        "two\nlines",
        "a b",
        "\u{0}",
        "-a",
        "_",
    ];
    let names = names.map(str::to_owned).into_iter().chain([
        "n".repeat(101),
        "n".repeat(300),
        "\u{e9}".repeat(51),
    ]);
    for name in names {
        // TOML's keys are on one line.
        let key = serde_json::json!(name);
        let text = project.read("all.toml") + &format!("[hooks.{key}]\nkind = 'perplexity'\n");
        let error = plan(&project, &text)
            .err()
            .unwrap_or_else(|| panic!("{name:?} is planned"));
        let message = error.to_string();
        assert!(
            message.contains("not a hook's name") && message.contains("all.toml:"),
            "{message}"
        );
    }
    for name in [
        "a",
        "Perplexity_2",
        "x.y-z",
        &"n".repeat(100),
        "\u{e9}\u{df}",
    ] {
        let text = project.read("all.toml") + &format!("[hooks.{name:?}]\nkind = 'perplexity'\n");
        plan(&project, &text).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Several keys at once, numbers of any size.
    #[test]
    fn any_numbers_together_are_planned_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![
            any::<i64>().prop_map(|number| number.to_string()),
            (0i64..2000).prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| toml::Value::Float(number).to_string()),
            (1e-9..2.0).prop_map(|number: f64| toml::Value::Float(number).to_string()),
        ]), 1..5)
    ) {
        let project = project();
        let table = resolved(&project);
        let (numbers, _) = keys(&table);
        let mut text = toml::to_string(&table).unwrap();
        let mut last = &numbers[0];
        for (index, value) in &changes {
            last = index.get(&numbers);
            text = with(&text.parse().unwrap(), last, value);
        }
        if let Err(error) = plan(&project, &text) {
            let message = format!("{error:#}");
            prop_assert!(error.is::<Diagnostic>(), "{:?}: {}", last, message);
        }
    }
}

/// The same through the program, by --set.
#[test]
fn the_program_says_the_same() {
    let project = project();
    for (set, code) in [
        ("train.max_steps=1000000000", 0),
        ("train.max_steps=9000000000000000000", 2),
        ("train.batch=9223372036854775807", 2),
        ("train.accumulation=9223372036854775807", 2),
        (
            "hooks.representation.deadline_seconds=9223372036854775807",
            0,
        ),
        ("hooks.representation.deadline_seconds=0", 2),
        ("hooks.match-disparity.draws=9223372036854775807", 2),
        ("seed=18446744073709551615", 2),
        ("seed=9223372036854775807", 0),
        ("queue=1000000000", 2),
        ("train.lr=1e39", 2),
        ("train.lr=1e-50", 2),
        ("data.folder=''", 2),
        ("templates.file=''", 2),
        ("models.main=''", 2),
        ("hooks.honest.lexicon=''", 3),
    ] {
        let output = project
            .milepost(&["plan", "all.toml", "--set", set])
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{set}: {errors}");
        assert_eq!(
            errors.matches("error:").count(),
            usize::from(code > 0),
            "{set}: {errors}"
        );
    }
}

/// A deadline that no clock can show is none.
#[test]
fn the_longest_deadline_never_passes() {
    let project = Project::new();
    let set = "hooks.perplexity.deadline_seconds=9223372036854775807 hooks.gradient-norm.deadline_seconds=9223372036854775807";
    let run = project.run("a", &["--set", set]);
    let lines = crate::harness::milestones(&run);
    for hook in ["perplexity", "gradient-norm"] {
        assert!(lines.iter().any(|line| {
            line["source"] == hook
                && line["scalars"]
                    .as_object()
                    .is_some_and(|all| !all.is_empty())
        }));
    }
}

#[test]
fn a_plan_of_a_thousand_million_steps_is_short() {
    let project = project();
    let arguments = ["plan", "all.toml", "--set", "train.max_steps=1_000_000_000"];
    let assert = project.milepost(&arguments).assert().success();
    let shown = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert!(shown.len() < 20_000, "{} bytes", shown.len());
    assert!(
        shown.contains("more than 100000 times (steps 1, 2, 3, 4, 5, 6, ...)"),
        "{shown}"
    );
    assert!(
        shown.contains(
            "10 times (steps 100000000, 200000000, 300000000, 400000000, ..., 1000000000)"
        ),
        "{shown}"
    );
}
