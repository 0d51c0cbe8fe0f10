//! From an experiment as written to a plan: data read, models loaded, everything counted and checked before the first step.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use serde_json::json;

use super::hooks::{self, HookOverview, LoopCadences};
use super::{Experiment, Written};
use crate::clock::{Extent, Length};
use crate::data::blocks::Blocks;
use crate::data::source::{self, Corpus};
use crate::data::templates::Templates;
use crate::data::tokenizer::Tokenizer;
use crate::diagnostic::Diagnostic;
use crate::hook::{Registry, Scene};
use crate::model::{Gpt2, Pair, Role};
use crate::tensorboard::HparamValue;
use crate::train::{Plan, Schedule, Training};

/// Where this machine keeps things, and where a run goes.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The folder that relative paths of the experiment start from: its own.
    pub base: PathBuf,
    /// The value of `MILEPOST_DATA`.
    pub data: Option<PathBuf>,
    /// The cache folder.
    pub cache: Option<PathBuf>,
    /// Whether nothing may be fetched.
    pub offline: bool,
    /// The run's directory.
    pub run: PathBuf,
    /// Name of the experiment.
    pub name: String,
}

/// A plan, and what to show of it before it runs.
pub struct Resolved {
    /// What runs.
    pub plan: Plan,
    /// Its hooks.
    pub hooks: Vec<HookOverview>,
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
    progress: &mut dyn FnMut(&str, u64, Option<u64>),
) -> anyhow::Result<Resolved> {
    let experiment = &written.experiment;
    check_numbers(written)?;
    let device = crate::device::open(&experiment.device)
        .map_err(|error| written.wrong(&["device"], error.to_string()))?
        .autodiff();
    let (pair, tokenizer) = load_pair(written, places, &device)?;
    if experiment.train.block > pair.n_positions() {
        let (block, positions) = (experiment.train.block, pair.n_positions());
        let message = format!(
            "a block of {block} tokens is longer than the {positions} positions of the models"
        );
        return Err(written.wrong(&["train", "block"], message).into());
    }
    let request = source::Request {
        folder: (experiment.data.folder.as_ref()).map(|folder| places.base.join(folder)),
        data: places.data.clone(),
        cache: places.cache.clone(),
        offline: places.offline,
        builtin_sample: experiment.data.builtin_sample,
    };
    let corpus = source::resolve(&request, progress)?;
    let eos = eos(&pair, &tokenizer);
    let blocks = cut(written, &corpus, Split::Train, &tokenizer, eos)?;
    let held_out = cut(written, &corpus, Split::HeldOut, &tokenizer, eos)?;
    let held_out = match experiment.train.evaluate_blocks {
        Some(count) => held_out.take(count),
        None => held_out,
    };
    let extent = extent(written, blocks.len())?;
    let (templates, prompts) = load_templates(written, places, &tokenizer, &pair)?;
    let evaluate = written.cadence(&["train", "evaluate"], &experiment.train.evaluate)?;
    let save = experiment.train.save.as_ref();
    let save = save
        .map(|clauses| written.cadence(&["train", "save"], clauses))
        .transpose()?;
    let cadences = LoopCadences {
        evaluate: &evaluate,
        save: save.as_ref(),
    };
    for (key, cadence) in [("evaluate", Some(&evaluate)), ("save", save.as_ref())] {
        if cadence.is_some_and(|cadence| cadence.never_fires(&extent)) {
            let message = format!("never due in a run of {} steps", extent.steps());
            return Err(written.wrong(&["train", key], message).into());
        }
    }
    let hooks = hooks::read(written, registry, &extent, &cadences)?;
    let manifest = manifest(experiment, &corpus, &pair, &prompts);
    let plan = Plan {
        name: places.name.clone(),
        seed: experiment.seed,
        training: training(experiment, &extent, evaluate, save),
        scene: Arc::new(Scene {
            seed: experiment.seed,
            tokenizer: tokenizer.clone(),
            eos,
            templates,
            prompts,
            held_out,
            batch: 16,
            decode: experiment.decode,
        }),
        extent,
        pair,
        blocks,
        hooks: hooks.specs,
        queue: experiment.queue,
        origin: corpus.describe(),
        resolved: resolved_text(experiment, places, hooks.resolved)?,
        manifest,
        hparams: hparams(experiment, &corpus),
        tokenizer_json: tokenizer.to_json()?,
        directory: places.run.clone(),
    };
    Ok(Resolved {
        plan,
        hooks: hooks.overview,
        notes: corpus.notes,
    })
}

