//! Events of hooks' own: who is called, in which order, and what is refused before the run.

use std::path::PathBuf;

use milepost::clock::Length;
use milepost::diagnostic::Source;
use milepost::event::Event;
use milepost::experiment::{Places, parse, resolve};
use milepost::hook::{Context, Hook, Kind, Runs};
use milepost::hub::Hub;
use milepost::registry::Registry;
use milepost::train::HookSpec;
use serde::{Deserialize, Serialize};

use crate::harness::{Project, milestones};
use crate::small_run::*;

/// An inline hook that emits `signals` at each call and reports its number of calls.
fn emitter(name: &'static str, at: &[&str], signals: &'static [&'static str]) -> HookSpec {
    let mut calls = 0.0;
    let mut spec = spec(
        name,
        at,
        Each(move |context: &mut Context| {
            calls += 1.0;
            context.scalar(format!("{name}/calls"), calls);
            for signal in signals {
                context.emit(*signal);
            }
            Ok(())
        }),
    );
    spec.runs = Runs::Inline;
    spec.emits = signals.to_vec();
    spec
}

/// The same hook, called for a signal.
fn waiting(mut spec: HookSpec, signal: &str) -> HookSpec {
    spec.signal = Some(signal.into());
    spec
}

/// Event, source, step and emitted names of every line that a hook wrote.
fn lines(run: &std::path::Path) -> Vec<String> {
    let lines = milestones(run).into_iter();
    let own = lines.filter(|line| line["source"] != "train" && line["source"] != "eval");
    own.map(|line| {
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        let emitted = line
            .get("emitted")
            .map_or(String::new(), |all| format!(" emits {all}"));
        format!(
            "{} {} {}{emitted}",
            line["step"],
            text("event"),
            text("source")
        )
    })
    .collect()
}

#[test]
fn hooks_that_wait_for_a_signal_are_called_after_those_of_the_moment_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let all = ["start", "every step", "end"];
    let mut background = waiting(emitter("third", &all, &[]), "b");
    background.runs = Runs::Background;
    let mut ready = emitter("ready", &["steps 1"], &["a"]);
    ready.on = Some(Event::GradientsReady);
    let hooks = vec![
        waiting(emitter("second", &all, &["b", "nobody"]), "a"),
        emitter("first", &["steps 2, 3"], &["a", "b"]),
        emitter("other", &["steps 2"], &[]),
        background,
        waiting(emitter("seldom", &["steps 3"], &[]), "a"),
        ready,
    ];
    let (outcome, _) = go(plan(&run, 7, Length::Steps(3), hooks));
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    let emits = r#" emits ["b","nobody"]"#;
    assert_eq!(
        lines(&run),
        [
            r#"1 gradients-ready ready emits ["a"]"#.to_owned(),
            format!("1 a second{emits}"),
            "1 b third".to_owned(),
            r#"2 step-end first emits ["a","b"]"#.to_owned(),
            "2 step-end other".to_owned(),
            format!("2 a second{emits}"),
            // Once a step, however often it is emitted.
            "2 b third".to_owned(),
            r#"3 step-end first emits ["a","b"]"#.to_owned(),
            format!("3 a second{emits}"),
            "3 a seldom".to_owned(),
            "3 b third".to_owned(),
        ]
    );
}

/// The x axis of what is reported for a signal counts steps, whatever the moment at which it was emitted.
#[test]
fn a_signal_of_a_micro_batch_belongs_to_its_step() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut passes = emitter("passes", &["every step"], &["a"]);
    passes.on = Some(Event::MicroBatchEnd);
    let hooks = vec![passes, waiting(emitter("steps", &["every step"], &[]), "a")];
    let (outcome, _) = go(plan(&run, 7, Length::Steps(2), hooks));
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    let steps: Vec<String> = lines(&run)
        .into_iter()
        .filter(|line| line.contains(" steps"))
        .collect();
    assert_eq!(steps, ["1 a steps", "2 a steps"]);
}

#[test]
fn a_signal_that_the_kind_does_not_declare_is_a_failure_of_the_hook() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut wrong = emitter("wrong", &["steps 1"], &["a"]);
    wrong.emits = vec!["b"];
    let hooks = vec![wrong, waiting(emitter("heard", &["every step"], &[]), "a")];
    let (outcome, _) = go(plan(&run, 7, Length::Steps(2), hooks));
    let message = &outcome.failures[0].message;
    assert!(
        message.contains("`a`") && message.contains("Kind::emits"),
        "{message}"
    );
    assert!(!lines(&run).iter().any(|line| line.contains("heard")));
}

#[derive(Default, Serialize, Deserialize)]
struct Nothing {}

struct Quiet;

