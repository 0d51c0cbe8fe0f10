//! A value stands where it was measured: hooks that are due or fail at every kind of moment, in runs that end in every way, and each place that
//! shows a start, an end and a change beside a slow reading of `milestones.jsonl`.

use std::collections::BTreeMap;
use std::path::Path;

use milepost::prelude::*;
use milepost::report::number::{number, signed};
use proptest::prelude::{Just, Strategy, any, prop};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

use crate::harness::{Project, milestones};

/// Options of the hooks of this test.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    /// `SEED:STEP`, or `SEED:STEP!` to end the run there, with spaces between.
    fails: String,
}

/// Stands for a hook of that kind, with numbers that are quickly had, and fails where it is told to.
struct Stand {
    kind: &'static str,
    fails: Vec<String>,
    first: Option<f64>,
}

impl Stand {
    fn kind(kind: &'static str) -> Kind {
        let stand = Kind::new(kind, "stands in", move |options: Options| Self {
            kind,
            fails: options.fails.split(' ').map(str::to_owned).collect(),
            first: None,
        });
        let mut stand = stand.inline().option("fails", "where");
        let shipped = milepost::hooks::shipping();
        stand.shows = shipped.get(kind).unwrap().shows.clone();
        stand
    }
}

/// A number that no other seed, step or row has.
fn value(seed: u64, step: u64, row: usize) -> f64 {
    let wave = (seed as f64 * 1.7 + step as f64 * 0.61 + row as f64 * 2.3).sin();
    3.0 + wave
        + if row.is_multiple_of(2) {
            0.1 * step as f64
        } else {
            0.0
        }
}

impl Hook for Stand {
    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        let (seed, step) = (context.scene().seed, context.milestone().step);
        let here = format!("{seed}:{step}");
        ensure!(!self.fails.contains(&here), "told to fail");
        if self.fails.contains(&format!("{here}!")) {
            context.request_stop("told to end");
        }
        if self.fails.contains(&format!("{here}^C")) {
            interrupt();
        }
        let prompts = context.scene().templates.prompts().len();
        let values: Vec<f64> = (0..prompts).map(|row| value(seed, step, row)).collect();
        let mean = values.iter().sum::<f64>() / prompts as f64;
        if self.kind == "template-kl" {
            for tag in ["mean_nats", "batchmean", "mean_top1_agreement"] {
                context.scalar(format!("kl/{tag}"), mean);
            }
            context.per_template("kl_nats", values);
            return Ok(());
        }
        let first = *self.first.get_or_insert(mean);
        for tag in [
            "n_matches_female",
            "n_matches_male",
            "disparity",
            "disparity_low",
            "disparity_high",
            "p_value",
            "two_way_p_value",
        ] {
            context.scalar(format!("gender/{tag}"), mean);
        }
        for tag in [
            "change",
            "change_low",
            "change_high",
            "change_two_way_p_value",
        ] {
            context.scalar(format!("gender/{tag}"), mean - first);
        }
        context.per_template("n_matches", values);
        Ok(())
    }

    fn state(&self) -> Value {
        serde_json::json!(self.first)
    }

    fn restore(&mut self, state: Value) -> Result<()> {
        self.first = serde_json::from_value(state)?;
        Ok(())
    }
}

/// Asks this process to stop, and waits until the loop must have seen it.
fn interrupt() {
    let this = std::process::id().to_string();
    let asked = std::process::Command::new("kill")
        .args(["-TERM", &this])
        .status();
    assert!(asked.unwrap().success());
    std::thread::sleep(std::time::Duration::from_millis(200));
}

/// Not a test of its own: the program with the hooks above, when a test starts this binary again with the arguments of the program.
#[test]
fn as_the_program() {
    if let Ok(arguments) = std::env::var("MILEPOST_TEST_ARGUMENTS") {
        let arguments = std::iter::once("milepost").chain(arguments.split('\n'));
        let arguments: Vec<std::ffi::OsString> = arguments.map(Into::into).collect();
        let registry = milepost::hooks::shipping()
            .with(Stand::kind("template-kl"))
            .with(Stand::kind("match-disparity"));
        std::process::exit(i32::from(milepost::cli::run(arguments, registry)));
    }
}

