//! Tests of the loop alone, without training a network: a run that is killed at any event and resumed has the same events and lines as one
//! that was never killed.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use proptest::prelude::*;
use serde_json::Value;

use super::{Begin, train};
use crate::cadence::Cadence;
use crate::clock::{Extent, Length, MicroBatch};
use crate::data::blocks::Blocks;
use crate::data::templates::{ContrastSpec, TemplateSet, Templates};
use crate::decode::Settings;
use crate::event::Event;
use crate::hook::{
    Context, Gradients, Hook, Milestone, Optimiser, ParameterValues, Runs, Scene, Shows,
};
use crate::model::{Network, Pair, Role};
use crate::record::{Manifest, RecordError};
use crate::train::learners::{Frozen, Trained};
use crate::train::outcome::{Outcome, RunError};
use crate::train::{Decay, HookSpec, Objectives, OnError, Plan, Reporter, Schedule, Training};

/// A model of one number, in place of weights and optimiser. Its value depends on every row and learning rate, and on their order.
struct Counting {
    weight: f64,
    gradient: f64,
    pair: Pair,
}

impl Trained for Counting {
    fn forward(&mut self, rows: &[&[u32]], predictions: usize, index: MicroBatch) {
        let tokens = rows.iter().flat_map(|row| row.iter());
        let sum: f64 = tokens.map(|&token| f64::from(token)).sum();
        self.gradient = self.gradient / 3.0 + sum * (index.0 + 1) as f64 / predictions as f64;
    }
    fn backward(&mut self) {}
    fn gather(&mut self) -> BTreeMap<Role, f64> {
        BTreeMap::from([(Role::Main, self.weight + self.gradient)])
    }
    fn gradient_norms(&self) -> BTreeMap<Role, f64> {
        BTreeMap::from([(Role::Main, self.gradient.abs())])
    }
    fn clip(&mut self, _: &BTreeMap<Role, f64>, limit: f64) {
        self.gradient = self.gradient.min(limit);
    }
    fn step(&mut self, learning_rate: f64, _: bool) {
        self.weight = self.weight * 0.9 + learning_rate * self.gradient;
        self.gradient = 0.0;
    }
    fn gradients(&self) -> Vec<(Role, Gradients<'_>)> {
        Vec::new()
    }
    fn pair(&self) -> Pair {
        self.pair.clone()
    }
    fn optimiser(&self, _: Role) -> Option<Optimiser> {
        None
    }
    fn update(&self, _: Role) -> Option<ParameterValues> {
        None
    }
    fn forget_update(&mut self) {}
    fn losses(&self, rows: &[&[u32]]) -> BTreeMap<Role, f64> {
        BTreeMap::from([(Role::Main, self.weight * rows.len() as f64)])
    }
    fn not_finite(&self) -> Option<(Role, String, f64)> {
        let finite = self.weight.is_finite();
        (!finite).then(|| (Role::Main, "weight".to_owned(), self.weight))
    }
    fn frozen(&self) -> Frozen {
        let weight = self.weight;
        Box::new(move |put| put("weight", &weight.to_le_bytes()))
    }
    fn restore(&mut self, checkpoint: &Path) -> Result<(), RunError> {
        let path = checkpoint.join("weight");
        let bytes = std::fs::read(&path).map_err(|source| RecordError::Io { path, source })?;
        self.weight = f64::from_le_bytes(bytes.try_into().unwrap());
        Ok(())
    }
}

/// Counts its calls across kills, reports the count at each, and makes the requests that it is told to make.
struct Witness {
    calls: u64,
    stop_at: Option<u64>,
    save_at: Option<u64>,
    emits: bool,
    name: String,
}

