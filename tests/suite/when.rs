//! Hooks that wait for a condition, are called once, end their own calls, or end the run: golden traces, the same after a kill at any
//! event, and mistakes that are found before the run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use burn::tensor::Device;
use milepost::cadence::Cadence;
use milepost::clock::Length;
use milepost::event::Event;
use milepost::hook::{Context, Hook, Milestone, Runs, Seen};
use milepost::train::{Begin, HookSpec, OnError, Plan, Reporter, StopReason, finetune};
use serde_json::Value;

use crate::harness::{Project, fixture_pair, milestones, timeless};
use crate::small_run::*;

/// A plan of `steps` steps of a pair that takes no time, and a checkpoint after each.
fn quick(directory: &Path, steps: u64, hooks: Vec<HookSpec>) -> Plan {
    let mut plan = plan(directory, 7, Length::Steps(steps), hooks);
    plan.pair = fixture_pair(&Device::flex().autodiff());
    let ids = (0..7 * 16u32).map(|id| id * id % 97).collect();
    plan.blocks = milepost::data::blocks::Blocks::cut(ids, 16).unwrap();
    let held_out = (0..32u32).map(|id| id * 7 % 97).collect();
    let scene = Arc::get_mut(&mut plan.scene).unwrap();
    let held_out = milepost::data::blocks::Blocks::cut(held_out, 16).unwrap();
    scene.held_out = held_out.into();
    plan.training.save = Some(Cadence::parse(&["every step"]).unwrap());
    plan.training.evaluate = Cadence::parse(&["start", "every 2 steps"]).unwrap();
    plan
}

/// What the inline hook `probe` reports after each step.
const PROBED: [f64; 9] = [0.0, 3.0, 1.0, 1.5, 1.2, 1.1, 2.5, 0.5, 0.4];

fn probe() -> HookSpec {
    let mut probe = spec(
        "probe",
        &["start", "every step"],
        Each(|context: &mut Context| {
            let step = context.milestone().step;
            context.scalar("probe/value", PROBED[step as usize]);
            // In a condition, this tag is the loop's alone.
            context.scalar("eval/main/perplexity", -1.0);
            Ok(())
        }),
    );
    probe.runs = Runs::Inline;
    probe
}

/// Counts its calls, and ends them at the one with the number `last`.
struct Counter {
    name: &'static str,
    calls: u64,
    last: Option<u64>,
}

impl Hook for Counter {
    fn at_milestone(&mut self, context: &mut Context) -> anyhow::Result<()> {
        self.calls += 1;
        context.scalar(format!("{}/calls", self.name), self.calls as f64);
        if Some(self.calls) == self.last {
            context.detach();
        }
        Ok(())
    }
    fn state(&self) -> Value {
        self.calls.into()
    }
    fn restore(&mut self, state: Value) -> anyhow::Result<()> {
        self.calls = serde_json::from_value(state)?;
        Ok(())
    }
}

fn counter(name: &'static str, last: Option<u64>) -> HookSpec {
    let counter = Counter {
        name,
        calls: 0,
        last,
    };
    spec(name, &["start", "every step"], counter)
}

fn when(name: &'static str, condition: &str) -> HookSpec {
    let mut spec = counter(name, None);
    spec.when = Some(condition.parse().unwrap());
    spec
}

/// One of each kind of condition, some inline and some not.
fn all_kinds() -> Vec<HookSpec> {
    let inline = |mut spec: HookSpec| {
        spec.runs = Runs::Inline;
        spec
    };
    let once = |mut spec: HookSpec| {
        spec.once = true;
        spec
    };
    let mut odd = counter("odd", None);
    odd.wanted = Some(Arc::new(|seen: &Seen| {
        let odd = seen.milestone().step % 2 == 1;
        odd && seen.last("probe/value").is_some_and(|value| value > 1.0)
    }));
    let mut early = counter("early", None);
    early.wanted = Some(Arc::new(|seen: &Seen| {
        seen.last("probe/value").is_some_and(|value| value > 1.0)
    }));
    let mut blind = counter("blind", None);
    blind.wanted = Some(Arc::new(|seen: &Seen| seen.last("odd/calls").is_some()));
    vec![
        inline(when("before", "probe/value rises")),
        early,
        probe(),
        when("rises", "probe/value rises"),
        inline(when("low", "probe/value < 2 for 2 steps")),
        when("falls", "probe/value falls for 2 values"),
        once(when("once", "probe/value < 1 and not probe/value <= 0")),
        once(counter("first", None)),
        counter("leaves", Some(3)),
        inline(counter("goes", Some(2))),
        odd,
        blind,
        when(
            "evaluated",
            "eval/main/perplexity < 1 or eval/main/loss > 0 for 2 values",
        ),
        when("of the loop", "eval/main/perplexity < 0"),
        when("trained", "train/main/loss > 0 for 3 steps"),
        when("rate", "train/lr falls"),
    ]
}

