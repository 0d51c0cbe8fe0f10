//! An experiment as written: one TOML file. Every error in it is reported with its place.

mod checks;
mod conditions;
mod contrasts;
mod data;
mod description;
mod entry;
mod fetch;
mod firings;
mod hooks;
mod inputs;
mod intervene;
mod interventions;
mod load;
mod lora;
mod model_source;
mod resolve;
mod room;
mod signals;
mod text;

use std::ops::Range;

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use contrasts::{ContrastSection, Contrasts, contrast_names};
pub use data::{DataSection, HoldOut, Names};
pub use fetch::{Fetched, fetch};
pub use firings::{Firings, FiringsAt};
pub(crate) use hooks::COMMON;
pub use hooks::HookOverview;
pub use intervene::{Drawn, Planted, Shuffled, TextChange};
pub use interventions::InterventionOverview;
pub use lora::{LoraSection, LoraSections, Targets};
pub use model_source::merged_model;
pub use resolve::{
    Measurement, Places, Resolved, resolve, resolve_hooks, resolve_measurement, resolve_replay,
};

use crate::cadence::Cadence;
use crate::data::templates::TemplateSet;
use crate::decode::Settings;
use crate::diagnostic::{Diagnostic, Source};
use crate::model::{Precision, Role};
use crate::overrides::{self, Override};
use crate::train::{Decay, Objectives};

/// The whole file except its hooks and interventions, whose options only their kinds know.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// What the experiment is about, in one line.
    #[serde(default)]
    pub about: String,
    /// The seed of every random draw.
    #[serde(default = "one")]
    pub seed: u64,
    /// The devices of the models.
    #[serde(default)]
    pub device: Devices,
    /// How many milestones may wait for background hooks before training waits for them.
    #[serde(default = "two")]
    pub queue: usize,
    /// The pair.
    #[serde(default)]
    pub models: ModelsSection,
    /// The text to train on.
    #[serde(default)]
    pub data: DataSection,
    /// How the pair is trained.
    #[serde(default)]
    pub train: TrainSection,
    /// The prompts.
    #[serde(default)]
    pub templates: TemplatesSection,
    /// The groups of prompts that are compared.
    #[serde(
        default = "contrasts::usual",
        skip_serializing_if = "Contrasts::is_empty"
    )]
    pub contrasts: Contrasts,
    /// How prompts are decoded.
    #[serde(default)]
    pub decode: Settings,
}

/// `[models]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelsSection {
    /// `mini:main`, a directory in Hugging Face layout, or a model of the hub (`openai-community/gpt2`, with `@revision` if need be).
    pub main: String,
    /// `mini:assistant`, a directory, or a model of the hub.
    pub assistant: String,
    /// Puts before each document and each prompt the special tokens that the tokenizer puts before a text, as transformers does: `<s>` of Llama.
    pub begin: bool,
}

impl ModelsSection {
    /// The value for one of the two models.
    pub fn get(&self, role: Role) -> &str {
        match role {
            Role::Main => &self.main,
            Role::Assistant => &self.assistant,
        }
    }
}

/// `device`: one for both models, or one each.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a device such as \"flex\", or one for each model: { main = \"tch:cuda:0\", assistant = \"flex\" }"
)]
pub enum Devices {
    /// `device = "flex"`
    Both(String),
    /// `device = { main = "tch:cuda:0", assistant = "flex" }`
    Each(EachDevice),
}

/// A device for each model.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EachDevice {
    /// The main model's.
    #[serde(default = "flex")]
    pub main: String,
    /// The assistant's.
    #[serde(default = "flex")]
    pub assistant: String,
}

impl Default for Devices {
    fn default() -> Self {
        Self::Both(flex())
    }
}

impl Devices {
    /// The device of one of the two models.
    pub fn get(&self, role: Role) -> &str {
        match (self, role) {
            (Self::Both(device), _) => device,
            (Self::Each(each), Role::Main) => &each.main,
            (Self::Each(each), Role::Assistant) => &each.assistant,
        }
    }
}

impl Default for ModelsSection {
    fn default() -> Self {
        Self {
            main: "mini:main".to_owned(),
            assistant: "mini:assistant".to_owned(),
            begin: true,
        }
    }
}

fn has_no_adapters(lora: &LoraSections) -> bool {
    *lora == LoraSections::default()
}

fn is_usual_objective(objective: &Objectives) -> bool {
    *objective == Objectives::default()
}