/// Runs the program with the hooks above: its exit code, and what it said.
fn program(project: &Project, arguments: &[&str]) -> (i32, String) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "moments::as_the_program", "--nocapture"])
        .current_dir(project.path())
        .env_remove("MILEPOST_DATA")
        .env("MILEPOST_OFFLINE", "1")
        .env("MILEPOST_CACHE", project.path().join("cache"))
        .env("MILEPOST_TEST_ARGUMENTS", arguments.join("\n"))
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(!said.contains("panicked"), "{said}");
    (output.status.code().unwrap(), said)
}

/// What a hook is told.
#[derive(Debug, Clone)]
struct Told {
    at: &'static str,
    retry: bool,
    /// Seed and step of each failure.
    fails: Vec<(u64, u64)>,
}

/// A way in which three runs of six steps may go.
#[derive(Debug, Clone)]
struct Way {
    kl: Told,
    gap: Told,
    /// What ends the run of the second seed early: `!` a hook, `^C` a signal; and when.
    early: Option<(&'static str, u64)>,
}

fn told() -> impl Strategy<Value = Told> {
    // At the start, at the end, in the middle only, and mixtures.
    let at = prop::sample::select(vec![
        "['start', 'every 3 steps', 'end']",
        "['start', 'every step']",
        "['start', 'every 2 steps', 'end']",
        "'start'",
        "'end'",
        "'every 4 steps'",
        "['start', 'every 4 steps']",
        "['every 2 steps', 'end']",
    ]);
    let step = prop::sample::select(vec![0, 2, 3, 4, 6]);
    let fails = prop::collection::vec((1u64..4, step), 0..3);
    (at, any::<bool>(), fails).prop_map(|(at, retry, fails)| Told { at, retry, fails })
}

fn ways() -> impl Strategy<Value = Way> {
    let early = prop::sample::select(vec![None, None, Some(("!", 3)), Some(("^C", 3))]);
    (told(), told(), early, Just(())).prop_map(|(kl, gap, early, ())| Way { kl, gap, early })
}

impl Way {
    fn experiment(&self) -> String {
        let hook = |name: &str, told: &Told, more: String| {
            let fails = told
                .fails
                .iter()
                .map(|(seed, step)| format!("{seed}:{step} "));
            let fails = fails.collect::<String>() + &more;
            let on_error = if told.retry { "retry" } else { "disable" };
            format!(
                "[hooks.{name}]\nat = {}\non_error = '{on_error}'\nfails = '{}'\n",
                told.at,
                fails.trim()
            )
        };
        let early = self.early.map(|(how, step)| format!("2:{step}{how}"));
        format!(
            "[data]\nbuiltin_sample = true\ntrain_articles = 30\ntest_articles = 4\n[train]\nmax_steps = 6\nbatch = 1\nblock = 16\nevaluate = 'every 3 steps'\nmodels = ['assistant']\n[templates]\nfile = 'templates.tsv'\n{}{}[hooks.ender]\nkind = 'template-kl'\nat = 'every step'\nfails = '{}'\n",
            hook("template-kl", &self.kl, String::new()),
            hook("match-disparity", &self.gap, String::new()),
            early.unwrap_or_default()
        )
    }
}

/// Values by tag at the start and at the end of a run, read line by line.
struct Slow {
    start: BTreeMap<String, f64>,
    end: BTreeMap<String, f64>,
    tags: Vec<String>,
    columns: [bool; 2],
    /// Whether a hook failed.
    failed: bool,
}

impl Slow {
    fn read(run: &Path) -> Self {
        let text = std::fs::read_to_string(run.join("outcome.json")).unwrap();
        let outcome: Value = serde_json::from_str(&text).unwrap();
        let steps = outcome["steps"].as_u64().unwrap();
        let mut slow = Self {
            start: BTreeMap::new(),
            end: BTreeMap::new(),
            tags: Vec::new(),
            columns: [false; 2],
            failed: text.contains("told to fail"),
        };
        for line in milestones(run) {
            let step = line["step"].as_u64().unwrap();
            for (tag, value) in line["scalars"].as_object().unwrap() {
                slow.tags.push(tag.clone());
                let value = value.as_f64().unwrap();
                if step == 0 {
                    slow.start.insert(tag.clone(), value);
                }
                if step == steps {
                    slow.end.insert(tag.clone(), value);
                }
            }
        }
        for (there, step) in slow.columns.iter_mut().zip([0, steps]) {
            let name = format!("templates/step-{step:08}-match-disparity.tsv");
            *there = run.join(name).is_file();
        }
        // A change since another milestone is no change since the start.
        if !slow.start.contains_key("gender/disparity") {
            let is_change = |tag: &String, _: &mut f64| !tag.starts_with("gender/change");
            slow.start.retain(is_change);
            slow.end.retain(is_change);
        }
        slow
    }