/// The steps at which each hook was called.
fn calls(run: &Path, name: &str) -> Vec<u64> {
    let lines = milestones(run).into_iter();
    let own = lines.filter(|line| line["source"] == name);
    own.map(|line| line["step"].as_u64().unwrap()).collect()
}

#[test]
fn each_hook_is_called_exactly_where_its_conditions_are_true() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let (outcome, _) = go(quick(&run, 8, all_kinds()));
    for (name, expected) in [
        // These two stand above the probe, so they see each value one step later.
        ("before", &[2, 4, 7][..]),
        ("early", &[2, 4, 5, 6, 7]),
        ("probe", &[0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("rises", &[1, 3, 6]),
        ("low", &[3, 4, 5, 8]),
        ("falls", &[5, 8]),
        ("once", &[7]),
        ("first", &[0]),
        ("leaves", &[0, 1, 2]),
        ("goes", &[0, 1]),
        ("odd", &[1, 3, 5]),
        // A background hook's tags are never seen.
        ("blind", &[]),
        // The loop evaluates at 0, 2, 4, ..., and is done with that before the end of the step.
        ("evaluated", &[2, 3, 4, 5, 6, 7, 8]),
        ("of the loop", &[]),
        ("trained", &[3, 4, 5, 6, 7, 8]),
        ("rate", &[2, 3, 4, 5, 6, 7, 8]),
    ] {
        assert_eq!(calls(&run, name), expected, "{name}");
    }
    let detached = outcome.times.iter().filter_map(|time| {
        let step = time.detached?;
        Some((time.name.as_str(), step, time.calls))
    });
    assert_eq!(
        detached.collect::<Vec<_>>(),
        [("leaves", 2, 3), ("goes", 1, 2)]
    );
    assert!(outcome.failures.is_empty());
}

/// Dies at the event with this number.
struct Mortal {
    left: usize,
}

const KILLED: &str = "killed by the test";

impl Reporter for Mortal {
    fn event(&mut self, _: Event, _: &Milestone) {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            // Panics without printing a message.
            None => std::panic::resume_unwind(Box::new(KILLED)),
        }
    }
}

fn trained(run: &Path, begin: Begin, events: usize) -> bool {
    let mut reporter = Mortal { left: events };
    let plan = quick(run, 8, all_kinds());
    let result = catch_unwind(AssertUnwindSafe(|| {
        finetune(plan, begin, &mut reporter, &AtomicBool::new(false)).unwrap()
    }));
    match result {
        Ok(_) => true,
        Err(death) => {
            assert_eq!(death.downcast_ref::<&str>().copied(), Some(KILLED));
            false
        }
    }
}

#[test]
fn a_run_that_is_killed_at_any_event_goes_on_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    assert!(trained(&whole, Begin::Anew, usize::MAX));
    let expected = timeless(&whole);
    // There are about eight events a step, so that each of them is met.
    for dies_at in (0..).step_by(3) {
        let run = folder.path().join(format!("killed-{dies_at}"));
        if trained(&run, Begin::Anew, dies_at) {
            assert!(dies_at > 60, "{dies_at} events");
            return;
        }
        // Killed once more before it comes to its end.
        trained(&run, Begin::Resume, 9);
        if !run.join("outcome.json").exists() {
            assert!(trained(&run, Begin::Resume, usize::MAX));
        }
        assert_eq!(timeless(&run), expected, "killed at event {dies_at}");
    }
}