impl Hook for Quiet {
    fn at_milestone(&mut self, _: &mut Context) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Kinds that emit what their name says.
fn registry() -> Registry {
    let kind = |name: &'static str| Kind::new(name, "a test's", |_: Nothing| Quiet);
    Registry::default()
        .with(kind("emits-a").emits(&["a"]).inline())
        .with(kind("emits-b").emits(&["b"]).inline())
        .with(kind("emits-event").emits(&["step-end"]).inline())
        .with(kind("quiet"))
}

/// Why the hooks of an experiment are refused; empty when they are not.
fn refused(hooks: &str) -> String {
    let project = Project::new();
    let text = project.read("small.toml");
    let (settings, _) = text.split_once("[hooks.").unwrap();
    let source = Source {
        name: "small.toml".to_owned(),
        text: format!("{settings}{hooks}"),
    };
    let places = Places {
        base: project.path().to_owned(),
        data: None,
        cache: None,
        offline: true,
        hub: Hub::from_environment(true),
        run: PathBuf::new(),
    };
    let written = parse(source, &[]).unwrap();
    let resolved = resolve(&written, &registry(), &places, &mut |_, _, _| {});
    resolved
        .err()
        .map_or(String::new(), |error| format!("{error:#}"))
}

#[test]
fn what_cannot_come_is_refused_before_the_run() {
    let waits = "[hooks.quiet]\non = 'a'\n";
    for (hooks, said) in [
        (format!("[hooks.emits-a]\n{waits}"), &[][..]),
        // The order in the experiment does not matter.
        (format!("{waits}[hooks.emits-a]\n"), &[]),
        (waits.to_owned(), &["unknown event `a`", "on = 'a'"]),
        (
            "[hooks.quiet]\non = 'evaluatd'\n".to_owned(),
            &["unknown event `evaluatd`", "`evaluated`"],
        ),
        (
            format!("[hooks.emits-a]\nenabled = false\n{waits}"),
            &["unknown event `a`"],
        ),
        (
            format!("[hooks.emits-a]\nruns = 'background'\n{waits}"),
            &[
                "hook `emits-a` emits `a` from the background",
                "runs = \"inline\"",
            ],
        ),
        ("[hooks.emits-a]\nruns = 'background'\n".to_owned(), &[]),
        (
            "[hooks.emits-a]\non = 'a'\n".to_owned(),
            &["wait for each other: emits-a -> emits-a"],
        ),
        (
            "[hooks.emits-a]\non = 'b'\n[hooks.emits-b]\non = 'a'\n".to_owned(),
            &["wait for each other: emits-a -> emits-b -> emits-a"],
        ),
        (
            "[hooks.emits-event]\n".to_owned(),
            &["emits `step-end`, which is an event of the loop"],
        ),
        (
            format!("[hooks.emits-a]\n{waits}at = 'budget 5%'\n"),
            &["cannot be combined with `on`"],
        ),
    ] {
        let message = refused(&hooks);
        assert_eq!(message.is_empty(), said.is_empty(), "{hooks}: {message}");
        for said in said {
            assert!(message.contains(said), "{hooks}: {message}");
        }
    }
}

/// `plan` shows who is called for what, and a run of the program calls them.
#[test]
fn the_program_plans_and_calls_a_hook_that_waits_for_another() {
    let project = Project::new();
    let text = project.read("small.toml");
    let (settings, _) = text.split_once("[hooks.").unwrap();
    let settings = settings.replace("max_steps = 6", "max_steps = 12");
    // From the ninth step on, every loss that rises at all is a spike.
    let hooks = "[hooks.loss-spike]\nat = 'every step'\nwindow = 8\nthreshold = 1e-9\n\
                 [hooks.at-a-spike]\nkind = 'perplexity'\non = 'loss-spike'\n";
    project.write("small.toml", format!("{settings}{hooks}"));
    let plan = project.milepost(&["plan", "small.toml"]).assert().success();
    let plan = String::from_utf8(plan.get_output().stdout.clone()).unwrap();
    let line = "    * at-a-spike  background, whenever loss-spike emits `loss-spike`\n";
    assert!(plan.contains(line), "{plan}");
    let run = project.run("one", &[]);
    let lines = milestones(&run);
    let steps = |source: &str, key: &str| {
        let lines = lines
            .iter()
            .filter(|line| line["source"] == source && line.get(key).is_some());
        let steps = lines.map(|line| line["step"].as_u64().unwrap());
        steps.collect::<Vec<u64>>()
    };
    let spikes = steps("loss-spike", "emitted");
    assert_eq!(steps("at-a-spike", "event"), spikes);
    let above = lines.iter().filter(|line| {
        let scalars = &line["scalars"];
        ["main", "assistant"].iter().any(|role| {
            let found = scalars[format!("loss_spike/{role}_deviations")].as_f64();
            found.is_some_and(|found| found > 1e-9)
        })
    });
    assert_eq!(above.count(), spikes.len());
    let heard = lines.iter().filter(|line| line["event"] == "loss-spike");
    assert_eq!(heard.count(), spikes.len());
    assert!(!spikes.is_empty());
}
