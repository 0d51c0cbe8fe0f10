//! The loop: order of events, the same bytes for the same seed, hooks that change nothing, failures.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use burn::tensor::Device;
use milepost::cadence::Cadence;
use milepost::clock::{Extent, Length};
use milepost::data::blocks::Blocks;
use milepost::data::templates::{TemplateSet, Templates};
use milepost::decode::Settings;
use milepost::event::Event;
use milepost::hook::{Context, Hook, Milestone, Request, Runs, Scene, Shows};
use milepost::mini;
use milepost::model::{Pair, Role};
use milepost::record::Manifest;
use milepost::train::{
    Begin, Decay, HookSpec, OnError, Outcome, Plan, Reporter, Schedule, StopReason, Training,
    WeightDecay, finetune,
};

use crate::harness::{Project, TEMPLATES, gender, milestones, timeless};

/// A plan over `blocks` blocks of 16 tokens with micro-batches of 2, two of them a step.
pub fn plan(directory: &Path, blocks: usize, length: Length, hooks: Vec<HookSpec>) -> Plan {
    let device = Device::flex().autodiff();
    let tokenizer = mini::tokenizer().unwrap();
    let text: Vec<u32> = milepost::generator::articles(1)
        .take(40)
        .flat_map(|article| tokenizer.encode(&article.description).unwrap())
        .collect();
    let cut = |count: usize| Blocks::cut(text[..count * 16].to_vec(), 16).unwrap();
    let templates = Templates::parse("t", TEMPLATES, &gender(TemplateSet::Paired)).unwrap();
    let prompts = templates
        .prompts()
        .iter()
        .map(|one| tokenizer.encode(&one.prompt).unwrap())
        .collect();
    let model = |role| mini::model(role, &device).unwrap();
    let extent = Extent::new(blocks as u64, 2, 2, 16, length).unwrap();
    let total = extent.steps();
    Plan {
        seed: 3,
        extent,
        training: Training {
            models: Role::BOTH.to_vec(),
            batch: 2,
            accumulation: 2,
            schedule: Schedule {
                peak: 1e-3,
                warmup: 0,
                total,
                decay: Decay::Linear,
            },
            clip: Some(1.0),
            weight_decay: WeightDecay::default(),
            evaluate: Cadence::parse(&["start", "every epoch"]).unwrap(),
            save: Some(Cadence::parse(&["steps 2"]).unwrap()),
            keep: Some(2),
            keep_best: None,
        },
        pair: Pair::new(model(Role::Main), model(Role::Assistant)).unwrap(),
        blocks: cut(blocks),
        scene: Arc::new(Scene {
            seed: 3,
            eos: None,
            templates,
            prompts,
            held_out: cut(2),
            batch: 4,
            decode: Settings::default(),
            tokenizer: tokenizer.clone(),
        }),
        hooks,
        queue: 1,
        origin: "test".to_owned(),
        resolved: String::new(),
        manifest: Manifest::default(),
        hparams: Vec::new(),
        directory: directory.to_owned(),
    }
}

pub fn spec(name: &str, at: &[&str], hook: impl Hook + 'static) -> HookSpec {
    HookSpec {
        prefix: String::new(),
        compares_with_start: true,
        shows: Shows::default(),
        name: name.to_owned(),
        kind: name.to_owned(),
        at: Cadence::parse(at).unwrap(),
        on: None,
        runs: Runs::Background,
        on_error: OnError::Disable,
        deadline: None,
        hook: Box::new(hook),
    }
}

/// A hook made of a closure.
struct Each<F>(F);

impl<F: FnMut(&mut Context) -> anyhow::Result<()> + Send> Hook for Each<F> {
    fn at_milestone(&mut self, context: &mut Context) -> anyhow::Result<()> {
        (self.0)(context)
    }
}

#[derive(Default)]
pub struct Trace {
    pub events: Vec<String>,
    pub said: Vec<String>,
    pub hooks: Vec<(String, u64)>,
}

impl Reporter for Trace {
    fn event(&mut self, event: Event, milestone: &Milestone) {
        let clock = &milestone.clock;
        self.events.push(format!(
            "{event} {}/{}/{}",
            clock.epoch, clock.step, clock.micro_batch
        ));
    }
    fn hook(&mut self, name: &str, step: u64, _: f64) {
        self.hooks.push((name.to_owned(), step));
    }
    fn say(&mut self, line: &str) {
        self.said.push(line.to_owned());
    }
}

fn go(plan: Plan) -> (Outcome, Trace) {
    let mut trace = Trace::default();
    let outcome = finetune(plan, Begin::Anew, &mut trace, &AtomicBool::new(false)).unwrap();
    (outcome, trace)
}

