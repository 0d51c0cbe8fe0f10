//! From an experiment as written to a plan: data read, models loaded, everything counted and checked before the first step.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::description::{
    complete, hparams, manifest, measured, origin, resolved_text, with_hooks,
};
use super::firings::LoopCadences;
use super::hooks::{self, HookOverview};
use super::intervene::Treatments;
use super::interventions::{self, InterventionOverview};
use super::load::{
    self, LoadedPair, devices, ends, eos, load_pair, load_templates, source_request,
};
use super::room::Room;
use super::text::{self, Makers};
use super::{Experiment, Keep, Written, conditions, inputs};
use crate::cadence::Cadence;
use crate::clock::{Extent, Length};
use crate::data::blocks::Blocks;
use crate::data::sources;
use crate::diagnostic::Diagnostic;
use crate::download::Progress;
use crate::hook::{OptionError, Preparation, PreparationError, Scene};
use crate::hub::Hub;
use crate::intervention::RunFacts;
use crate::model::{Pair, Role};
use crate::registry::Registry;
use crate::train::{Best, HookSpec, Plan, Schedule, Training, WeightDecay, caught};

/// Where this machine keeps things, and where a run goes.
#[derive(Debug, Clone)]
pub struct Places {
    /// The folder that relative paths of the experiment start from: its own.
    pub base: PathBuf,
    /// The value of `MILEPOST_DATA`.
    pub data: Option<PathBuf>,
    /// The cache folder.
    pub cache: Option<PathBuf>,
    /// Whether nothing may be fetched.
    pub offline: bool,
    /// The hub, and its cache.
    pub hub: Hub,
    /// The run's directory.
    pub run: PathBuf,
}

impl Places {
    /// The folder for the tokens of a long text.
    fn tokens(&self) -> PathBuf {
        let cache = self.cache.as_ref();
        cache.map_or_else(std::env::temp_dir, |cache| cache.join("tokens"))
    }
}

/// A plan, and what to show of it before it runs.
pub struct Resolved {
    /// What runs.
    pub plan: Plan,
    /// Its hooks.
    pub hooks: Vec<HookOverview>,
    /// Its interventions.
    pub interventions: Vec<InterventionOverview>,
    /// What should be said before the run.
    pub notes: Vec<String>,
}

/// Reads and checks everything that an experiment names. `progress` is told of downloads.
///
/// # Errors
/// A [`Diagnostic`] for what is wrong in the file, or the error of the data, templates, tokenizer or weights that it names.
pub fn resolve(
    written: &Written,
    registry: &Registry,
    places: &Places,
    progress: &mut Progress,
) -> anyhow::Result<Resolved> {
    let mut resolved = plan(written, registry, places, progress)?;
    let scene = resolved.plan.scene.clone();
    let positions = resolved.plan.pair.n_positions();
    let hooks = &mut resolved.plan.hooks;
    prepare(written, hooks, &scene, positions, places, progress)?;
    complete(&mut resolved.plan, registry, places, progress)?;
    Ok(resolved)
}

/// Lets hooks read what their options name; `written` is what they were read from.
fn prepare(
    written: &Written,
    hooks: &mut [HookSpec],
    scene: &Scene,
    positions: usize,
    places: &Places,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    for spec in hooks {
        let mut preparation = Preparation {
            scene,
            positions,
            hub: &places.hub,
            progress: &mut |name, done, total| progress(name, done, total),
        };
        let prepared = caught(|| spec.hook.prepare(&mut preparation));
        prepared.map_err(|error| refused(written, &spec.name, &error))?;
    }
    Ok(())
}

/// What to say when a hook cannot be prepared: with the place of the option where that is at fault.
fn refused(written: &Written, hook: &str, error: &anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<OptionError>() {
        Some(OptionError { option, message }) => {
            written.wrong(&["hooks", hook, option], message).into()
        }
        None => PreparationError {
            hook: hook.to_owned(),
            message: format!("{error:#}"),
        }
        .into(),
    }
}

