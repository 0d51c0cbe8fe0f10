//! The bench on which a hook is tested.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use burn::tensor::Device;
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::At;
use super::models::moved;
use super::moment::Moment;
use super::reported::{Reported, difference};
use crate::data::blocks::Blocks;
use crate::data::templates::{ContrastSpec, TemplateSet, Templates};
use crate::decode::Settings;
use crate::download::Patience;
use crate::hook::{
    Context, Gradients, Hook, Kind, Live, Milestone, Output, Preparation, Probes, Scene, Shows,
};
use crate::hub::Hub;
use crate::model::{Pair, Role};
use crate::random::{Purpose, name_hash, stream};

/// Two identity pairs in two raw templates: eight prompts, alternating between the two groups.
const TEMPLATES: &str = include_str!("../../../datasets/bench_templates.tsv");

/// The held-out text that the models are evaluated on.
const HELD_OUT: &str = "The council voted on Monday to close the old bridge. The mayor said that the work would take two years and cost \
more than the city had planned. A nurse who lives near the river told the paper that she would have to leave home before dawn. The shares of the \
company fell by four percent after the report, and the market closed lower for the third day.";

/// Tokens per block of the held-out text.
const BLOCK: usize = 16;
/// Blocks per pass of an evaluation.
const BATCH: usize = 4;
/// The most that a weight moves per step.
const DRIFT: f64 = 0.008;

/// The surroundings in which a test calls a hook. They are the same in every process: the built-in pair with its tokenizer, eight prompts
/// of the default contrast, a held-out text of a few blocks, greedy decoding of 8 new tokens with drafts of 3, and seed 0. Nothing outside
/// the program is read.
///
/// Nothing is trained. After `s` steps, weight i (from 0) of every parameter of a model is `start + s * drift * sin(i + 1)`, with a drift
/// of 0.008. The clock advances by one block and one second per step.
pub struct Bench {
    start: Pair,
    drift: [f64; 2],
    pub(super) scene: Scene,
    pub(super) steps: Option<u64>,
}

impl Bench {
    /// Makes the bench described above.
    ///
    /// # Errors
    /// When the files built into the program are damaged.
    pub fn new() -> Result<Self> {
        let device = Device::flex();
        let model = |role| crate::mini::model(role, &device);
        let start = Pair::new(model(Role::Main)?, model(Role::Assistant)?)?;
        let tokenizer = crate::mini::tokenizer()?;
        let scene = Scene {
            seed: 0,
            eos: start.main.config().eos_token_id,
            ends: start.main.ends().clone(),
            templates: Templates::default(),
            prompts: Vec::new(),
            held_out: Arc::default(),
            on_answers: Vec::new(),
            batch: BATCH,
            decode: Settings {
                max_new_tokens: 8,
                draft_length: 3,
                ..Settings::default()
            },
            tokenizer,
        };
        let bench = Self {
            start,
            drift: [DRIFT; 2],
            scene,
            steps: None,
        };
        bench.held_out(HELD_OUT, BLOCK)?.templates(TEMPLATES)
    }

    /// Uses another pair at the start, with the built-in tokenizer. The models must not be on an autodiff device. The end-of-text token is
    /// the one in the main model's config.
    ///
    /// # Errors
    /// When their vocabulary is smaller than the tokenizer's.
    pub fn pair(mut self, pair: Pair) -> Result<Self> {
        let rows = pair.main.config().vocab_size;
        self.scene.tokenizer.check_table(rows)?;
        self.scene.eos = pair.main.config().eos_token_id;
        self.scene.ends = pair.main.ends().clone();
        self.start = pair;
        Ok(self)
    }

    /// Sets how far the weights of a model move per step; 0 for a model that is not trained.
    pub fn drift(mut self, role: Role, drift: f64) -> Self {
        self.drift[role as usize] = drift;
        self
    }

    /// Uses other templates: the text of a template file, with the set `paired` and the default contrasts.
    ///
    /// # Errors
    /// When the text is not a template file. The error names the line.
    pub fn templates(mut self, text: &str) -> Result<Self> {
        self.scene.templates = Templates::default();
        self.scene.prompts.clear();
        let usual = ContrastSpec::usual(TemplateSet::Paired);
        usual
            .iter()
            .try_fold(self, |bench, spec| bench.contrast(spec, text))
    }

    /// Adds a contrast with the text of its template file.
    ///
    /// # Errors
    /// When the text is not a template file. The error names the line.
    pub fn contrast(mut self, spec: &ContrastSpec, text: &str) -> Result<Self> {
        let templates = Templates::parse("the bench's templates", text, spec)?;
        for template in templates.prompts() {
            let prompt = self.scene.tokenizer.encode(&template.prompt)?;
            self.scene.prompts.push(prompt);
        }
        self.scene.templates.join(templates);
        Ok(self)
    }