/// `[train]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSection {
    /// Which models are trained.
    pub models: Vec<Role>,
    /// What each of them is trained for.
    #[serde(skip_serializing_if = "is_usual_objective")]
    pub objective: Objectives,
    /// Adapters that are trained in place of all weights.
    #[serde(skip_serializing_if = "has_no_adapters")]
    pub lora: LoraSections,
    /// Passes over the data; ignored when `max_steps` is given.
    pub epochs: u64,
    /// Optimiser steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u64>,
    /// Blocks per micro-batch.
    pub batch: usize,
    /// Tokens per block.
    pub block: usize,
    /// Micro-batches per step.
    pub accumulation: usize,
    /// In what matrices are multiplied.
    pub precision: Precision,
    /// Peak learning rate.
    pub lr: f64,
    /// How the learning rate falls after the warm-up.
    pub schedule: Decay,
    /// Steps of warm-up.
    pub warmup_steps: u64,
    /// Largest global gradient norm; 0 does not clip.
    pub clip: f64,
    /// AdamW's decoupled weight decay, applied to matrices and embeddings.
    pub weight_decay: f64,
    /// Whether biases and layer norms decay too; transformers' Trainer leaves them out.
    pub decay_norms_and_biases: bool,
    /// Dropout probability of both models. If absent, the one in their config.json.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
    /// When the held-out split is evaluated.
    pub evaluate: Clauses,
    /// How many blocks of the held-out split are evaluated. If absent, all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluate_blocks: Option<usize>,
    /// When checkpoints are saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub save: Option<Clauses>,
    /// How many of the last checkpoints are kept: a number, or `all`.
    pub keep: Keep,
    /// The measure whose best checkpoint is also kept: `lowest eval/main/loss`, `highest decode/acceptance`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_best: Option<String>,
}

/// `train.keep`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a number of checkpoints, or \"all\"")]
pub enum Keep {
    /// `keep = 2`
    Last(usize),
    /// `keep = "all"`
    Word(String),
}

impl Default for TrainSection {
    /// The usual recipe of causal-LM fine-tuning.
    fn default() -> Self {
        Self {
            models: Role::BOTH.to_vec(),
            objective: Objectives::default(),
            lora: LoraSections::default(),
            epochs: 1,
            max_steps: None,
            batch: 8,
            block: 128,
            accumulation: 1,
            precision: Precision::F32,
            lr: 5e-5,
            schedule: Decay::Linear,
            warmup_steps: 0,
            clip: 1.0,
            weight_decay: 0.0,
            decay_norms_and_biases: false,
            dropout: None,
            evaluate: Clauses::Several(vec!["start".to_owned(), "end".to_owned()]),
            evaluate_blocks: None,
            save: None,
            keep: Keep::Last(2),
            keep_best: None,
        }
    }
}

/// `[templates]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TemplatesSection {
    /// `builtin`, or a file in HONEST layout.
    pub file: String,
    /// Which rows are used.
    pub set: TemplateSet,
}

impl Default for TemplatesSection {
    fn default() -> Self {
        Self {
            file: "builtin".to_owned(),
            set: TemplateSet::Paired,
        }
    }
}

/// A cadence as written: one clause, or a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a cadence such as \"every 10%\", or a list of them"
)]
pub enum Clauses {
    /// `at = "every 10%"`
    One(String),
    /// `at = ["start", "every 10%"]`
    Several(Vec<String>),
}

impl Clauses {
    fn texts(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Several(texts) => texts,
        }
    }
}

fn one() -> u64 {
    1
}
fn two() -> usize {
    2
}
fn flex() -> String {
    "flex".to_owned()
}

/// An experiment's text and its parsed content, except hooks and interventions.
#[derive(Debug, Clone)]
pub struct Written {
    /// The text, in which errors are located.
    pub source: Source,
    /// The parsed content, without hooks and interventions.
    pub experiment: Experiment,
}

/// Parses an experiment with overrides applied.
///
/// # Errors
/// A diagnostic with file, line and caret. The file is checked before overrides are applied, so that an error after that is known to come
/// from an override.
pub fn parse(source: Source, overrides: &[Override]) -> Result<Written, Diagnostic> {
    let plain = parse_text(source)?;
    if overrides.is_empty() {
        return Ok(plain);
    }
    let merged = overrides::apply(&plain.source.text, overrides);
    let merged = merged.map_err(|error| Diagnostic::file("--set", error.to_string()))?;
    parse_text(Source {
        name: format!("{} with --set", plain.source.name),
        text: merged,
    })
}