    /// The cells of a row of a table on the terminal.
    fn cells(&self, tag: &str) -> [String; 3] {
        let (start, end) = (self.start.get(tag), self.end.get(tag));
        let dash = || "-".to_owned();
        [
            start.map_or_else(dash, |value| number(*value)),
            end.map_or_else(dash, |value| number(*value)),
            start
                .zip(end)
                .map_or_else(dash, |(start, end)| signed(end - start)),
        ]
    }
}

const ROWS: [(&str, &str); 7] = [
    ("held-out perplexity, main", "eval/main/perplexity"),
    (
        "held-out perplexity, assistant",
        "eval/assistant/perplexity",
    ),
    ("KL at the templates, nats", "kl/mean_nats"),
    ("KL, batchmean convention", "kl/batchmean"),
    ("n_matches a prompt, female", "gender/n_matches_female"),
    ("n_matches a prompt, male", "gender/n_matches_male"),
    ("disparity, female - male", "gender/disparity"),
];

/// The words of the row of that name, without the reason behind it; None where there is no row.
fn words<'a>(said: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let line = said.lines().find(|line| line.starts_with(name))?;
    let cells = line[name.len()..].split('(').next()?;
    Some(cells.split_whitespace().collect())
}

/// The table at the end of a run.
fn terminal(said: &str, slow: &Slow, way: &Way) {
    for (name, tag) in ROWS {
        let found = words(said, name);
        if slow.tags.iter().any(|other| other == tag) {
            assert_eq!(found.unwrap(), slow.cells(tag), "{tag}: {way:?}\n{said}");
        } else if let Some(found) = found {
            assert_eq!(found, ["-"; 3], "{tag}: {way:?}\n{said}");
        }
        let row = said.lines().find(|line| line.starts_with(name));
        let cells = row.map_or("", |row| &row[name.len()..]);
        assert_eq!(
            cells.contains(" - "),
            cells.contains('('),
            "a reason: {cells}"
        );
    }
    // The intervals stand under the same moments.
    let interval = said.lines().find(|line| line.starts_with("  95% interval"));
    if let Some(line) = interval {
        let [start, end, _] = slow.cells("gender/disparity");
        let ends = line["  95% interval".len()..].trim();
        assert_eq!(ends.starts_with('-'), start == "-", "{line}");
        assert_eq!(ends.ends_with('-'), end == "-", "{line}");
    }
}

/// An attribute of an HTML tag, if it has it.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let from = tag.find(&format!("{name}=\""))? + name.len() + 2;
    Some(&tag[from..from + tag[from..].find('"')?])
}