    /// Uses another held-out text, cut into blocks of `block` tokens. A rest shorter than a block is dropped.
    ///
    /// # Errors
    /// When the text is shorter than one block, or a block shorter than 2 tokens.
    pub fn held_out(mut self, text: &str, block: usize) -> Result<Self> {
        let tokens = self.scene.tokenizer.encode(text)?;
        self.scene.held_out = Arc::new(Blocks::cut(tokens, block)?);
        Ok(self)
    }

    /// Uses a held-out text of documents, each with its topic, one after the other and cut into blocks of `block` tokens. A rest shorter than a
    /// block is dropped. At the moments of a step, hooks see it as the text of the step.
    ///
    /// # Errors
    /// As [`Bench::held_out`].
    pub fn documents(mut self, documents: &[(&str, Option<&str>)], block: usize) -> Result<Self> {
        let (mut tokens, mut starts) = (Vec::new(), Vec::new());
        for (text, topic) in documents {
            starts.push((tokens.len(), topic.map(Arc::from)));
            tokens.extend(self.scene.tokenizer.encode(text)?);
        }
        let blocks = Blocks::cut(tokens, block)?.made_of(starts);
        self.scene.held_out = Arc::new(blocks);
        Ok(self)
    }

    /// Sets the decoding settings.
    pub fn decode(mut self, settings: Settings) -> Self {
        self.scene.decode = settings;
        self
    }

    /// Sets the run's seed.
    pub fn seed(mut self, seed: u64) -> Self {
        self.scene.seed = seed;
        self
    }

    /// Sets the number of the run's steps. Without it the run ends with the last milestone.
    pub fn steps(mut self, steps: u64) -> Self {
        self.steps = Some(steps);
        self
    }

    /// The tokenizer, templates, held-out blocks and settings that the hook sees.
    pub fn scene(&self) -> &Scene {
        &self.scene
    }

    /// The pair that the hook sees after `steps` steps.
    pub fn pair_at(&self, steps: u64) -> Pair {
        let at = |role: Role| {
            let drift = self.drift[role as usize];
            moved(self.start.get(role), steps as f64 * drift)
        };
        Pair {
            main: at(Role::Main),
            assistant: at(Role::Assistant),
        }
    }

    /// Builds a hook of `kind` from its options as TOML, and prepares it. A relative path in an option starts at the process's folder,
    /// which under `cargo test` is the crate's.
    ///
    /// # Errors
    /// When an option is not declared ([`Kind::option`]) or has the wrong type, or when the hook refuses it.
    pub fn build(&self, kind: &Kind, options: &str) -> Result<Box<dyn Hook>> {
        let wrong = |message: &str| anyhow!("options of `{}`: {message}", kind.name);
        let table = DeTable::parse(options).map_err(|error| wrong(error.message()))?;
        for key in table.get_ref().keys() {
            let key = key.get_ref().as_ref();
            if !kind.options.iter().any(|(name, _)| *name == key) {
                let message = format!("no option `{key}`; declare it by Kind::option");
                return Err(wrong(&message));
            }
        }
        let table = Spanned::new(table.span(), DeValue::Table(table.into_inner()));
        let hook = kind.build(ValueDeserializer::from(table));
        let mut hook = hook.map_err(|error| wrong(error.message()))?;
        hook.prepare(&mut Preparation {
            scene: &self.scene,
            positions: self.start.n_positions(),
            hub: &no_hub(),
            progress: &mut |_, _, _| {},
        })?;
        Ok(hook)
    }

    /// Builds a hook of `kind` and calls it at milestones, until it [detaches](crate::hook::Context::detach) itself. Each tag that the kind declares in a row, chart or metric must be reported at
    /// one of them.
    ///
    /// # Errors
    /// When the hook cannot be built; when it fails, with the step; when it reports what a run would refuse; when a declared tag was never
    /// reported, with the tag; when the milestones are not in order.
    pub fn run(
        &self,
        kind: &Kind,
        options: &str,
        at: impl IntoIterator<Item = impl Into<At>>,
    ) -> Result<Reported> {
        let reported = self.part(kind, options, at)?;
        reported.check_shown(&self.shows(kind))?;
        Ok(reported)
    }