/// The sections whose tables have options that only their kinds know.
const PLUG_INS: [&str; 2] = ["hooks", "interventions"];

fn parse_text(source: Source) -> Result<Written, Diagnostic> {
    let broken = |error: &toml::de::Error| Diagnostic::from_toml(&source, error);
    let parsed = DeTable::parse(&source.text).map_err(|error| broken(&error))?;
    if let Some(span) = parsed.get_ref().values().find_map(beyond_toml) {
        let message = format!(
            "this whole number is too large: the largest that TOML can hold is {}",
            i64::MAX
        );
        return Err(Diagnostic::at(&source, span, message));
    }
    if let Some(arms) = value_of(parsed.get_ref(), &["arms"]) {
        let message = "this is a study, which is made of several runs of an experiment";
        return Err(Diagnostic::at(&source, arms.span(), message)
            .with_help("run it by `milepost study` (make study EXP=NAME)"));
    }
    intervene::check(&source, parsed.get_ref())?;
    let rest = part(parsed.get_ref(), |key| !PLUG_INS.contains(&key));
    let rest = toml::Deserializer::from(Spanned::new(parsed.span(), rest));
    let experiment = Experiment::deserialize(rest);
    let experiment = experiment.map_err(|error| broken(&error))?;
    Ok(Written { source, experiment })
}

impl Written {
    /// A diagnostic at the value of a key, or at the whole file when the key is not written there.
    fn wrong(&self, path: &[&str], message: impl Into<String>) -> Diagnostic {
        match span_of(&self.source.text, path) {
            Some(span) => Diagnostic::at(&self.source, span, message),
            None => Diagnostic::file(
                &self.source.name,
                format!("`{}`: {}", path.join("."), message.into()),
            ),
        }
    }

    /// A diagnostic at a part of the text of the string at `string`, or at the key `path` when it is not written as a string there.
    fn within(
        &self,
        string: Option<Range<usize>>,
        path: &[&str],
        part: Range<usize>,
        message: impl Into<String>,
    ) -> Diagnostic {
        match string {
            // The span of a string begins with its quote.
            Some(span) => {
                let start = span.start + 1 + part.start;
                let width = part.len().max(1);
                Diagnostic::at(&self.source, start..start + width, message)
            }
            None => self.wrong(path, message),
        }
    }

    /// Parses the cadence at a key.
    fn cadence(&self, path: &[&str], clauses: &Clauses) -> Result<Cadence, Diagnostic> {
        Cadence::parse(clauses.texts()).map_err(|(index, error)| {
            let place = clause_span(&self.source.text, path, index);
            let diagnostic = self.within(place, path, error.span, error.message);
            match error.help {
                Some(help) => diagnostic.with_help(help),
                None => diagnostic,
            }
        })
    }
}

/// The entries of a table whose keys satisfy `keep`.
fn part<'i>(table: &DeTable<'i>, keep: impl Fn(&str) -> bool) -> DeTable<'i> {
    let entries = table.iter().filter(|(key, _)| keep(key.get_ref()));
    entries
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// The place of the first whole number that is beyond TOML's 64 bits. The parser would accept it.
fn beyond_toml(value: &Spanned<DeValue>) -> Option<Range<usize>> {
    match value.get_ref() {
        DeValue::Integer(number) => {
            let held = i64::from_str_radix(number.as_str(), number.radix());
            held.is_err().then(|| value.span())
        }
        DeValue::Array(values) => values.iter().find_map(beyond_toml),
        DeValue::Table(table) => table.values().find_map(beyond_toml),
        _ => None,
    }
}

fn value_of<'a, 'i>(table: &'a DeTable<'i>, path: &[&str]) -> Option<&'a Spanned<DeValue<'i>>> {
    let (first, rest) = path.split_first()?;
    let value = table.iter().find(|(key, _)| key.get_ref() == first)?.1;
    match rest {
        [] => Some(value),
        _ => value_of(value.get_ref().as_table()?, rest),
    }
}

fn span_of(text: &str, path: &[&str]) -> Option<Range<usize>> {
    let table = DeTable::parse(text).ok()?;
    Some(value_of(table.get_ref(), path)?.span())
}

fn clause_span(text: &str, path: &[&str], index: usize) -> Option<Range<usize>> {
    let table = DeTable::parse(text).ok()?;
    let value = value_of(table.get_ref(), path)?;
    match value.get_ref() {
        DeValue::Array(clauses) => clauses.get(index).map(Spanned::span),
        _ => Some(value.span()),
    }
}