/// The cells of a report that say which tag they show.
fn page(html: &str, slow: &Slow, way: &Way) {
    let mut seen = 0;
    for row in html.split("<tr>").skip(1) {
        let row = row.split("</tr>").next().unwrap();
        let cells: Vec<&str> = row.split("<td").skip(1).collect();
        if cells.len() != 4 || !(row.contains("data-tag") || row.contains("data-missing")) {
            continue;
        }
        let tag = cells[1..3].iter().find_map(|cell| {
            attribute(cell, "data-tag").or_else(|| attribute(cell, "data-missing"))
        });
        let tag = tag.unwrap();
        for (cell, values) in cells[1..3].iter().zip([&slow.start, &slow.end]) {
            let shown = attribute(cell, "data-value").map(|value| value.parse::<f64>().unwrap());
            assert_eq!(shown, values.get(tag).copied(), "{tag}: {way:?}\n{row}");
            assert_eq!(shown.is_none(), cell.contains("class=\"missing\""), "{row}");
        }
        let text = cells[3]
            .split('>')
            .nth(1)
            .unwrap()
            .split('<')
            .next()
            .unwrap();
        let change = slow.start.get(tag).zip(slow.end.get(tag));
        match change {
            Some((start, end)) if !text.is_empty() => {
                assert_eq!(text, signed(end - start), "{row}")
            }
            Some(_) => assert!(
                tag.ends_with("_low") || tag.ends_with("_high") || tag.ends_with("p_value"),
                "{row}"
            ),
            None => assert_eq!(text, "", "{row}"),
        }
        seen += 1;
    }
    assert!(seen > 0, "{way:?}");
    // The gap of n_matches has a change only where it has both.
    let row = html.split("<tr data-measure=\"n_matches\">").nth(1);
    if let Some(row) = row {
        let cells: Vec<&str> = row
            .split("</tr>")
            .next()
            .unwrap()
            .split("<td")
            .skip(1)
            .collect();
        let missing = cells[1..3]
            .iter()
            .map(|cell| cell.contains("class=\"missing\""));
        let there = slow.columns.map(|there| !there);
        assert_eq!(missing.collect::<Vec<_>>(), there, "{way:?}: {row}");
        assert_eq!(
            cells[3].starts_with("></td>"),
            there.contains(&true),
            "{row}"
        );
    }
}

/// Two runs side by side.
fn compared(said: &str, first: &Slow, second: &Slow, way: &Way) {
    for (name, tag) in ROWS {
        let there = [first, second]
            .iter()
            .any(|slow| slow.tags.iter().any(|other| other == tag));
        let Some(found) = words(said, name).filter(|_| there) else {
            assert!(!there, "{tag}: {said}");
            continue;
        };
        let ([a0, a1, _], [b0, b1, _]) = (first.cells(tag), second.cells(tag));
        let more = first.end.get(tag).zip(second.end.get(tag));
        let more = more.map_or("-".to_owned(), |(a, b)| signed(b - a));
        assert_eq!(found, [a0, a1, b0, b1, more], "{tag}: {way:?}\n{said}");
    }
}

/// `pooled.json` of a sweep.
fn pooled(project: &Project, slow: &BTreeMap<u64, Slow>, way: &Way) {
    let pooled: Value =
        serde_json::from_str(&project.read("runs/small/sweep/pooled.json")).unwrap();
    let found = &pooled[0];
    let whole: Vec<u64> = slow
        .iter()
        .filter(|(_, slow)| slow.columns == [true; 2])
        .map(|(seed, _)| *seed)
        .collect();
    let name = |seed: &u64| format!("sweep/seed={seed}");
    if whole.len() < 2 || (way.early.is_some() && whole.contains(&2)) {
        let why = found["not_pooled"].as_str().unwrap();
        assert!(!why.is_empty(), "{way:?}: {pooled}");
        return;
    }
    let runs = found["pooled"]["runs"].as_array().unwrap();
    let runs: Vec<String> = runs
        .iter()
        .map(|run| run["run"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(runs, whole.iter().map(name).collect::<Vec<_>>(), "{way:?}");
    let left_out = found["pooled"]["left_out"].as_array().unwrap();
    let lacking = slow.iter().filter(|(seed, _)| !whole.contains(seed));
    assert_eq!(left_out.len(), lacking.clone().count(), "{way:?}");
    for (one, (seed, slow)) in left_out.iter().zip(lacking) {
        assert_eq!(one["run"], name(seed));
        assert!(one["change"].is_null() && !one["reason"].as_str().unwrap().is_empty());
        for (side, there) in ["before", "after"].into_iter().zip(slow.columns) {
            assert_eq!(one[side].is_null(), !there, "{way:?}: {one}");
        }
    }
}

/// Three runs of a way, by hand under the names that a sweep gives them, each place looked at.
fn look(way: &Way) {
    let project = Project::new();
    project.write("small.toml", way.experiment());
    let mut slow = BTreeMap::new();
    for seed in 1..4u64 {
        let (name, set) = (format!("sweep/seed={seed}"), format!("seed={seed}"));
        let arguments = ["finetune", "small.toml", "--name", &name, "--set", &set];
        let (code, said) = program(&project, &arguments);
        let early = way.early.filter(|_| seed == 2);
        let ended = early.is_some_and(|(how, _)| how == "^C");
        assert!(
            if ended {
                code == 130
            } else {
                code == 0 || code == 6
            },
            "{code}: {said}"
        );
        let run = project.path().join("runs/small").join(&name);
        let read = Slow::read(&run);
        terminal(&said, &read, way);
        page(
            &project.read(&format!("runs/small/{name}/report.html")),
            &read,
            way,
        );
        slow.insert(seed, read);
    }
    for (a, b) in [(1, 2), (2, 3)] {
        let [first, second] = [a, b].map(|seed| format!("runs/small/sweep/seed={seed}"));
        let (code, said) = program(&project, &["compare", &first, &second]);
        assert_eq!(code, 0, "{said}");
        compared(&said, &slow[&a], &slow[&b], way);
    }
    // What is done is left alone, so only the pooling is left; one that was interrupted would be gone on with.
    if way.early.is_none_or(|(how, _)| how != "^C") {
        let (code, said) = program(&project, &["sweep", "small.toml", "--seeds", "1,2,3"]);
        assert!(said.contains("3 done, 0 to do"), "{said}");
        // A sweep whose hooks failed says which, and does not end as if all were well.
        let failed = slow.values().any(|slow| slow.failed);
        assert_eq!(code, if failed { 6 } else { 0 }, "{way:?}: {said}");
        assert_eq!(failed, said.contains("failed at step"), "{said}");
        pooled(&project, &slow, way);
    }
}

#[test]
fn a_value_stands_under_the_moment_at_which_it_was_measured_and_nowhere_else() {
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::default()
    });
    for _ in 0..12 {
        look(&ways().new_tree(&mut runner).unwrap().current());
    }
}