/// The plan, with hooks that have read nothing yet.
fn plan(
    written: &Written,
    registry: &Registry,
    places: &Places,
    progress: &mut Progress,
) -> anyhow::Result<Resolved> {
    let experiment = &written.experiment;
    written.check_values()?;
    let treatments = Treatments::read(written, places)?;
    let devices = devices(written, true)?;
    let LoadedPair {
        pair,
        tokenizer,
        assistant_tokenizer,
        sources,
    } = load_pair(
        written,
        places,
        &devices,
        &experiment.train.models,
        progress,
    )?;
    if experiment.train.block > pair.n_positions() {
        let (block, positions) = (experiment.train.block, pair.n_positions());
        let message = format!(
            "a block of {block} tokens is longer than the {positions} positions of the models"
        );
        return Err(written.wrong(&["train", "block"], message).into());
    }
    let corpus = sources::resolve(&source_request(written, places)?, progress)?;
    let eos = eos(&pair, &tokenizer);
    let (templates, prompts) = load_templates(written, places, &tokenizer, progress)?;
    let room = Room::of(&prompts, &pair);
    room.check(written, &["decode"], &experiment.decode)?;
    let makers = Makers {
        pair: &pair,
        tokenizer: &tokenizer,
        eos,
        templates: &templates,
        prompts: &prompts,
    };
    let folder = places.tokens();
    let text = text::training(written, &corpus, treatments.all, makers, &folder)?;
    let (held_out, of_held_out) = text::held_out(written, &corpus, makers, &folder)?;
    let mut read = treatments.inputs;
    for (name, split, used) in [
        ("data/train", &corpus.train, &text.used),
        ("data/held-out", &corpus.held_out, &of_held_out),
    ] {
        read.extend(inputs::of_split(name, split, used));
    }
    let extent = extent(written, text.blocks.len())?;
    let evaluate = written.cadence(&["train", "evaluate"], &experiment.train.evaluate)?;
    let save = experiment.train.save.as_ref();
    let save = save
        .map(|clauses| written.cadence(&["train", "save"], clauses))
        .transpose()?;
    let scene = Scene {
        seed: experiment.seed,
        ends: ends(&pair, &tokenizer),
        tokenizer,
        eos,
        templates,
        prompts,
        held_out: Arc::new(held_out),
        on_answers: experiment.train.objective.of_answers(),
        batch: BATCH,
        decode: experiment.decode,
    };
    let cadences = LoopCadences {
        evaluate: &evaluate,
        evaluation_batches: scene.evaluation_batches() as u64,
        save: save.as_ref(),
    };
    for (key, cadence) in [("evaluate", Some(&evaluate)), ("save", save.as_ref())] {
        if cadence.is_some_and(Cadence::by_budget) {
            let message = "only hooks have a budget; give a number of steps or a time";
            return Err(written.wrong(&["train", key], message).into());
        }
        if cadence.is_some_and(|cadence| cadence.never_fires(&extent)) {
            let message = format!("never due in a run of {} steps", extent.steps());
            return Err(written.wrong(&["train", key], message).into());
        }
    }
    let hooks = hooks::read(
        written,
        registry,
        &extent,
        Some(&cadences),
        &places.base,
        room,
    )?;
    let interventions = interventions::read(
        written,
        registry,
        &extent,
        &facts(&experiment.train.models, &pair, &text.blocks),
    )?;
    conditions::check_interventions(written, &interventions.specs, &hooks.specs)?;
    let mut notes = corpus.notes.clone();
    notes.extend(scene.tokenizer.left_out().map(str::to_owned));
    notes.extend(load::slow_precision(experiment));
    notes.extend(text.notes);
    notes.extend(scene.templates.left_out());
    notes.extend(hooks.notes);
    let manifest = manifest(experiment, &corpus, read, &pair, &sources, &scene.templates)?;
    let plan = Plan {
        seed: experiment.seed,
        training: Training {
            keep_best: keep_best(written)?,
            ..training(experiment, &extent, evaluate, save)
        },
        scene: Arc::new(scene),
        assistant_tokenizer,
        extent,
        pair,
        blocks: text.blocks,
        treatments: text.accounts,
        hooks: hooks.specs,
        interventions: interventions.specs,
        queue: experiment.queue,
        origin: origin(experiment, &corpus),
        resolved: resolved_text(
            experiment,
            places,
            &sources,
            [hooks.resolved, interventions.resolved],
        )?,
        manifest: manifest.into(),
        hparams: hparams(experiment, &corpus),
        directory: places.run.clone(),
    };
    Ok(Resolved {
        plan,
        hooks: hooks.overview,
        interventions: interventions.overview,
        notes,
    })
}

/// What interventions may know of a run before it starts.
fn facts(trained: &[Role], pair: &Pair, blocks: &Blocks) -> RunFacts {
    let names = |role| {
        let named = pair.get(role).trained_parameters();
        named.into_iter().map(|(name, _)| name).collect()
    };
    RunFacts {
        parameters: Role::BOTH.map(names),
        trained: trained.to_vec(),
        topics: blocks.topics().into_iter().map(str::to_owned).collect(),
    }
}

/// A pair to be measured as it is.
pub struct Measurement {
    /// The pair, off autodiff.
    pub pair: Pair,
    /// What hooks may look at; without held-out text.
    pub scene: Arc<Scene>,
    /// The hooks.
    pub hooks: Vec<HookSpec>,
    /// What was measured with what, for the report.
    pub manifest: serde_json::Value,
    /// What should be said before.
    pub notes: Vec<String>,
}