fn check_numbers(written: &Written) -> Result<(), Diagnostic> {
    let train = &written.experiment.train;
    let decode = &written.experiment.decode;
    let checks = [
        (
            &["train", "lr"][..],
            train.lr.is_finite() && train.lr > 0.0,
            "must be above 0",
        ),
        (
            &["train", "clip"],
            train.clip.is_finite() && train.clip >= 0.0,
            "must not be negative (0 does not clip)",
        ),
        (
            &["train", "weight_decay"],
            train.weight_decay.is_finite() && train.weight_decay >= 0.0,
            "must not be negative",
        ),
        (
            &["train", "dropout"],
            train.dropout.is_none_or(|p| (0.0..1.0).contains(&p)),
            "must be at least 0 and below 1",
        ),
        (
            &["train", "models"],
            !train.models.is_empty(),
            "name `main`, `assistant`, or both",
        ),
        (&["train", "block"], train.block >= 2, "must be at least 2"),
        (
            &["train", "evaluate_blocks"],
            train.evaluate_blocks != Some(0),
            "must be at least 1",
        ),
        (
            &["decode", "draft_length"],
            decode.draft_length >= 1,
            "must be at least 1",
        ),
        (
            &["decode", "max_new_tokens"],
            decode.max_new_tokens >= 1,
            "must be at least 1",
        ),
        (
            &["queue"],
            written.experiment.queue >= 1,
            "must be at least 1",
        ),
    ];
    match checks.into_iter().find(|(_, sound, _)| !sound) {
        Some((path, _, message)) => Err(written.wrong(path, message)),
        None => Ok(()),
    }
}

fn load_pair(
    written: &Written,
    places: &Places,
    device: &Device,
) -> anyhow::Result<(Pair, Tokenizer)> {
    let experiment = &written.experiment;
    let load = |role: Role, name: &str| -> anyhow::Result<(Gpt2, Tokenizer)> {
        let (model, tokenizer) = match name {
            "mini:main" => (
                crate::mini::model(Role::Main, device)?,
                crate::mini::tokenizer()?,
            ),
            "mini:assistant" => (
                crate::mini::model(Role::Assistant, device)?,
                crate::mini::tokenizer()?,
            ),
            path => {
                let directory = places.base.join(path);
                if !directory.is_dir() {
                    let message = format!(
                        "no model directory {}; give a directory in Hugging Face layout, `mini:main` or `mini:assistant`",
                        directory.display()
                    );
                    return Err(written.wrong(&["models", role.as_str()], message).into());
                }
                (
                    Gpt2::load(&directory, device)?,
                    Tokenizer::load(&directory)?,
                )
            }
        };
        Ok(match experiment.train.dropout {
            Some(p) => (model.with_dropout(p), tokenizer),
            None => (model, tokenizer),
        })
    };
    let (main, tokenizer) = load(Role::Main, &experiment.models.main)?;
    let (assistant, other) = load(Role::Assistant, &experiment.models.assistant)?;
    if let Some(difference) = tokenizer.difference(&other) {
        let message = format!("the two models have different tokenizers: {difference}");
        return Err(written.wrong(&["models", "assistant"], message).into());
    }
    if tokenizer.vocab_size() > main.config().vocab_size {
        let message = format!(
            "the tokenizer has {} tokens, but the models only {}",
            tokenizer.vocab_size(),
            main.config().vocab_size
        );
        return Err(written.wrong(&["models", "main"], message).into());
    }
    let pair = Pair::new(main, assistant)
        .map_err(|error| written.wrong(&["models", "assistant"], error.to_string()))?;
    Ok((pair, tokenizer))
}

fn eos(pair: &Pair, tokenizer: &Tokenizer) -> Option<u32> {
    let config = pair.main.config();
    config
        .eos_token_id
        .or_else(|| tokenizer.id(crate::pretrain::END_OF_TEXT))
}

#[derive(Clone, Copy)]
enum Split {
    Train,
    HeldOut,
}

fn cut(
    written: &Written,
    corpus: &Corpus,
    split: Split,
    tokenizer: &Tokenizer,
    eos: Option<u32>,
) -> anyhow::Result<Blocks> {
    let data = &written.experiment.data;
    let (articles, limit, name) = match split {
        Split::Train => (&corpus.train, data.train_articles, "training"),
        Split::HeldOut => (&corpus.held_out, data.test_articles, "held-out"),
    };
    let mut ids = Vec::new();
    for article in articles.iter().take(limit.unwrap_or(usize::MAX)) {
        ids.extend(tokenizer.encode(&article.text())?);
        ids.extend(eos.filter(|_| data.end_of_text));
    }
    Blocks::cut(ids, written.experiment.train.block).map_err(|error| {
        let message = format!("the {name} split: {error}");
        written.wrong(&["train", "block"], message).into()
    })
}

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