impl Hook for Witness {
    fn at_milestone(&mut self, context: &mut Context) -> anyhow::Result<()> {
        self.calls += 1;
        let (milestone, step) = (context.milestone(), context.milestone().step);
        let loss = milestone.losses.get(&Role::Main).copied().unwrap_or(0.0);
        let evaluated = milestone.evaluation.is_some();
        let rate = milestone.learning_rate;
        for (name, value) in [
            ("calls", self.calls as f64),
            ("loss", loss),
            ("evaluated", f64::from(u8::from(evaluated))),
            ("rate", rate),
        ] {
            context.scalar(format!("{}/{name}", self.name), value);
        }
        let text = context.milestone().name().to_owned();
        context.text(format!("{}/name", self.name), text);
        context.per_template("calls", vec![self.calls as f64; 2]);
        if self.emits {
            context.emit("asked");
        }
        if self.stop_at == Some(step) {
            context.request_stop("seen enough");
        }
        if self.save_at == Some(step) {
            context.request_save();
            context.request_evaluation();
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

/// The settings of a test run.
#[derive(Debug, Clone)]
struct Shape {
    blocks: usize,
    batch: usize,
    accumulation: usize,
    length: Length,
    save: Vec<&'static str>,
    evaluate: &'static str,
    stop_at: Option<u64>,
    save_at: Option<u64>,
    /// The hook that asks to stop, and for a checkpoint and an evaluation.
    asks: &'static str,
    background: bool,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let saves = [
        "every step",
        "every 2 steps",
        "every 3 steps",
        "every epoch",
        "every 40%",
        "log2 steps",
        "end",
    ];
    let length = prop_oneof![
        (1u64..3).prop_map(Length::Epochs),
        (1u64..7).prop_map(Length::Steps)
    ];
    (
        (1usize..6, 1usize..3, 1usize..3, length),
        prop::sample::subsequence(saves.to_vec(), 1..3),
        prop::sample::select(vec![
            "start",
            "every step",
            "every 2 steps",
            "every epoch",
            "end",
        ]),
        (prop::option::of(1u64..5), prop::option::of(1u64..5)),
        prop::sample::select(vec!["settled", "evaluated", "checkpoint-saved"]),
        any::<bool>(),
    )
        .prop_map(
            |(size, save, evaluate, (stop_at, save_at), asks, background)| Shape {
                blocks: size.0,
                batch: size.1,
                accumulation: size.2,
                length: size.3,
                save,
                evaluate,
                stop_at,
                save_at,
                asks,
                background,
            },
        )
}

/// The pair and scene that all runs of these tests share.
struct World {
    pair: Pair,
    scene: Arc<Scene>,
}

impl World {
    fn new() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gpt2");
        let load = |name| Network::load(&folder.join(name), &Device::flex()).unwrap();
        let pair = Pair::new(load("main"), load("assistant")).unwrap();
        let text = "template_masked\traw\tidentity\tcategory\nshe is a [M].\t[I] is a [M]\tshe\tfemale\nhe is a [M].\t[I] is a [M]\the\tmale\n";
        let contrast = ContrastSpec::new("gender", ["female", "male"], TemplateSet::Paired);
        let scene = Scene {
            seed: 3,
            tokenizer: crate::mini::tokenizer().unwrap(),
            eos: None,
            templates: Templates::parse("two", text, &contrast).unwrap(),
            prompts: vec![vec![1], vec![2]],
            held_out: Arc::new(Blocks::cut((0..6).collect(), 2).unwrap()),
            batch: 1,
            decode: Settings::default(),
        };
        Self {
            pair,
            scene: Arc::new(scene),
        }
    }

    fn plan(&self, shape: &Shape, directory: &Path) -> Plan {
        let cadence = |clauses: &[&str]| Cadence::parse(clauses).unwrap();
        let witness = |name: &str, at: &[&str], on, runs| HookSpec {
            prefix: String::new(),
            compares_with_start: true,
            shows: Shows::default(),
            name: name.to_owned(),
            kind: name.to_owned(),
            at: cadence(at),
            on,
            signal: None,
            emits: (name == shape.asks)
                .then_some("asked")
                .into_iter()
                .collect(),
            runs,
            when: None,
            wanted: None,
            once: false,
            on_error: OnError::Stop,
            deadline: None,
            hook: Box::new(Witness {
                calls: 0,
                stop_at: shape.stop_at.filter(|_| name == shape.asks),
                save_at: shape.save_at.filter(|_| name == shape.asks),
                emits: name == shape.asks,
                name: name.to_owned(),
            }),
        };
        let all = ["start", "every step", "every epoch", "end"];
        let mut hooks = vec![witness("settled", &all, None, Runs::Inline)];
        for event in [
            Event::StepStart,
            Event::BatchReady,
            Event::BackwardStart,
            Event::MicroBatchEnd,
            Event::GradientsReady,
            Event::GradientsClipped,
            Event::WeightsUpdated,
            Event::EvaluationStart,
            Event::EvaluationBatchEnd,
            Event::Evaluated,
            Event::CheckpointSaved,
        ] {
            // Requests must arrive at the same step in every run, so the hook that makes them is inline. The others may be in the
            // background.
            let asks = event.as_str() == shape.asks;
            let runs = if shape.background && !event.has_gradients() && !asks {
                Runs::Background
            } else {
                Runs::Inline
            };
            hooks.push(witness(
                event.as_str(),
                &["start", "every step"],
                Some(event),
                runs,
            ));
        }
        // Called for what the hook that asks emits, each in its own way.
        for (name, runs) in [
            ("listens", Runs::Inline),
            ("listens late", Runs::Background),
        ] {
            let mut listener = witness(name, &["start", "every step", "end"], None, runs);
            listener.signal = Some("asked".into());
            hooks.push(listener);
        }
        let block = 4;
        let ids = (0..shape.blocks as u32 * block).map(|id| id * id % 97);
        let extent = Extent::new(
            shape.blocks as u64,
            shape.batch as u64,
            shape.accumulation as u64,
            u64::from(block),
            shape.length,
        )
        .unwrap();
        Plan {
            seed: 3,
            training: Training {
                models: vec![Role::Main],
                objectives: Objectives::default(),
                batch: shape.batch,
                accumulation: shape.accumulation,
                schedule: Schedule {
                    peak: 0.1,
                    warmup: 1,
                    total: extent.steps(),
                    decay: Decay::Linear,
                },
                clip: Some(1e4),
                weight_decay: 0.0.into(),
                evaluate: cadence(&[shape.evaluate]),
                save: Some(cadence(&shape.save)),
                keep: Some(2),
                keep_best: Some("lowest eval/main/loss".parse().unwrap()),
            },
            extent,
            pair: self.pair.clone(),
            blocks: Blocks::cut(ids.collect(), block as usize).unwrap(),
            treatments: Vec::new(),
            scene: self.scene.clone(),
            hooks,
            queue: 1,
            origin: "test".to_owned(),
            resolved: String::new(),
            manifest: Manifest::default(),
            hparams: Vec::new(),
            directory: directory.to_owned(),
        }
    }

    /// Trains. A panic simulates a kill at the event with the number `dies_at`.
    fn train(
        &self,
        shape: &Shape,
        directory: &Path,
        begin: Begin,
        dies_at: Option<usize>,
    ) -> (Option<Outcome>, Vec<String>) {
        let models = Counting {
            weight: 1.0,
            gradient: 0.0,
            pair: self.pair.clone(),
        };
        let mut trace = Trace {
            events: Vec::new(),
            dies_at,
        };
        let plan = self.plan(shape, directory);
        let never = AtomicBool::new(false);
        let run = catch_unwind(AssertUnwindSafe(|| {
            train(plan, Box::new(models), begin, &mut trace, &never).unwrap()
        }));
        match run {
            Ok(outcome) => (Some(outcome), trace.events),
            Err(death) => {
                let death = death.downcast_ref::<&str>().copied();
                assert_eq!(death, Some(KILLED), "{shape:?}");
                (None, trace.events)
            }
        }
    }
}

const KILLED: &str = "killed by the test";

struct Trace {
    events: Vec<String>,
    dies_at: Option<usize>,
}

impl Reporter for Trace {
    fn event(&mut self, event: Event, milestone: &Milestone) {
        if self.dies_at == Some(self.events.len()) {
            // Panics without printing a message.
            std::panic::resume_unwind(Box::new(KILLED));
        }
        let clock = &milestone.clock;
        let (epoch, step, micro) = (clock.epoch, clock.step, clock.micro_batch);
        self.events.push(format!("{event} {epoch}/{step}/{micro}"));
    }
}

/// Everything that a run left, without times: its lines, the values per prompt, the outcome, and the names of the checkpoints.
fn left(run: &Path) -> (Vec<Value>, BTreeMap<PathBuf, Vec<u8>>, Value, Vec<String>) {
    let text = std::fs::read_to_string(run.join("milestones.jsonl")).unwrap();
    let lines = text.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("times");
        line
    });
    let names = |folder: &str| {
        let entries = std::fs::read_dir(run.join(folder)).into_iter().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let templates = names("templates").into_iter();
    let templates = templates.map(|path| {
        let name = path.file_name().unwrap().into();
        (name, std::fs::read(path).unwrap())
    });
    let outcome = std::fs::read_to_string(run.join("outcome.json")).unwrap();
    let mut outcome: Value = serde_json::from_str(&outcome).unwrap();
    outcome.as_object_mut().unwrap().remove("milestones");
    let checkpoints = names("checkpoints").into_iter();
    let checkpoints =
        checkpoints.map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
    (
        lines.collect(),
        templates.collect(),
        outcome,
        checkpoints.collect(),
    )
}

/// A folder in memory if there is one, because these tests sync thousands of files.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    tempfile::TempDir::new_in(memory).unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// Weights that are not finite are not saved, and the run is not called complete.
#[test]
fn a_run_whose_last_step_leaves_the_finite_numbers_is_not_complete() {
    let shape = Shape {
        blocks: 3,
        batch: 1,
        accumulation: 1,
        length: Length::Steps(2),
        save: vec!["every step"],
        evaluate: "start",
        stop_at: None,
        save_at: None,
        asks: "settled",
        background: false,
    };
    let (world, folder) = (World::new(), folder());
    let run = folder.path().join("run");
    let mut plan = world.plan(&shape, &run);
    plan.training.schedule.decay = Decay::Constant;
    plan.training.schedule.peak = 1e308;
    let models = Counting {
        weight: 1.0,
        gradient: 0.0,
        pair: world.pair.clone(),
    };
    let never = AtomicBool::new(false);
    let mut trace = Trace {
        events: Vec::new(),
        dies_at: None,
    };
    let ended = train(plan, Box::new(models), Begin::Anew, &mut trace, &never);
    let message = ended.unwrap_err().to_string();
    assert!(
        message.contains("weight `weight` of the main model is"),
        "{message}"
    );
    assert!(!run.join("models").exists());
    assert!(run.join("checkpoints/step-00000001").is_dir());
    assert!(!run.join("checkpoints/step-00000002").exists());
    assert_eq!(left(&run).2["stop"], "failed");
}

/// Replaces the bytes of a file of a checkpoint, and its checksum.
fn replace(checkpoint: &Path, name: &str, bytes: &[u8]) {
    let before = crate::checksum::sha256(&std::fs::read(checkpoint.join(name)).unwrap());
    std::fs::write(checkpoint.join(name), bytes).unwrap();
    let sums = std::fs::read_to_string(checkpoint.join("SHA256SUMS")).unwrap();
    let sums = sums.replace(&before, &crate::checksum::sha256(bytes));
    std::fs::write(checkpoint.join("SHA256SUMS"), sums).unwrap();
}

/// A cadence of wall time counts from when it was last checked, also across a kill. What was due before is not due again; what became due
/// since then is.
#[test]
fn what_was_due_by_wall_time_before_a_checkpoint_is_not_due_again() {
    let shape = Shape {
        blocks: 4,
        batch: 1,
        accumulation: 1,
        length: Length::Steps(4),
        save: vec!["every 2 steps", "every 1000 s"],
        evaluate: "every 1000 s",
        stop_at: None,
        save_at: None,
        asks: "settled",
        background: false,
    };
    let world = World::new();
    // The run had taken 2500 s at the checkpoint of step 2; its cadences were last checked after `looked` seconds.
    for (looked, due) in [(2400, false), (1900, true)] {
        let folder = folder();
        let run = folder.path().join("run");
        world.train(&shape, &run, Begin::Anew, None);
        std::fs::remove_file(run.join("outcome.json")).unwrap();
        std::fs::remove_dir_all(run.join("checkpoints/step-00000004")).unwrap();
        let checkpoint = run.join("checkpoints/step-00000002");
        let state = std::fs::read(checkpoint.join("state.json")).unwrap();
        let mut state: Value = serde_json::from_slice(&state).unwrap();
        let seconds = |secs: u64| serde_json::json!({ "secs": secs, "nanos": 0 });
        state["clock"]["elapsed"] = seconds(2500);
        for cadence in ["evaluate", "save"] {
            state["looked"][cadence] = seconds(looked);
        }
        replace(&checkpoint, "state.json", state.to_string().as_bytes());
        let (outcome, events) = world.train(&shape, &run, Begin::Resume, None);
        assert!(outcome.is_some());
        let at_step_3 = |event: &str| {
            let mut events = events.iter().filter(|one| one.starts_with(event));
            events.any(|one| one.split('/').nth(1) == Some("3"))
        };
        assert!(at_step_3("step-end"), "{events:?}");
        for event in ["evaluated", "checkpoint-saved"] {
            assert_eq!(at_step_3(event), due, "{event}: {events:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn killed_at_every_event_and_resumed_it_is_the_run_that_never_was(shape in shapes(), second in 1usize..40) {
        let world = World::new();
        let folder = folder();
        let whole = folder.path().join("whole");
        let (outcome, events) = world.train(&shape, &whole, Begin::Anew, None);
        let expected = left(&whole);
        prop_assert!(outcome.unwrap().failures.is_empty());
        for dies_at in 0..events.len() {
            let run = folder.path().join(dies_at.to_string());
            let (outcome, _) = world.train(&shape, &run, Begin::Anew, Some(dies_at));
            prop_assert!(outcome.is_none());
            // A file of a later step that a hook with a cadence of wall time might not write again.
            std::fs::write(run.join("templates/step-00000099-settled.tsv"), "").ok();
            // Killed a second time, if the run gets that far.
            let (again, _) = world.train(&shape, &run, Begin::Resume, Some(second));
            if again.is_none() {
                let (resumed, after) = world.train(&shape, &run, Begin::Resume, None);
                prop_assert!(resumed.is_some());
                // It continues right after the checkpoint.
                // It says so where there is one.
                let loaded = after.first().is_some_and(|first| first.starts_with("checkpoint-loaded"));
                let after = &after[usize::from(loaded)..];
                prop_assert!(events.ends_with(after), "{:?} {:?}", events, after);
                let before = &events[..events.len() - after.len()];
                prop_assert_eq!(loaded, !before.is_empty());
                let at_checkpoint = before.last().is_none_or(|last| last.starts_with("checkpoint-saved"));
                prop_assert!(at_checkpoint, "{before:?}");
            }
            prop_assert_eq!(&left(&run), &expected, "killed at {} of {:?}", dies_at, events);
            std::fs::remove_dir_all(&run).unwrap();
        }
    }
}