#[test]
fn queued_calls_of_a_hook_that_ends_its_calls_are_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let slow = spec(
        "slow",
        &["start", "every step"],
        Each(|context: &mut Context| {
            std::thread::sleep(Duration::from_millis(100));
            context.scalar("slow/one", 1.0);
            if context.milestone().step == 1 {
                context.detach();
            }
            Ok(())
        }),
    );
    let mut plan = quick(&run, 8, vec![slow]);
    plan.queue = 100;
    plan.training.save = None;
    let (outcome, _) = go(plan);
    assert_eq!(calls(&run, "slow"), [0, 1]);
    assert!(outcome.failures.is_empty() && outcome.times[0].detached == Some(1));
    assert_eq!(outcome.stop, StopReason::Complete);
}

#[test]
fn a_condition_that_panics_is_a_failure_of_its_hook() {
    let folder = tempfile::tempdir().unwrap();
    for (on_error, runs) in [
        (OnError::Disable, Runs::Background),
        (OnError::Stop, Runs::Inline),
    ] {
        let mut panics = counter("panics", None);
        panics.wanted = Some(Arc::new(|seen: &Seen| {
            assert!(seen.milestone().step < 2, "no more");
            true
        }));
        (panics.on_error, panics.runs) = (on_error, runs);
        let run = folder.path().join(format!("{on_error:?}"));
        let (outcome, _) = go(quick(&run, 4, vec![panics, counter("good", None)]));
        assert_eq!(outcome.failures.len(), 1);
        let failure = &outcome.failures[0];
        assert_eq!((failure.name.as_str(), failure.step), ("panics", 2));
        let says = "the condition of its kind panicked: no more";
        assert!(failure.message.contains(says), "{}", failure.message);
        assert_eq!(calls(&run, "panics"), [0, 1, 2], "the last is the error");
        let stopped = matches!(outcome.stop, StopReason::Requested(_));
        assert_eq!(stopped, on_error == OnError::Stop);
        let last = if stopped { 2 } else { 4 };
        assert_eq!(calls(&run, "good").last(), Some(&last));
    }
}

/// Hooks that end the run, two of which fail, and measurements at the end. Each notes its name when it is called.
fn endings(event: Event) -> (Vec<HookSpec>, Arc<Mutex<Vec<&'static str>>>) {
    let called: Arc<Mutex<Vec<&'static str>>> = Arc::default();
    let named = |name: &'static str, at: &str, on: Option<Event>, runs| {
        let called = called.clone();
        let mut spec = spec(
            name,
            &[at],
            Each(move |context: &mut Context| {
                if name == "measures" {
                    std::thread::sleep(Duration::from_millis(200));
                }
                called.lock().unwrap().push(name);
                let prompts = context.scene().prompts.len();
                context.per_template("ones", vec![1.0; prompts]);
                match name {
                    "errs" => anyhow::bail!("no"),
                    "panics" => panic!("boom"),
                    _ => Ok(()),
                }
            }),
        );
        (spec.on, spec.runs) = (on, runs);
        spec
    };
    let hooks = vec![
        named("opened first", "end", Some(event), Runs::Background),
        named("measures", "end", None, Runs::Background),
        named("errs", "end", Some(event), Runs::Inline),
        named("panics", "end", Some(event), Runs::Inline),
        named("also measures", "end", None, Runs::Inline),
        named("opened last", "end", Some(event), Runs::Inline),
    ];
    (hooks, called)
}

#[test]
fn hooks_that_end_a_run_are_called_last_in_reverse_order() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let (hooks, called) = endings(Event::RunEnd);
    let (outcome, _) = go(quick(&run, 2, hooks));
    let finalisers = ["opened last", "panics", "errs", "opened first"];
    let measured = ["also measures", "measures"];
    assert_eq!(
        *called.lock().unwrap(),
        [&measured[..], &finalisers].concat()
    );
    assert_eq!(outcome.failures.len(), 2);
    let sources: Vec<String> = milestones(&run)
        .iter()
        .filter(|line| line["event"] == "run-end")
        .map(|line| line["source"].as_str().unwrap().to_owned())
        .collect();
    // Measurements stand in the order of the experiment.
    let in_order = ["measures", "also measures"];
    assert_eq!(sources, [&in_order[..], &finalisers].concat());
}