    /// As [`Bench::run`], for milestones at which the hook rightly leaves out some declared tags.
    ///
    /// # Errors
    /// As [`Bench::run`], except for declared tags.
    pub fn part(
        &self,
        kind: &Kind,
        options: &str,
        at: impl IntoIterator<Item = impl Into<At>>,
    ) -> Result<Reported> {
        let moments = self.moments(kind, at)?;
        self.called(kind, &mut *self.build(kind, options)?, &moments)
    }

    /// As [`Bench::run`], and again for each milestone with a kill right before it: the hook is built anew, restores its saved state, and
    /// goes on to the end. Its reports and states must be the same, bit by bit, as without the kill.
    ///
    /// # Errors
    /// As [`Bench::run`], and when a killed hook goes on differently; the error has the tag and both values.
    pub fn killed_and_resumed(
        &self,
        kind: &Kind,
        options: &str,
        at: impl IntoIterator<Item = impl Into<At>>,
    ) -> Result<Reported> {
        let moments = self.moments(kind, at)?;
        let mut hook = self.build(kind, options)?;
        let mut saved = vec![hook.state()];
        let whole = self.called(kind, &mut *hook, &moments)?;
        saved.extend(whole.states.iter().cloned());
        for (killed, state) in saved.iter().enumerate().take(whole.calls.len()) {
            let step = moments[killed].milestone.step;
            let mut hook = self.build(kind, options)?;
            // Through text, as in a checkpoint.
            let state: Value = serde_json::from_str(&state.to_string())?;
            hook.restore(state).with_context(|| {
                format!("killed before step {step}: it cannot take its state back")
            })?;
            let resumed = self.called(kind, &mut *hook, &moments[killed..])?;
            let both = resumed.calls.iter().zip(&whole.calls[killed..]);
            for ((later, found), (_, expected)) in both {
                if let Some(said) = difference(found, expected) {
                    bail!("killed before step {step}, at step {later}: {said}");
                }
            }
            ensure!(
                resumed.states == whole.states[killed..],
                "killed before step {step}: it keeps the state {}, and otherwise {}",
                resumed.state(),
                whole.state()
            );
        }
        whole.check_shown(&self.shows(kind))?;
        Ok(whole)
    }

    /// What a hook of `kind` shows for the contrasts of these templates.
    fn shows(&self, kind: &Kind) -> Shows {
        kind.shows.of_contrasts(&self.scene.templates.names())
    }

    /// Calls a hook at each moment.
    fn called(&self, kind: &Kind, hook: &mut dyn Hook, moments: &[Moment]) -> Result<Reported> {
        let (mut calls, mut states) = (Vec::new(), Vec::new());
        let mut last = HashMap::new();
        for moment in moments {
            let Milestone { step, event, .. } = moment.milestone;
            let place = || format!("hook `{}` at step {step} ({event})", kind.name);
            let output = self.call(kind, hook, moment).with_context(place)?;
            let templates = self.scene.prompts.len();
            let checked = output.check(step, templates, |tag| last.get(tag).copied());
            checked.map_err(|message| anyhow!("{}: {message}", place()))?;
            let tags = output.scalars.iter();
            last.extend(tags.map(|(tag, _)| (tag.clone(), step)));
            let detached = output.detached;
            calls.push((step, output));
            states.push(hook.state());
            if detached {
                break;
            }
        }
        Ok(Reported { calls, states })
    }

    fn call(&self, kind: &Kind, hook: &mut dyn Hook, moment: &Moment) -> Result<Output> {
        let trained = moment.trained.iter();
        let gradients =
            trained.map(|(role, model, values)| (*role, Gradients::new(model, Some(values), 1.0)));
        let gradients: Vec<(Role, Gradients)> = gradients.collect();
        let (seed, step) = (self.scene.seed, moment.milestone.step);
        let batch = self.batch(moment.milestone.event);
        let mut context = Context {
            milestone: &moment.milestone,
            pair: &moment.pair,
            start: kind.compares_with_start.then_some(&self.start),
            scene: &self.scene,
            probes: &Probes::default(),
            batch: batch.as_ref(),
            live: Live {
                gradients: &gradients,
                optimiser: &|role| Some(self.optimiser(role, moment)),
                update: &|role| self.update(role, moment),
            },
            rng: stream(seed, Purpose::Hook, name_hash(kind.name), step),
            deadline: None,
            watch: None,
            output: Output::default(),
        };
        hook.at_milestone(&mut context)?;
        Ok(context.output)
    }
}

/// A hub that is offline and has no cache.
fn no_hub() -> Hub {
    Hub {
        cache: None,
        endpoint: String::new(),
        token: None,
        offline: true,
        patience: Patience::default(),
        lock: Duration::ZERO,
    }
}