fn load_templates(
    written: &Written,
    places: &Places,
    tokenizer: &Tokenizer,
    pair: &Pair,
) -> anyhow::Result<(Templates, Vec<Vec<u32>>)> {
    let section = &written.experiment.templates;
    let templates = match section.file.as_str() {
        "builtin" => Templates::parse("built-in templates", crate::mini::TEMPLATES, section.set)?,
        file => Templates::read(&places.base.join(file), section.set)?,
    };
    let prompts = templates.prompts().iter();
    let prompts = prompts.map(|template| tokenizer.encode(&template.prompt));
    let prompts: Vec<Vec<u32>> = prompts.collect::<Result<_, _>>()?;
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let new = written.experiment.decode.max_new_tokens;
    if longest + new > pair.n_positions() + 1 {
        let message = format!(
            "{new} new tokens after the longest prompt of {longest} exceed the {} positions of the models",
            pair.n_positions()
        );
        return Err(written.wrong(&["decode", "max_new_tokens"], message).into());
    }
    Ok((templates, prompts))
}

fn training(
    experiment: &Experiment,
    extent: &Extent,
    evaluate: crate::cadence::Cadence,
    save: Option<crate::cadence::Cadence>,
) -> Training {
    let train = &experiment.train;
    let mut models = train.models.clone();
    models.sort_unstable();
    models.dedup();
    Training {
        models,
        batch: train.batch,
        accumulation: train.accumulation,
        schedule: Schedule {
            peak: train.lr,
            warmup: train.warmup_steps,
            total: extent.steps(),
            decay: train.schedule,
        },
        clip: (train.clip > 0.0).then_some(train.clip),
        weight_decay: train.weight_decay,
        evaluate,
        save,
    }
}

/// The experiment with every default and every path written out, so that it means the same wherever it is read.
fn resolved_text(
    experiment: &Experiment,
    places: &Places,
    hooks: toml::Table,
) -> anyhow::Result<String> {
    let mut experiment = experiment.clone();
    let absolute = |path: &str| -> String {
        let path = places.base.join(path);
        std::path::absolute(&path)
            .unwrap_or(path)
            .display()
            .to_string()
    };
    for model in [
        &mut experiment.models.main,
        &mut experiment.models.assistant,
    ] {
        if !model.starts_with("mini:") {
            *model = absolute(model);
        }
    }
    if let Some(folder) = &mut experiment.data.folder {
        *folder = absolute(folder);
    }
    if experiment.templates.file != "builtin" {
        experiment.templates.file = absolute(&experiment.templates.file);
    }
    let mut table = toml::Table::try_from(&experiment)?;
    if !hooks.is_empty() {
        table.insert("hooks".to_owned(), hooks.into());
    }
    Ok(toml::to_string(&table)?)
}

fn manifest(
    experiment: &Experiment,
    corpus: &Corpus,
    pair: &Pair,
    prompts: &[Vec<u32>],
) -> serde_json::Value {
    let model = |role: Role, name: &str| {
        let md5 = match name.starts_with("mini:") {
            true => Some(crate::mini::md5(role)),
            false => std::fs::read(Path::new(name).join("model.safetensors"))
                .ok()
                .map(|bytes| crate::data::download::md5_of(&bytes)),
        };
        json!({ "from": name, "weights_md5": md5, "config": pair.get(role).config() })
    };
    json!({
        "milepost": env!("CARGO_PKG_VERSION"),
        "burn": "0.22.1",
        "device": experiment.device,
        "os": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "data": { "origin": corpus.origin, "files": corpus.files },
        "models": {
            "main": model(Role::Main, &experiment.models.main),
            "assistant": model(Role::Assistant, &experiment.models.assistant),
        },
        "templates": { "file": experiment.templates.file, "prompts": prompts.len() },
    })
}

fn hparams(experiment: &Experiment, corpus: &Corpus) -> Vec<(String, HparamValue)> {
    let train = &experiment.train;
    let number = |value: f64| HparamValue::Number(value);
    let mut hparams = vec![
        ("seed", number(experiment.seed as f64)),
        ("train.lr", number(train.lr)),
        (
            "train.batch",
            number((train.batch * train.accumulation) as f64),
        ),
        ("train.block", number(train.block as f64)),
        ("train.weight_decay", number(train.weight_decay)),
        (
            "train.schedule",
            HparamValue::Text(format!("{:?}", train.schedule).to_lowercase()),
        ),
        (
            "decode.draft_length",
            number(experiment.decode.draft_length as f64),
        ),
        (
            "data.builtin_sample",
            HparamValue::Bool(corpus.origin == source::Origin::BuiltinSample),
        ),
    ];
    if let Some(dropout) = train.dropout {
        hparams.push(("train.dropout", number(dropout)));
    }
    let models = train.models.iter().map(|role| role.as_str());
    hparams.push((
        "train.models",
        HparamValue::Text(models.collect::<Vec<_>>().join("+")),
    ));
    hparams
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