#[test]
fn so_are_hooks_that_end_a_run_that_failed() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let (hooks, called) = endings(Event::RunFailed);
    let mut plan = quick(&run, 50, hooks);
    plan.training.schedule.peak = 1e30;
    plan.training.clip = None;
    let never = AtomicBool::new(false);
    finetune(plan, Begin::Anew, &mut Trace::default(), &never).unwrap_err();
    let finalisers = ["opened last", "panics", "errs", "opened first"];
    assert_eq!(*called.lock().unwrap(), finalisers);
    // When a file stands in place of the folder, what they report cannot be written, and still all are called.
    let run = folder.path().join("gone");
    let (mut hooks, called) = endings(Event::RunFailed);
    let folder = run.clone();
    let mut removes = spec(
        "removes",
        &["steps 1"],
        Each(move |_: &mut Context| {
            std::fs::remove_dir_all(&folder)?;
            Ok(std::fs::write(&folder, "in its place")?)
        }),
    );
    removes.runs = Runs::Inline;
    hooks.push(removes);
    let plan = quick(&run, 4, hooks);
    finetune(plan, Begin::Anew, &mut Trace::default(), &never).unwrap_err();
    assert_eq!(*called.lock().unwrap(), finalisers);
}

/// The plan of small.toml with these lines behind it, or what is wrong with it.
fn planned(project: &Project, more: &str) -> Result<String, String> {
    let text = project.read("small.toml");
    project.write("more.toml", text + more);
    let output = project.milepost(&["plan", "more.toml"]).output().unwrap();
    let said = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    match output.status.code() {
        Some(0) => Ok(said(output.stdout)),
        code => {
            assert_eq!(code, Some(2));
            Err(said(output.stderr))
        }
    }
}

