//! A hook of a crate of one's own shows wherever a shipped one does: what it declares is all that it takes. This test is such a crate.

/// The examples of docs/hooks.md.
mod attention_entropy;
mod embedding_norm;
mod topic_loss;
mod update_ratio;

#[path = "../../src/cli/new/files/draft_chance.rs"]
mod draft_chance;
/// What `make hook NAME=my_hook` and `milepost new` write. All of these have tests of their own.
mod my_hook;

use std::path::Path;

use milepost::prelude::*;
use serde_json::{Value, json};

use crate::harness::{Project, milestones, python, read_events};

/// Reports the square of the step, and an interval around it, but at step 2.
struct Squares;

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {}

fn kind() -> Kind {
    Kind::new("squares", "squares of the step", |_: Options| Squares)
        .row("square of the step, steps\u{b2}", "squares/value")
        .interval("  95% interval", "squares/value")
        .p_value("  p", "squares/p_value")
        .at_end("  p of its change", "squares/change_p_value")
        .lines("Squares", "squares over the run", &["squares/value"])
        .band("Squares", "squares with their band", "squares/value")
        .metric("squares/value")
        .named("a probability", "squares/p_value")
        .section("Squares of steps", "How fast steps grow.")
        .section_with(last_square)
}

/// A sentence of the report.
fn last_square(recorded: &dyn Recorded) -> String {
    let last = recorded.points("squares/value").last();
    let text = last.map(|(step, value)| {
        format!(
            "{value} at step {step}, of {} prompts",
            recorded.prompts().len()
        )
    });
    html! { p { "the last square is " (text.unwrap_or_default()) } }.into_string()
}

/// Its section of the report cannot be made.
fn unlucky() -> Kind {
    Kind::new(
        "unlucky",
        "squares, with a section that panics",
        |_: Options| Squares,
    )
    .section_with(|_| panic!("no section today"))
}

/// Is called at even steps, once there is a training loss.
fn patient() -> Kind {
    Kind::new("patient", "squares of even steps", |_: Options| Squares).when(|seen| {
        let even = seen.milestone().step.is_multiple_of(2);
        even && seen.last("train/main/loss").is_some()
    })
}

impl Hook for Squares {
    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        let step = context.milestone().step as f64;
        context.scalar("squares/value", step * step);
        if step != 2.0 {
            context.scalar("squares/value_low", step * step - 1.5);
            context.scalar("squares/value_high", step * step + 1.5);
        }
        context.scalar("squares/p_value", 0.25);
        context.scalar("squares/change_p_value", 0.125);
        Ok(())
    }
}

/// Not a test of its own: the program with the hook above, when a test starts this binary again with the arguments of the program.
#[test]
fn as_the_program() {
    if let Ok(arguments) = std::env::var("MILEPOST_TEST_OWN_HOOK") {
        let arguments = std::iter::once("milepost").chain(arguments.split('\n'));
        let arguments: Vec<std::ffi::OsString> = arguments.map(Into::into).collect();
        let registry = milepost::hooks::shipping()
            .with(kind())
            .with(unlucky())
            .with(patient())
            .with(my_hook::kind())
            .with(draft_chance::kind())
            .with(embedding_norm::kind())
            .with(topic_loss::kind())
            .with(update_ratio::kind());
        std::process::exit(i32::from(milepost::cli::run(arguments, registry)));
    }
}

