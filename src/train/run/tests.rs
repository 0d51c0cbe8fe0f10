//! Tests of the loop alone, without training a network: a run that is killed at any event and resumed has the same events and lines as one
//! that was never killed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use burn::tensor::{Device, Tensor};
use proptest::prelude::*;
use serde_json::Value;

use super::{Begin, train};
use crate::cadence::Cadence;
use crate::clock::{Clock, Extent, Length};
use crate::data::blocks::Blocks;
use crate::data::templates::{ContrastSpec, TemplateSet, Templates};
use crate::decode::Settings;
use crate::event::Event;
use crate::hook::{
    Context, Gradients, Hook, Milestone, Optimiser, ParameterValues, Runs, Scene, Shows,
};
use crate::intervention::{Control, Intervention, restored};
use crate::model::{Ends, Network, Pair, Precision, Role};
use crate::record::{Manifest, RecordError};
use crate::train::learners::{Frozen, Trained, TrainingBatch, Weighing};
use crate::train::outcome::{Outcome, RunError};
use crate::train::{
    Decay, Held, HookSpec, InterventionSpec, Next, Objectives, OnError, Plan, Reporter, Schedule,
    Training,
};

/// A model of one number, in place of weights and optimiser. Its value depends on every row, weight and learning rate, and on their order.
struct Counting {
    weight: f64,
    gradient: f64,
    is_frozen: bool,
    pair: Pair,
}