/// Epoch, step and micro-batches done at every event of a run of 7 blocks: 4 micro-batches an epoch (the last of one block), 2 steps.
#[test]
fn the_golden_trace_of_a_small_run() {
    let folder = tempfile::tempdir().unwrap();
    let (_, trace) = go(plan(
        &folder.path().join("run"),
        7,
        Length::Steps(3),
        Vec::new(),
    ));
    let expected = "run-start 0/0/0, evaluated 0/0/0, epoch-start 0/0/0, \
        step-start 0/0/0, micro-batch-end 0/0/1, micro-batch-end 0/0/2, gradients-ready 0/0/2, gradients-clipped 0/0/2, step-end 0/1/2, \
        step-start 0/1/2, micro-batch-end 0/1/3, micro-batch-end 0/1/4, gradients-ready 0/1/4, gradients-clipped 0/1/4, evaluated 1/2/4, \
        step-end 1/2/4, epoch-end 1/2/4, checkpoint-saved 1/2/4, epoch-start 1/2/4, \
        step-start 1/2/4, micro-batch-end 1/2/5, micro-batch-end 1/2/6, gradients-ready 1/2/6, gradients-clipped 1/2/6, step-end 1/3/6, \
        run-end 1/3/6";
    assert_eq!(trace.events.join(", "), expected);
}

#[test]
fn a_milestone_that_several_clauses_name_fires_once() {
    let folder = tempfile::tempdir().unwrap();
    let at = ["start", "every step", "every epoch", "every 50%", "end"];
    let hook = spec(
        "counter",
        &at,
        Each(|context: &mut Context| {
            let step = context.milestone().step;
            context.scalar("counter/step", step as f64);
            Ok(())
        }),
    );
    let (outcome, trace) = go(plan(
        &folder.path().join("run"),
        7,
        Length::Epochs(2),
        vec![hook],
    ));
    let steps: Vec<u64> = trace.hooks.iter().map(|(_, step)| *step).collect();
    assert_eq!(steps, [0, 1, 2, 3, 4]);
    assert_eq!(outcome.spans["counter/step"].last, (4, 4.0));
}

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

/// The events of a run in the words of `Event`'s documentation: blocks, batch, accumulation, steps in all, and the step after which a
/// hook stops it.
fn told(
    blocks: usize,
    batch: usize,
    accumulation: usize,
    total: u64,
    stop: Option<u64>,
) -> Vec<String> {
    let mut events = vec!["run-start 0/0/0".to_owned()];
    let (mut epoch, mut step, mut micro) = (0, 0, 0);
    let last = stop.unwrap_or(total).min(total);
    while step < last {
        events.push(format!("epoch-start {epoch}/{step}/{micro}"));
        let mut left = blocks;
        while left > 0 && step < last {
            events.push(format!("step-start {epoch}/{step}/{micro}"));
            for _ in 0..accumulation {
                if left > 0 {
                    left -= left.min(batch);
                    micro += 1;
                    events.push(format!("micro-batch-end {epoch}/{step}/{micro}"));
                }
            }
            events.push(format!("gradients-ready {epoch}/{step}/{micro}"));
            events.push(format!("gradients-clipped {epoch}/{step}/{micro}"));
            step += 1;
            epoch += u64::from(left == 0);
            events.push(format!("step-end {epoch}/{step}/{micro}"));
            if left == 0 {
                events.push(format!("epoch-end {epoch}/{step}/{micro}"));
            }
        }
    }
    events.push(format!("run-end {epoch}/{step}/{micro}"));
    events
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]
    /// Whatever the shape of the run, its cadences and where it stops: events come in the documented order, and every milestone that
    /// is due fires, once.
    #[test]
    fn events_and_milestones_hold_for_every_shape_of_run(
        blocks in 1usize..8,
        batch in 1usize..4,
        accumulation in 1usize..4,
        epochs in proptest::bool::ANY,
        amount in 1u64..5,
        stop in proptest::option::of(1u64..6),
        clauses in proptest::sample::subsequence(vec!["start", "every step", "every 2 steps", "every epoch", "every 40%", "log2 steps", "every 40 tokens", "end"], 1..4),
        background in proptest::bool::ANY,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let length = if epochs { Length::Epochs(amount.min(2)) } else { Length::Steps(amount) };
        let mut watcher = spec("watcher", &clauses, Each(|context: &mut Context| {
            let step = context.milestone().step;
            context.scalar("watcher/step", step as f64);
            Ok(())
        }));
        watcher.runs = if background { Runs::Background } else { Runs::Inline };
        let mut stopper = spec("stopper", &[&format!("steps {}", stop.unwrap_or(9999))], Each(|context: &mut Context| {
            context.request_stop("told to");
            Ok(())
        }));
        stopper.runs = Runs::Inline;
        let mut plan = plan(&folder.path().join("run"), blocks, Length::Steps(1), vec![watcher, stopper]);
        let load = |name| milepost::model::Network::load(&crate::harness::fixture(name), &Device::flex().autodiff()).unwrap();
        plan.pair = Pair::new(load("main"), load("assistant")).unwrap();
        plan.blocks = Blocks::cut((0..blocks as u32 * 16).map(|id| id % 97).collect(), 16).unwrap();
        plan.extent = Extent::new(blocks as u64, batch as u64, accumulation as u64, 16, length).unwrap();
        plan.training.batch = batch;
        plan.training.accumulation = accumulation;
        plan.training.evaluate = Cadence::parse(&["steps 9999"]).unwrap();
        plan.training.save = None;
        let extent = plan.extent.clone();
        let (outcome, trace) = go(plan);
        proptest::prop_assert_eq!(trace.events, told(blocks, batch, accumulation, extent.steps(), stop));
        let last = stop.unwrap_or(u64::MAX).min(extent.steps());
        let cadence = Cadence::parse(&clauses).unwrap();
        let mut expected: Vec<u64> =
            cadence.firings(&extent).map(|step| step.0).filter(|step| *step <= last).collect();
        if clauses.contains(&"end") && !expected.contains(&last) {
            expected.push(last);
        }
        let mut found: Vec<u64> = trace.hooks.iter().filter(|(name, _)| name == "watcher").map(|(_, step)| *step).collect();
        found.sort_unstable();
        proptest::prop_assert_eq!(found, expected);
        proptest::prop_assert_eq!(outcome.clock.step.0, last);
        proptest::prop_assert!(outcome.failures.is_empty());
    }
}