pub fn program(project: &Project, arguments: &[&str]) -> String {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "own_hook::as_the_program", "--nocapture"])
        .current_dir(project.path())
        .env_remove("MILEPOST_DATA")
        .env("MILEPOST_OFFLINE", "1")
        .env("MILEPOST_CACHE", project.path().join("cache"))
        .env("MILEPOST_TEST_OWN_HOOK", arguments.join("\n"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_hook_that_is_written_is_the_one_that_is_tested_here() {
    let project = Project::new();
    project.write("hooks/mod.rs", include_str!("../../hooks/mod.rs"));
    project.write("experiments/ag_news.toml", EXPERIMENT);
    let new = ["hooks", "--new", "my_hook"];
    project.milepost(&new).assert().success();
    let tested = include_str!("own_hook/my_hook.rs");
    assert_eq!(project.read("hooks/my_hook.rs"), tested);
}

#[test]
fn the_examples_that_are_shown_are_the_ones_that_are_tested_here() {
    let shown = include_str!("../../docs/hooks.md");
    for tested in [
        include_str!("own_hook/attention_entropy.rs"),
        include_str!("own_hook/embedding_norm.rs"),
    ] {
        assert!(shown.contains(&format!("```rust\n{tested}```\n")));
    }
}

/// The words of the line that begins with `name`.
pub fn line<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let found = text.lines().find_map(|line| line.strip_prefix(name));
    let found = found.unwrap_or_else(|| panic!("no row `{name}` in:\n{text}"));
    found.split_whitespace().collect()
}

const EXPERIMENT: &str = r#"
[data]
builtin_sample = true
train_articles = 60
test_articles = 20
[train]
max_steps = 4
batch = 2
block = 32
[templates]
file = "templates.tsv"
[hooks.squares]
at = ["start", "every 2 steps", "end"]
[hooks.mine]
kind = "squares"
at = ["start", "end"]
"#;

#[test]
fn a_hook_of_ones_own_shows_everywhere() {
    let project = Project::new();
    project.write("own.toml", EXPERIMENT);
    let said = program(&project, &["finetune", "own.toml", "--name", "one"]);
    for name in ["", "mine: "] {
        let row = line(&said, &format!("{name}square of the step, steps\u{b2}"));
        assert_eq!(row, ["0", "16.0000", "+16.0000"], "{said}");
        let interval = line(&said, &format!("{name}  95% interval"));
        assert_eq!(interval, ["[-1.5000,", "1.5000]", "[14.5000,", "17.5000]"]);
        assert_eq!(line(&said, &format!("{name}  p ")), ["0.2500", "0.2500"]);
        assert_eq!(line(&said, &format!("{name}  p of its change")), ["0.1250"]);
    }
    let again = [
        "finetune",
        "own.toml",
        "--name",
        "two",
        "--set",
        "train.max_steps=5",
    ];
    program(&project, &again);
    let compared = program(&project, &["compare", "runs/own/one", "runs/own/two"]);
    let row = line(&compared, "square of the step, steps\u{b2}");
    assert_eq!(
        row,
        ["0", "16.0000", "0", "25.0000", "+9.0000"],
        "{compared}"
    );
    let measured = ["measure", "--hooks", "own.toml"];
    assert_eq!(
        line(
            &program(&project, &measured),
            "square of the step, steps\u{b2}"
        ),
        ["0"]
    );
    shows_in_the_report(&project.read("runs/own/one/report.html"));
    if let Some(python) = python() {
        shows_in_tensorboard(&python, &project.path().join("runs/own/one"));
    }
}

#[test]
fn a_kind_decides_when_its_hooks_are_called() {
    let project = Project::new();
    let hook = "[hooks.patient]\nat = [\"start\", \"every step\"]\n";
    let experiment = EXPERIMENT.split("[hooks.squares]").next().unwrap();
    project.write("own.toml", experiment.to_owned() + hook);
    let plan = program(&project, &["plan", "own.toml"]);
    for says in [
        "background, at most once (step 0), where `patient` decides to\n",
        "background, at most 4 times (steps 1, 2, 3, 4), where `patient` decides to\n",
    ] {
        assert!(plan.contains(says), "{plan}");
    }
    let shown = program(&project, &["finetune", "own.toml", "--name", "one"]);
    let says =
        "at most 5 times (steps 0, 1, 2, 3, 4): start, or every step, where `patient` decides to\n";
    assert!(shown.contains(says), "{shown}");
    let lines = milestones(&project.path().join("runs/own/one"));
    let own = lines.iter().filter(|line| line["source"] == "patient");
    let steps: Vec<&Value> = own.map(|line| &line["step"]).collect();
    assert_eq!(steps, [2, 4]);
}

#[test]
fn a_section_that_panics_ends_neither_the_run_nor_the_report() {
    let project = Project::new();
    let hook = "[hooks.mine]\nkind = \"unlucky\"\nat = [\"start\", \"end\"]\n";
    let experiment = EXPERIMENT.split("[hooks.squares]").next().unwrap();
    project.write("own.toml", experiment.to_owned() + hook);
    program(&project, &["finetune", "own.toml", "--name", "one"]);
    let page = project.read("runs/own/one/report.html");
    assert!(page.contains("its function panicked: no section today"));
    assert!(
        page.contains("data-tag=\"mine/squares/value\""),
        "the rest of it"
    );
    assert!(page.contains("<h2>Parameters</h2>"), "the rest of the page");
}

fn shows_in_the_report(page: &str) {
    for title in [
        "squares over the run",
        "squares with their band",
        "mine: squares over the run",
    ] {
        assert!(page.contains(&format!("<figcaption>{title}")), "{title}");
    }
    let mine = page.split("<h2>mine: Squares of steps</h2><p>How fast steps grow.</p>");
    assert_eq!(mine.count(), 2, "its own section");
    assert!(page.contains("<h2>Squares of steps</h2><p>How fast steps grow.</p>"));
    let said = "<p>the last square is 16 at step 4, of 0 prompts</p>";
    assert_eq!(
        page.matches(said).count(),
        2,
        "both hooks end their sections"
    );
    for tag in ["squares/value", "mine/squares/value"] {
        let cell = format!("data-tag=\"{tag}\" data-step=\"4\" data-value=\"16\"");
        assert!(page.contains(&cell), "{cell}");
    }
    // The band stands at the steps at which it was reported: at both ends of the axis, and not in the middle.
    let figure = page.split("<figcaption>squares with their band").nth(1);
    let band = figure.unwrap().split("<polygon").nth(1).unwrap();
    let band = band.split("points=\"").nth(1).unwrap();
    let corners = band.split('"').next().unwrap().split_whitespace();
    let places: Vec<&str> = corners
        .map(|corner| corner.split_once(',').unwrap().0)
        .collect();
    assert_eq!(places, ["52.0", "388.0", "388.0", "52.0"]);
    assert!(page.contains("<td>mine: square of the step, steps\u{b2}</td>"));
}

fn shows_in_tensorboard(python: &Path, run: &Path) {
    let read = read_events(python, run);
    let charts = &read["layout"]["Squares"];
    let lines = |name: &str, tag: &str| {
        json!([
            format!("{name}squares over the run"),
            [format!("^{tag}$")],
            []
        ])
    };
    let band = |name: &str, tag: &str| {
        let ends = [tag.to_owned(), format!("{tag}_low"), format!("{tag}_high")];
        json!([format!("{name}squares with their band"), [], [ends]])
    };
    let (tag, mine) = ("squares/value", "mine/squares/value");
    let expected = json!([
        lines("", tag),
        band("", tag),
        lines("mine: ", mine),
        band("mine: ", mine)
    ]);
    assert_eq!(charts, &expected);
    assert_eq!(read["hparams"]["metrics"], json!([tag, mine]));
    let loss: &Value = &read["layout"]["Main model and assistant"];
    assert_eq!(loss[0][0], "training loss");
}