impl Trained for Counting {
    fn forward(&mut self, batch: &TrainingBatch) {
        let tokens = batch.rows.iter().flat_map(|row| row[1..].iter());
        let [Weighing { each, step }, _] = batch.weighings;
        let weight = |at: usize| f64::from(each.map_or(1.0, |weights| weights[at]));
        let weighed = tokens
            .enumerate()
            .map(|(at, &token)| f64::from(token) * weight(at));
        let mean = weighed.sum::<f64>() / step;
        self.gradient = self.gradient / 3.0 + mean * (batch.index.0 + 1) as f64;
    }
    fn parameters(&self, _: Role) -> Vec<String> {
        vec!["weight".to_owned()]
    }
    fn freeze(&mut self, role: Role, names: BTreeSet<String>) {
        if role == Role::Main {
            self.is_frozen = !names.is_empty();
        }
    }
    fn backward(&mut self) {}
    fn gather(&mut self, _: bool) -> BTreeMap<Role, f64> {
        BTreeMap::from([(Role::Main, self.weight + self.gradient)])
    }
    fn loss_scales(&self) -> BTreeMap<Role, f64> {
        BTreeMap::new()
    }
    fn gradient_norms(&self) -> BTreeMap<Role, f64> {
        BTreeMap::from([(Role::Main, self.gradient.abs())])
    }
    fn clip(&mut self, _: &BTreeMap<Role, f64>, limit: f64) {
        self.gradient = self.gradient.min(limit);
    }
    fn step(&mut self, learning_rate: f64, _: bool) {
        if !self.is_frozen {
            self.weight = self.weight * 0.9 + learning_rate * self.gradient;
        }
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
    fn losses(&self, scene: &Scene, blocks: Range<usize>) -> BTreeMap<Role, (Tensor<1>, usize)> {
        let loss = [self.weight as f32 * blocks.len() as f32];
        let loss = Tensor::from_data(loss, &Device::flex());
        let count = blocks.len() * (scene.held_out.block() - 1);
        BTreeMap::from([(Role::Main, (loss, count))])
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
    emits: Vec<&'static str>,
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
        for signal in &self.emits {
            context.emit(*signal);
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

/// Acts at its steps, each time in the next way of `ways`, and remembers across kills and rollbacks how often it was called.
struct Actor {
    ways: Vec<Way>,
    at: Vec<u64>,
    calls: u64,
}

/// What an [`Actor`] does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    EndEpoch,
    RollBack(bool),
    Halve,
    Freeze,
    Thaw,
    Weigh,
    Stop,
}

impl Intervention for Actor {
    fn intervene(&mut self, control: &mut Control) -> anyhow::Result<()> {
        self.calls += 1;
        let done = control.actions();
        let step = control.milestone().step;
        let reason = format!("call {}", self.calls);
        if !self.at.contains(&step) || control.rollbacks() >= 3 {
            return Ok(());
        }
        let names = || BTreeSet::from(["weight".to_owned()]);
        match self.ways[done % self.ways.len()] {
            Way::EndEpoch => control.end_epoch(reason),
            // There is nothing to go back to before the first step.
            Way::RollBack(_) if step == 0 => control.scale_rate(0.9, reason),
            Way::RollBack(pass_over) => control.roll_back(pass_over, 0.8, reason),
            Way::Halve => control.scale_rate(0.5, reason),
            Way::Freeze => control.freeze(Role::Main, names(), reason),
            Way::Thaw => control.thaw(Role::Main, names(), reason),
            Way::Weigh => control.weigh("b", 1.0 + 0.25 * step as f64, reason),
            Way::Stop => control.stop(reason),
        }
        Ok(())
    }
    fn state(&self) -> Value {
        self.calls.into()
    }
    fn restore(&mut self, state: Value) -> anyhow::Result<()> {
        self.calls = restored(state)?;
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
    /// What two interventions do, each at these steps.
    acts: [(Vec<Way>, Vec<u64>); 2],
}

fn actors() -> impl Strategy<Value = [(Vec<Way>, Vec<u64>); 2]> {
    let ways = vec![
        Way::EndEpoch,
        Way::RollBack(true),
        Way::RollBack(false),
        Way::Halve,
        Way::Freeze,
        Way::Thaw,
        Way::Weigh,
        Way::Stop,
    ];
    let some = || {
        let ways = prop::collection::vec(prop::sample::select(ways.clone()), 1..4);
        (ways, prop::collection::vec(0u64..6, 0..4))
    };
    [some(), some()]
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
        actors(),
    )
        .prop_map(
            |(size, save, evaluate, (stop_at, save_at), asks, background, acts)| Shape {
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
                acts,
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
            ends: Ends::default(),
            templates: Templates::parse("two", text, &contrast).unwrap(),
            prompts: vec![vec![1], vec![2]],
            held_out: Arc::new(Blocks::cut((0..6).collect(), 2).unwrap()),
            on_answers: Vec::new(),
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
        // The hook that asks emits, and so does the one that is always inline.
        let emits = |name: &str| {
            let asks = (name == shape.asks).then_some("asked").into_iter();
            let settles = (name == "settled").then_some("settles");
            asks.chain(settles).collect::<Vec<_>>()
        };
        let witness = |name: &str, at: &[&str], on, runs| HookSpec {
            prefix: String::new(),
            compares_with_start: true,
            shows: Shows::default(),
            name: name.to_owned(),
            kind: name.to_owned(),
            at: cadence(at),
            on,
            signal: None,
            emits: emits(name),
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
                emits: emits(name),
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
            Event::Intervened,
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
        // Called for what the two emit, each in its own way.
        for (name, signal, runs) in [
            ("listens", "asked", Runs::Inline),
            ("listens late", "asked", Runs::Background),
            ("listens too", "settles", Runs::Inline),
        ] {
            let mut listener = witness(name, &["start", "every step", "end"], None, runs);
            listener.signal = Some(signal.into());
            hooks.push(listener);
        }
        let acts = shape.acts.iter().zip(["first", "second"]);
        let acts = acts.filter(|((_, at), _)| !at.is_empty());
        let interventions = acts.map(|((ways, at), name)| InterventionSpec {
            name: name.to_owned(),
            kind: name.to_owned(),
            at: cadence(&["start", "every step"]),
            when: None,
            once: false,
            rolls_back: ways.iter().any(|way| matches!(way, Way::RollBack(_))),
            intervention: Box::new(Actor {
                ways: ways.clone(),
                at: at.clone(),
                calls: 0,
            }),
        });
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
            assistant_tokenizer: crate::mini::tokenizer().unwrap(),
            training: Training {
                models: vec![Role::Main],
                objectives: Objectives::default(),
                batch: shape.batch,
                accumulation: shape.accumulation,
                precision: Precision::F32,
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
            blocks: Blocks::cut(ids.collect(), block as usize)
                .unwrap()
                .made_of(vec![(0, Some("a".into())), (5, Some("b".into()))]),
            treatments: Vec::new(),
            scene: self.scene.clone(),
            hooks,
            interventions: interventions.collect(),
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
        let trace = Trace {
            dies_at,
            ..Trace::default()
        };
        self.train_watched(shape, directory, begin, trace)
    }

    fn train_watched(
        &self,
        shape: &Shape,
        directory: &Path,
        begin: Begin,
        mut trace: Trace,
    ) -> (Option<Outcome>, Vec<String>) {
        let models = Counting {
            weight: 1.0,
            gradient: 0.0,
            is_frozen: false,
            pair: self.pair.clone(),
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

#[derive(Default)]
struct Trace {
    events: Vec<String>,
    dies_at: Option<usize>,
    /// Whether it holds the run after every step, and saves after every second one.
    holds: bool,
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

    fn holds(&mut self, _: &Clock) -> bool {
        self.holds
    }

    fn held(&mut self, held: &Held) -> Next {
        let saves = held.milestone().step.is_multiple_of(2) && !held.is_saved();
        if saves { Next::Save } else { Next::GoOn }
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
        acts: Default::default(),
    };
    let (world, folder) = (World::new(), folder());
    let run = folder.path().join("run");
    let mut plan = world.plan(&shape, &run);
    plan.training.schedule.decay = Decay::Constant;
    plan.training.schedule.peak = 1e308;
    let models = Counting {
        weight: 1.0,
        gradient: 0.0,
        is_frozen: false,
        pair: world.pair.clone(),
    };
    let never = AtomicBool::new(false);
    let mut trace = Trace::default();
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

/// A run with all moments, two micro-batches a step, two hooks that emit and three that listen, and interventions that change the rate, go back to a
/// checkpoint twice, end an epoch and end the run.
fn eventful() -> Shape {
    Shape {
        blocks: 5,
        batch: 1,
        accumulation: 2,
        length: Length::Epochs(3),
        save: vec!["every 2 steps"],
        evaluate: "every epoch",
        stop_at: None,
        save_at: None,
        asks: "weights-updated",
        background: true,
        acts: [
            (
                vec![
                    Way::Halve,
                    Way::RollBack(true),
                    Way::RollBack(true),
                    Way::EndEpoch,
                ],
                vec![0, 3, 4],
            ),
            (vec![Way::Stop], vec![5]),
        ],
    }
}

#[test]
fn the_golden_trace_of_a_run_with_interventions() {
    let (world, folder) = (World::new(), folder());
    let run = folder.path().join("run");
    let (outcome, events) = world.train(&eventful(), &run, Begin::Anew, None);
    let outcome = outcome.unwrap();
    let golden: Vec<&str> = GOLDEN.split(['\n', ',']).map(str::trim).collect();
    assert_eq!(events, golden);
    let done = outcome.interventions.iter();
    let done: Vec<String> = done
        .map(|done| format!("{} {} {}", done.step, done.name, done.what))
        .collect();
    assert_eq!(done, DONE);
    // What was undone is recorded no more. Each line of a hook has a step and an event of its own.
    let (lines, _, ended, _) = left(&run);
    let mut told: Vec<(String, String, u64)> = lines
        .iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap().to_owned();
            (
                text("source"),
                text("event"),
                line["step"].as_u64().unwrap(),
            )
        })
        .collect();
    let count = told.len();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), count);
    assert_eq!(
        (ended["steps"].as_u64(), &ended["stop"]),
        (Some(5), &"requested".into())
    );
}

const DONE: &[&str] = &[
    "0 first multiplies the learning rate by 0.5: call 1",
    "2 first goes back from step 3 to step 2, and passes over the data of 1 step, and multiplies the learning rate by 0.8: call 4",
    "2 first goes back from step 3 to step 2, and passes over the data of 1 step, and multiplies the learning rate by 0.8: call 4",
    "3 first ends the epoch: call 4",
    "4 first multiplies the learning rate by 0.5: call 5",
    "5 second ends the run: call 6",
];

/// Epochs, steps and micro-batches done at every event. Step 3 is undone twice: the first time the last data of the first epoch is passed over, the
/// second time the first of the next as well.
const GOLDEN: &str = "run-start 0/0/0
intervened 0/0/0
checkpoint-saved 0/0/0
epoch-start 0/0/0
step-start 0/0/0, batch-ready 0/0/0, backward-start 0/0/0, micro-batch-end 0/0/1, batch-ready 0/0/1, backward-start 0/0/1, micro-batch-end 0/0/2, gradients-ready 0/0/2, gradients-clipped 0/0/2, weights-updated 0/1/2, step-end 0/1/2
step-start 0/1/2, batch-ready 0/1/2, backward-start 0/1/2, micro-batch-end 0/1/3, batch-ready 0/1/3, backward-start 0/1/3, micro-batch-end 0/1/4, gradients-ready 0/1/4, gradients-clipped 0/1/4, weights-updated 0/2/4, step-end 0/2/4
checkpoint-saved 0/2/4
step-start 0/2/4, batch-ready 0/2/4, backward-start 0/2/4, micro-batch-end 0/2/5, gradients-ready 0/2/5, gradients-clipped 0/2/5, weights-updated 1/3/5
evaluation-start 1/3/5, evaluation-batch-end 1/3/5, evaluation-batch-end 1/3/5, evaluation-batch-end 1/3/5, evaluated 1/3/5, step-end 1/3/5
intervened 1/2/4
epoch-end 1/2/4
epoch-start 1/2/4
step-start 1/2/4, batch-ready 1/2/4, backward-start 1/2/4, micro-batch-end 1/2/5, batch-ready 1/2/5, backward-start 1/2/5, micro-batch-end 1/2/6, gradients-ready 1/2/6, gradients-clipped 1/2/6, weights-updated 1/3/6, step-end 1/3/6
intervened 1/2/4
epoch-end 1/2/4
epoch-start 1/2/4
step-start 1/2/4, batch-ready 1/2/4, backward-start 1/2/4, micro-batch-end 1/2/5, batch-ready 1/2/5, backward-start 1/2/5, micro-batch-end 1/2/6, gradients-ready 1/2/6, gradients-clipped 1/2/6, weights-updated 1/3/6, step-end 1/3/6
intervened 2/3/6
evaluation-start 2/3/6, evaluation-batch-end 2/3/6, evaluation-batch-end 2/3/6, evaluation-batch-end 2/3/6, evaluated 2/3/6
epoch-end 2/3/6
epoch-start 2/3/6
step-start 2/3/6, batch-ready 2/3/6, backward-start 2/3/6, micro-batch-end 2/3/7, batch-ready 2/3/7, backward-start 2/3/7, micro-batch-end 2/3/8, gradients-ready 2/3/8, gradients-clipped 2/3/8, weights-updated 2/4/8, step-end 2/4/8
intervened 2/4/8
checkpoint-saved 2/4/8
step-start 2/4/8, batch-ready 2/4/8, backward-start 2/4/8, micro-batch-end 2/4/9, batch-ready 2/4/9, backward-start 2/4/9, micro-batch-end 2/4/10, gradients-ready 2/4/10, gradients-clipped 2/4/10, weights-updated 2/5/10, step-end 2/5/10
intervened 2/5/10
run-end 2/5/10";

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
        acts: Default::default(),
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
    /// Held after every step, saved there now and then, and killed on the way.
    #[test]
    fn a_run_that_is_held_is_the_run_that_never_was(shape in shapes(), dies_at in 0usize..60) {
        let world = World::new();
        let folder = folder();
        let (whole, run) = (folder.path().join("whole"), folder.path().join("held"));
        let (_, events) = world.train(&shape, &whole, Begin::Anew, None);
        let mut expected = left(&whole);
        let held = |dies_at, begin| {
            let trace = Trace { dies_at, holds: true, ..Trace::default() };
            world.train_watched(&shape, &run, begin, trace)
        };
        let (outcome, seen) = held(Some(dies_at), Begin::Anew);
        prop_assert_eq!(&seen[..], &events[..seen.len()]);
        if outcome.is_none() {
            let (resumed, after) = held(None, Begin::Resume);
            prop_assert!(resumed.is_some());
            let loaded = after.first().is_some_and(|first| first.starts_with("checkpoint-loaded"));
            prop_assert!(events.ends_with(&after[usize::from(loaded)..]), "{events:?} {after:?}");
        }
        let mut found = left(&run);
        // It has checkpoints that the other has not.
        (expected.3, found.3) = Default::default();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn killed_at_every_event_and_resumed_it_is_the_run_that_never_was(shape in shapes(), second in 1usize..40) {
        survives_every_kill(&shape, second)?;
    }
}

/// The golden run, with everything that a run can have.
#[test]
fn so_is_a_run_with_all_moments_and_interventions() {
    for second in [3, 30] {
        survives_every_kill(&eventful(), second).unwrap();
    }
}

/// Kills a run at every event, resumes it, and kills it a second time, after `second` events.
fn survives_every_kill(shape: &Shape, second: usize) -> Result<(), TestCaseError> {
    let world = World::new();
    let folder = folder();
    let whole = folder.path().join("whole");
    let (outcome, events) = world.train(shape, &whole, Begin::Anew, None);
    let expected = left(&whole);
    let failures = outcome.unwrap().failures;
    prop_assert!(failures.is_empty(), "{:?}", failures);
    for dies_at in 0..events.len() {
        let run = folder.path().join(dies_at.to_string());
        let (outcome, _) = world.train(shape, &run, Begin::Anew, Some(dies_at));
        prop_assert!(outcome.is_none());
        // A file of a later step that a hook with a cadence of wall time might not write again.
        std::fs::write(run.join("templates/step-00000099-settled.tsv"), "").ok();
        // Killed a second time, if the run gets that far.
        let (again, _) = world.train(shape, &run, Begin::Resume, Some(second));
        if again.is_none() {
            let (resumed, after) = world.train(shape, &run, Begin::Resume, None);
            prop_assert!(resumed.is_some());
            // It continues right after the checkpoint.
            // It says so where there is one.
            let loaded = after
                .first()
                .is_some_and(|first| first.starts_with("checkpoint-loaded"));
            let after = &after[usize::from(loaded)..];
            prop_assert!(events.ends_with(after), "{:?} {:?}", events, after);
            let before = &events[..events.len() - after.len()];
            prop_assert_eq!(loaded, !before.is_empty());
            let at_checkpoint = before
                .last()
                .is_none_or(|last| last.starts_with("checkpoint-saved"));
            prop_assert!(at_checkpoint, "{before:?}");
        }
        prop_assert_eq!(
            &left(&run),
            &expected,
            "killed at {} of {:?}",
            dies_at,
            events
        );
        std::fs::remove_dir_all(&run).unwrap();
    }
    Ok(())
}