#[test]
fn a_plan_shows_conditions_and_they_are_resolved() {
    let project = Project::new();
    let more = r#"
[hooks.drift]
at = "every step"
when = "train/main/loss<2 for 1_0 steps or (kl/mean_nats rises and not eval/main/perplexity >= 1e2)"
[hooks.representation]
at = "every 2 steps"
once = true
[hooks.mine]
kind = "template-kl"
runs = "inline"
at = "every step"
when = "gradient_norm_main/ln_f.bias > 1 or gender/change_p_value < 0.05 or train/assistant/gradient_norm < 1"
once = true
[hooks.last]
kind = "perplexity"
on = "run-end"
[hooks.failed]
kind = "perplexity"
on = "run-failed"
[hooks.near]
kind = "perplexity"
at = "every step"
when = "mine/kl/prompt/mean_nats < 1 or mine/divergence/tv > 1 or mine/kl/female_nats falls"
"#;
    let kl = "\n[hooks.template-kl]\n";
    let text = project.read("small.toml");
    project.write(
        "small.toml",
        text.replace(kl, &format!("{kl}runs='inline'\n")),
    );
    let text = project.read("small.toml");
    let gap = "\n[hooks.match-disparity]\n";
    project.write(
        "small.toml",
        text.replace(gap, &format!("{gap}runs='inline'\n")),
    );
    let plan = planned(&project, more).unwrap();
    for line in [
        "background, at most 6 times (steps 1, 2, 3, 4, 5, 6), when train/main/loss < 2.0 for 10 steps or kl/mean_nats rises and not eval/main/perplexity >= 100.0\n",
        "background, once (step 2)\n",
        "inline, at most once in the run (steps 1, 2, 3, 4, 5, 6), when gradient_norm_main/ln_f.bias > 1.0",
        "inline, once (step 6)\n",
        "inline, if the run fails\n",
        "when = \"train/main/loss < 2.0 for 10 steps or kl/mean_nats rises and not eval/main/perplexity >= 100.0\"",
        "once = true",
    ] {
        assert!(plan.contains(line), "{line}\n{plan}");
    }
    let run = ["finetune", "more.toml", "--name", "one"];
    let assert = project.milepost(&run).assert().success();
    let shown = String::from_utf8_lossy(&assert.get_output().stdout);
    for line in [
        "background, at most 6 times (steps 1, 2, 3, 4, 5, 6): every step, when train/main/loss < 2.0 for 10 steps or kl/mean_nats rises and not eval/main/perplexity >= 100.0\n",
        "background, once (step 2): every 2 steps, once\n",
        "inline, at most once in the run (steps 1, 2, 3, 4, 5, 6): every step, when gradient_norm_main/ln_f.bias > 1.0",
        "inline at run-end, once (step 6)\n",
        "inline at run-failed, if the run fails\n",
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    assert_eq!(plan.matches("once = true").count(), 2, "{plan}");
}

#[test]
fn mistakes_in_conditions_are_found_before_the_run() {
    let project = Project::new();
    let hook = "\n[hooks.drift]\nat = 'every step'\nwhen = ";
    for (when, place, says) in [
        (
            "'train/main/los < 2'",
            "train/main/los",
            "did you mean `train/main/loss`?",
        ),
        (
            "'train/main/loss < 2 fro 3 steps'",
            "fro",
            "did you mean `for`?",
        ),
        (
            "'a < 1 or b < 1'",
            "a",
            "known: train/main/loss, train/assistant/loss, train/lr, eval/main/loss",
        ),
        (
            "'not drift/main/tv < 1'",
            "drift/main/tv",
            "reported by this hook itself",
        ),
        (
            "'kl/mean_nats < 1'",
            "kl/mean_nats",
            "comes from a background hook, `template-kl`",
        ),
        (
            "'kl/mean_nats < 1'",
            "kl/mean_nats",
            "set `runs = \"inline\"` in [hooks.template-kl]",
        ),
        (
            "'kl/mean_nts < 1'",
            "kl/mean_nts",
            "did you mean `kl/mean_nats`?",
        ),
        (
            "'hook/drift/seconds > 1'",
            "hook/drift/seconds",
            "no two runs have it in common",
        ),
        (
            "'hook/drift/training_waited_seconds > 1'",
            "hook/drift/training_waited_seconds",
            "no two runs have it in common",
        ),
        (
            "'hook/drift/peak_rise_bytes > 1'",
            "hook/drift/peak_rise_bytes",
            "no two runs have it in common",
        ),
        (
            "'train/main/gradient_norms > 1'",
            "train/main/gradient_norms",
            "did you mean `train/main/gradient_norm`?",
        ),
        (
            "'gender/d < 1'",
            "gender/d",
            "background hook, `match-disparity`",
        ),
        ("''", "", "ends too early"),
        ("3", "3", "expected a string"),
    ] {
        let error = planned(&project, &format!("{hook}{when}")).unwrap_err();
        assert!(error.contains(says), "{when}: {error}");
        let lines: Vec<&str> = error.lines().collect();
        let carets = lines.iter().find(|line| line.contains('^')).unwrap();
        let shown = lines.iter().find(|line| line.contains("when = ")).unwrap();
        let (from, width) = (carets.find('^').unwrap(), carets.matches('^').count());
        if !place.is_empty() {
            assert_eq!(&shown[from..from + width], place, "{error}");
        }
    }
    // Of a model that is not trained there is no training loss.
    let set = [
        "plan",
        "small.toml",
        "--set",
        "train.models=['main'] hooks.drift={at='end', when='train/assistant/loss < 2'}",
    ];
    let error = project.fails(&set, 2);
    assert!(error.contains("records `train/assistant/loss`"), "{error}");
    for (more, says) in [
        ("once = 1", "expected true or false"),
        (
            "on = 'run-end'\nruns = 'background'",
            "set runs = \"inline\"",
        ),
        (
            "on = 'run-failed'\nruns = 'background'",
            "set runs = \"inline\"",
        ),
    ] {
        let error = planned(&project, &format!("\n[hooks.drift]\n{more}")).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn the_program_calls_a_hook_where_its_condition_is_true_and_replays_it_everywhere() {
    let project = Project::new();
    let set = "hooks.drift={at='every step', when='train/main/gradient_norm > 0 for 3 steps', once=true} train.save='every 2 steps'";
    let run = project.run("one", &["--set", set]);
    assert_eq!(calls(&run, "drift"), [3]);
    let replayed = ["replay", "runs/small/one", "--name", "again"];
    project.milepost(&replayed).assert().success();
    // At every state that is on disk.
    assert_eq!(calls(&run.join("replay/again"), "drift"), [0, 4, 6]);
}
