//! A run of the built-in pair in the library, a few steps long, and what it reports.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use milepost::cadence::Cadence;
use milepost::clock::{Extent, Length};
use milepost::data::blocks::Blocks;
use milepost::data::templates::{TemplateSet, Templates};
use milepost::decode::Settings;
use milepost::event::Event;
use milepost::hook::{Context, Hook, Milestone, Runs, Scene, Shows};
use milepost::mini;
use milepost::model::{Ends, Pair, Precision, Role};
use milepost::record::Manifest;
use milepost::train::{
    Begin, Decay, HookSpec, Objectives, OnError, Outcome, Plan, Reporter, Schedule, Training,
    WeightDecay, finetune,
};

use crate::harness::{TEMPLATES, gender};

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
        assistant_tokenizer: tokenizer.clone(),
        extent,
        training: Training {
            models: Role::BOTH.to_vec(),
            objectives: Objectives::default(),
            batch: 2,
            accumulation: 2,
            precision: Precision::F32,
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
        treatments: Vec::new(),
        scene: Arc::new(Scene {
            seed: 3,
            eos: None,
            ends: Ends::default(),
            templates,
            prompts,
            held_out: Arc::new(cut(2)),
            on_answers: Vec::new(),
            batch: 4,
            decode: Settings::default(),
            tokenizer: tokenizer.clone(),
        }),
        hooks,
        interventions: Vec::new(),
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
        signal: None,
        emits: Vec::new(),
        runs: Runs::Background,
        when: None,
        wanted: None,
        once: false,
        on_error: OnError::Disable,
        deadline: None,
        hook: Box::new(hook),
    }
}

/// A hook made of a closure.
pub struct Each<F>(pub F);

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

pub fn go(plan: Plan) -> (Outcome, Trace) {
    let mut trace = Trace::default();
    let outcome = finetune(plan, Begin::Anew, &mut trace, &AtomicBool::new(false)).unwrap();
    (outcome, trace)
}
