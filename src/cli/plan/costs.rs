//! What the hooks of an experiment will cost, from what they took in a former run of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::super::report::latest;
use super::words::runs;
use crate::experiment::HookOverview;
use crate::hook::Runs;
use crate::record::layout::MILESTONES;
use crate::record::milestones::{self, Line};
use crate::record::{Malformed, experiment};
use crate::report::dotted;
use crate::report::number::number;

/// Settings on which the time of a call or of a step does not depend.
const IDLE: [&str; 15] = [
    "about",
    "seed",
    "queue",
    "train.max_steps",
    "train.epochs",
    "train.lr",
    "train.schedule",
    "train.warmup_steps",
    "train.clip",
    "train.weight_decay",
    "train.decay_norms_and_biases",
    "train.evaluate",
    "train.save",
    "train.keep",
    "train.keep_best",
];

/// Keys of a hook on which the time of a call does not depend.
const IDLE_OF_HOOK: [&str; 7] = [
    "at",
    "on",
    "when",
    "once",
    "runs",
    "on_error",
    "deadline_seconds",
];

/// A former run, and what its calls and steps took.
struct Former {
    run: PathBuf,
    experiment: toml::Table,
    /// The seconds of each call, by hook.
    calls: BTreeMap<String, Vec<f64>>,
    /// The seconds of each step without the hooks in it.
    steps: Vec<f64>,
}

/// The costs of an experiment's hooks in a run of `steps` steps, by the newest run in `folder` that has measured any of them. It is empty
/// where there is none. `resolved` is the experiment.
pub(super) fn costs(folder: &Path, hooks: &[HookOverview], steps: u64, resolved: &str) -> String {
    let runs = latest(folder).into_iter();
    let mut former = runs.filter_map(|run| Former::read(run, hooks));
    match former.next() {
        Some(former) => former.table(hooks, steps, resolved),
        None => String::new(),
    }
}

impl Former {
    /// Reads a run. None where it cannot be read, or has measured none of the hooks.
    fn read(run: PathBuf, hooks: &[HookOverview]) -> Option<Self> {
        let text = experiment::read(&run).ok()?.text;
        let experiment = experiment::parse(&text).ok()?;
        let bytes = std::fs::read(run.join(MILESTONES)).ok()?;
        let is_kind = |hook: &&HookOverview| {
            setting(&experiment, &hook.name, "kind") == Some(hook.kind.as_str())
        };
        let known: Vec<&str> = hooks
            .iter()
            .filter(is_kind)
            .map(|hook| &*hook.name)
            .collect();
        // A line may be torn or damaged; the others are as good a measure.
        let lines: Vec<Line> = milestones::lines(&bytes)
            .filter_map(Result::<_, Malformed>::ok)
            .collect();
        let mut calls = BTreeMap::new();
        for line in &lines {
            let name = line.source.as_str();
            if let Some(seconds) = seconds(line)
                && known.contains(&name)
                && line.texts.get(&format!("hook/{name}/error")).is_none()
            {
                let all: &mut Vec<f64> = calls.entry(name.to_owned()).or_default();
                all.push(seconds);
            }
        }
        let inline = |line: &Line| setting(&experiment, &line.source, "runs") == Some("inline");
        let steps = steps(&lines, inline);
        (!calls.is_empty()).then_some(Self {
            run,
            steps,
            calls,
            experiment,
        })
    }

    fn table(&self, hooks: &[HookOverview], steps: u64, resolved: &str) -> String {
        let (run, differing) = (self.run.display(), self.differing(resolved));
        let mut rows = vec![["", "calls", "s a call", "seconds", ""].map(str::to_owned)];
        for hook in hooks {
            rows.extend(self.row(hook));
        }
        for (kind, about) in [
            (Runs::Inline, "in the loop"),
            (Runs::Background, "beside the training"),
        ] {
            let own: Vec<&HookOverview> = hooks.iter().filter(|hook| hook.runs == kind).collect();
            if !own.is_empty() {
                let name = format!("{} hooks", runs(kind));
                let sum = own.iter().map(|hook| self.seconds(hook)).sum::<Range>();
                let sum = sum.shown(|seconds| format!("{seconds:.2}"));
                rows.push([name, String::new(), String::new(), sum, about.to_owned()]);
            }
        }
        if let Some(each) = median(&self.steps) {
            rows.push([
                "training".to_owned(),
                steps.to_string(),
                number(each),
                format!("{:.2}", each * steps as f64),
                "steps alone, without evaluation and checkpoints".to_owned(),
            ]);
        }
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max();
        let [a, b, c, d] = [0, 1, 2, 3].map(|column| width(column).unwrap_or(0));
        let mut text = format!("what it will take, as measured in {run}{differing}\n");
        for [name, calls, each, all, about] in &rows {
            let row = format!("  {name:a$}  {calls:>b$}  {each:>c$}  {all:>d$}  {about}");
            text += &format!("{}\n", row.trim_end());
        }
        text
    }