/// Reads what a measurement without training needs: models, tokenizer, templates, hooks. No text is read.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_measurement(
    written: &Written,
    registry: &Registry,
    places: &Places,
    progress: &mut Progress,
) -> anyhow::Result<Measurement> {
    let experiment = &written.experiment;
    written.check_values()?;
    let devices = devices(written, false)?;
    let loaded = load_pair(written, places, &devices, &[], progress)?;
    let (pair, tokenizer) = (loaded.pair, loaded.tokenizer);
    let (templates, prompts) = load_templates(written, places, &tokenizer, progress)?;
    let room = Room::of(&prompts, &pair);
    room.check(written, &["decode"], &experiment.decode)?;
    let mut hooks = hooks::read(written, registry, &one_step()?, None, &places.base, room)?;
    let manifest = measured(experiment, &pair, &loaded.sources, &templates)?;
    hooks.notes.extend(templates.left_out());
    hooks.notes.extend(tokenizer.left_out().map(str::to_owned));
    let scene = Arc::new(Scene {
        seed: experiment.seed,
        eos: eos(&pair, &tokenizer),
        ends: ends(&pair, &tokenizer),
        tokenizer,
        templates,
        prompts,
        held_out: Arc::default(),
        on_answers: Vec::new(),
        batch: BATCH,
        decode: experiment.decode,
    });
    let positions = pair.n_positions();
    let specs = &mut hooks.specs;
    prepare(written, specs, &scene, positions, places, progress)?;
    Ok(Measurement {
        manifest,
        scene,
        pair,
        hooks: hooks.specs,
        notes: hooks.notes,
    })
}

/// The hooks of an experiment, to be called once on a pair and what belongs to it; nothing else of the experiment is read. Also returns
/// what should be said before.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_hooks(
    written: &Written,
    scene: &Scene,
    pair: &Pair,
    registry: &Registry,
    places: &Places,
    progress: &mut Progress,
) -> anyhow::Result<(Vec<HookSpec>, Vec<String>)> {
    let room = Room::of(&scene.prompts, pair);
    let hooks = hooks::read(written, registry, &one_step()?, None, &places.base, room)?;
    let mut specs = hooks.specs;
    let positions = pair.n_positions();
    prepare(written, &mut specs, scene, positions, places, progress)?;
    Ok((specs, hooks.notes))
}

/// One step, so that there is a clock where nothing is trained.
fn one_step() -> anyhow::Result<Extent> {
    Extent::new(1, 1, 1, 1, Length::Steps(1)).map_err(|error| anyhow::anyhow!("{error}"))
}

/// What a replay needs: the run's own plan, with the hooks of `hooks` instead of its own where they are given; the path is the folder that
/// their files are seen from. Only its `[hooks]` are read.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_replay(
    run: &Written,
    hooks: Option<(&Written, &Path)>,
    registry: &Registry,
    places: &Places,
    progress: &mut Progress,
) -> anyhow::Result<Resolved> {
    let mut resolved = plan(run, registry, places, progress)?;
    let (written, base) = hooks.unwrap_or((run, &places.base));
    let plan = &resolved.plan;
    let room = Room::of(&plan.scene.prompts, &plan.pair);
    let read = hooks::read(written, registry, &plan.extent, None, base, room)?;
    resolved.plan.hooks = read.specs;
    let scene = resolved.plan.scene.clone();
    let positions = resolved.plan.pair.n_positions();
    let hooks = &mut resolved.plan.hooks;
    prepare(written, hooks, &scene, positions, places, progress)?;
    resolved.plan.resolved = with_hooks(&resolved.plan.resolved, read.resolved)?;
    complete(&mut resolved.plan, registry, places, progress)?;
    resolved.hooks = read.overview;
    resolved.notes.extend(read.notes);
    Ok(resolved)
}

/// Rows of a pass over prompts or blocks.
const BATCH: usize = 16;

fn extent(written: &Written, blocks: usize) -> Result<Extent, Diagnostic> {
    let train = &written.experiment.train;
    let length = match train.max_steps {
        Some(steps) => Length::Steps(steps),
        None => Length::Epochs(train.epochs),
    };
    let (batch, accumulation) = (train.batch as u64, train.accumulation as u64);
    Extent::new(
        blocks as u64,
        batch,
        accumulation,
        train.block as u64,
        length,
    )
    .map_err(|error| written.wrong(&["train", error.0], error.to_string()))
}

fn training(
    experiment: &Experiment,
    extent: &Extent,
    evaluate: Cadence,
    save: Option<Cadence>,
) -> Training {
    let train = &experiment.train;
    let mut models = train.models.clone();
    models.sort_unstable();
    models.dedup();
    Training {
        models,
        objectives: train.objective,
        batch: train.batch,
        accumulation: train.accumulation,
        precision: train.precision,
        schedule: Schedule {
            peak: train.lr,
            warmup: train.warmup_steps,
            total: extent.planned(),
            decay: train.schedule,
        },
        clip: (train.clip > 0.0).then_some(train.clip),
        weight_decay: WeightDecay {
            rate: train.weight_decay,
            norms_and_biases: train.decay_norms_and_biases,
        },
        evaluate,
        save,
        keep: match train.keep {
            Keep::Last(count) => Some(count),
            Keep::Word(_) => None,
        },
        keep_best: None,
    }
}

fn keep_best(written: &Written) -> Result<Option<Best>, Diagnostic> {
    let wanted = written.experiment.train.keep_best.as_deref();
    let parsed = wanted.map(str::parse::<Best>).transpose();
    parsed.map_err(|message| written.wrong(&["train", "keep_best"], message))
}