/// What stood at the end of a run stands in the middle of it once it was extended.
#[test]
fn an_extended_run_ends_where_it_ends_now() {
    for (fails, reason) in [
        (vec![(1, 9)], "hook `match-disparity` failed at step 9"),
        (Vec::new(), ""),
    ] {
        let told = Told {
            at: "['start', 'every 3 steps', 'end']",
            retry: false,
            fails,
        };
        let way = Way {
            kl: told.clone(),
            gap: told,
            early: None,
        };
        let project = Project::new();
        let experiment = way.experiment();
        let saves = experiment.replace("[train]\n", "[train]\nsave = 'every 3 steps'\n");
        project.write("small.toml", saves);
        let run = project.path().join("runs/small/a");
        let (code, said) = program(&project, &["finetune", "small.toml", "--name", "a"]);
        assert_eq!(code, 0, "{said}");
        assert!(Slow::read(&run).end.contains_key("gender/disparity"));
        let extend = [
            "finetune",
            "small.toml",
            "--resume",
            "a",
            "--extend",
            "train.max_steps=9",
        ];
        let (code, said) = program(&project, &extend);
        assert_eq!(code, if reason.is_empty() { 0 } else { 6 }, "{said}");
        let slow = Slow::read(&run);
        assert_eq!(slow.end.contains_key("gender/disparity"), reason.is_empty());
        terminal(&said, &slow, &way);
        assert!(said.contains(reason), "{said}");
        page(&project.read("runs/small/a/report.html"), &slow, &way);
    }
}

/// The kinds, one by one, so that each is there whatever is drawn.
#[test]
fn a_hook_that_fails_at_the_first_a_middle_or_the_last_milestone() {
    let whole = Told {
        at: "['start', 'every 3 steps', 'end']",
        retry: false,
        fails: Vec::new(),
    };
    let failing = |seed, step, retry| Told {
        fails: vec![(seed, step)],
        retry,
        ..whole.clone()
    };
    for (gap, early) in [
        (failing(1, 6, false), None),
        (failing(1, 3, false), None),
        (failing(3, 0, true), None),
        (failing(3, 0, false), Some(("!", 3))),
    ] {
        look(&Way {
            kl: gap.clone(),
            gap,
            early,
        });
    }
}