    /// The row of a hook. None of one that is not called if all goes well.
    fn row(&self, hook: &HookOverview) -> Option<[String; 5]> {
        let calls = calls(hook);
        if calls.most == Some(0.0) {
            return None;
        }
        let [each, all, about] = match self.each(hook) {
            Some(each) => [
                number(each),
                self.seconds(hook).shown(|seconds| format!("{seconds:.2}")),
                runs(hook.runs).to_owned(),
            ],
            None => ["-", "-", "not measured there"].map(str::to_owned),
        };
        let calls = calls.shown(|calls| calls.to_string());
        Some([hook.name.clone(), calls, each, all, about])
    }

    /// The median of the seconds of a hook's call.
    fn each(&self, hook: &HookOverview) -> Option<f64> {
        median(self.calls.get(&hook.name)?)
    }

    /// The seconds of all calls of a hook.
    fn seconds(&self, hook: &HookOverview) -> Range {
        let calls = calls(hook);
        match self.each(hook) {
            Some(each) => Range {
                least: each * calls.least,
                most: calls.most.map(|most| each * most),
            },
            None => Range {
                least: 0.0,
                most: calls.most.filter(|most| *most == 0.0),
            },
        }
    }

    /// The settings that differ from those of the run, as far as they can change how long something takes; in brackets, or nothing.
    fn differing(&self, resolved: &str) -> String {
        let matters = |key: &str| match key.strip_prefix("hooks.") {
            Some(of_hook) => {
                let mut measured = self.calls.keys();
                let option = measured
                    .find_map(|name| of_hook.strip_prefix(name.as_str())?.strip_prefix('.'));
                option.is_some_and(|option| !IDLE_OF_HOOK.contains(&option))
            }
            None => !IDLE.contains(&key),
        };
        let now = experiment::parse(resolved).unwrap_or_default();
        let [then, now] = [&self.experiment, &now].map(|table| -> BTreeMap<String, String> {
            dotted(table)
                .into_iter()
                .filter(|(key, _)| matters(key))
                .collect()
        });
        let keys: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
        let other = keys
            .into_iter()
            .filter(|key| then.get(*key) != now.get(*key));
        let other: Vec<&str> = other.map(String::as_str).collect();
        if other.is_empty() {
            return String::new();
        }
        format!(" (other settings there: {})", other.join(", "))
    }
}

/// A number of which the least and the most are known, or the least alone.
#[derive(Clone, Copy)]
struct Range {
    least: f64,
    most: Option<f64>,
}

impl Range {
    /// `4`, `0-4`, or `4+` where the most is not known.
    fn shown(self, number: impl Fn(f64) -> String) -> String {
        let least = number(self.least);
        match self.most.map(number) {
            None => least + "+",
            Some(most) if most == least => most,
            Some(most) => format!("{least}-{most}"),
        }
    }
}

impl std::iter::Sum for Range {
    fn sum<I: Iterator<Item = Self>>(ranges: I) -> Self {
        let none = Self {
            least: 0.0,
            most: Some(0.0),
        };
        ranges.fold(none, |sum, one| Self {
            least: sum.least + one.least,
            most: sum.most.zip(one.most).map(|(sum, one)| sum + one),
        })
    }
}

/// How often a hook is called if all goes well.
fn calls(hook: &HookOverview) -> Range {
    let counted: u64 = hook.firings_at.iter().map(|at| at.firings.calls).sum();
    let counted = counted as f64;
    let is_open = hook.by_time() || hook.firings.more;
    let mut calls = Range {
        least: counted,
        most: (!is_open).then_some(counted),
    };
    if hook.is_conditional() {
        calls.least = 0.0;
    }
    if hook.once {
        calls.least = calls.least.min(1.0);
        calls.most = Some(calls.most.unwrap_or(1.0).min(1.0));
    }
    calls
}

/// A setting of a hook.
fn setting<'a>(experiment: &'a toml::Table, hook: &str, key: &str) -> Option<&'a str> {
    experiment.get("hooks")?.get(hook)?.get(key)?.as_str()
}

/// The seconds of the call that a line is the report of.
fn seconds(line: &Line) -> Option<f64> {
    let seconds = line.times.get(&format!("hook/{}/seconds", line.source));
    seconds.copied().filter(|seconds| seconds.is_finite())
}

/// The seconds from the end of each step to that of the next, without the inline hooks between.
fn steps(lines: &[Line], inline: impl Fn(&Line) -> bool) -> Vec<f64> {
    let mut took = Vec::new();
    let mut before = None;
    let mut hooks = 0.0;
    for line in lines {
        if inline(line) {
            hooks += seconds(line).unwrap_or(0.0);
        }
        // The line of the loop's own at the end of a step.
        if line.scalars.get("train/lr").is_none() {
            continue;
        }
        let now = line
            .times
            .get("elapsed")
            .map(|elapsed| (line.step, *elapsed));
        if let (Some((step, then)), Some((next, now))) = (before, now)
            && next == step + 1
        {
            took.push(now - then - hooks);
        }
        (before, hooks) = (now, 0.0);
    }
    took
}

/// The median; None of nothing.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() % 2 {
        _ if sorted.is_empty() => None,
        1 => Some(sorted[half]),
        _ => Some((sorted[half - 1] + sorted[half]) / 2.0),
    }
}