#[test]
fn hooks_with_a_budget_are_called_together_and_keep_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let seen: Arc<Mutex<Vec<(u64, Duration)>>> = Arc::default();
    let calls = seen.clone();
    // Each takes a third of what a step has taken so far, whatever the speed of the machine.
    let work = |milestone: &Milestone| match milestone.step {
        0 => std::thread::sleep(Duration::from_millis(1)),
        step => std::thread::sleep(milestone.clock.elapsed / (3 * step as u32)),
    };
    let first = Each(move |context: &mut Context| {
        let milestone = context.milestone();
        let mut seen = seen.lock().unwrap();
        seen.push((milestone.step, milestone.clock.elapsed));
        work(milestone);
        Ok(())
    });
    let second = Each(move |context: &mut Context| {
        work(context.milestone());
        Ok(())
    });
    let at = ["start", "budget 10%"];
    let mut costs: Vec<(u64, f64)> = Vec::new();
    struct Costs<'a>(&'a mut Vec<(u64, f64)>);
    impl Reporter for Costs<'_> {
        fn hook(&mut self, _: &str, step: u64, seconds: f64) {
            self.0.push((step, seconds));
        }
    }
    let hooks = vec![spec("first", &at, first), spec("second", &at, second)];
    let plan = plan(&folder.path().join("run"), 7, Length::Steps(60), hooks);
    finetune(
        plan,
        Begin::Anew,
        &mut Costs(&mut costs),
        &AtomicBool::new(false),
    )
    .unwrap();
    let calls = calls.lock().unwrap();
    assert!(
        calls.len() >= 3 && calls.len() < 60,
        "{} calls",
        calls.len()
    );
    let steps = |of: usize| -> Vec<u64> {
        costs
            .iter()
            .skip(of)
            .step_by(2)
            .map(|(step, _)| *step)
            .collect()
    };
    let expected: Vec<u64> = calls.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps(0), expected);
    assert_eq!(steps(1), expected);
    // At each call, what was spent before and half of the last call's cost are within the share of the time so far.
    for (index, (step, elapsed)) in calls.iter().enumerate().skip(1) {
        let total: f64 = costs[..2 * index].iter().map(|(_, seconds)| seconds).sum();
        let last: f64 = costs[2 * index - 2..2 * index]
            .iter()
            .map(|(_, seconds)| seconds)
            .sum();
        let allowed = 0.1 * elapsed.as_secs_f64();
        assert!(
            total + last / 2.0 <= allowed + 1e-6,
            "step {step}: {total} + {last} / 2 > {allowed}"
        );
    }
}
