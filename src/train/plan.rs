//! A run as resolved: everything read, checked and counted before the first step.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Objectives, Schedule, WeightDecay};
use crate::cadence::Cadence;
use crate::clock::Extent;
use crate::condition::Condition;
use crate::data::blocks::Blocks;
use crate::data::tokenizer::Tokenizer;
use crate::event::Event;
use crate::hook::{Hook, Predicate, Runs, Scene, Shows};
use crate::intervention::Intervention;
use crate::model::{Pair, Precision, Role};
use crate::record::Manifest;
use crate::treatment::Account;

/// What happens to a hook that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// It is not called again; the run goes on.
    #[default]
    Disable,
    /// The run ends after the step.
    Stop,
    /// It is called again at its next milestone.
    Retry,
}

/// A hook with when and how to call it.
pub struct HookSpec {
    /// Its name in the experiment; its tags stand below it when it differs from the kind's.
    pub name: String,
    /// The kind it was made from.
    pub kind: String,
    /// When it is due.
    pub at: Cadence,
    /// The event it is called at; None for settled moments.
    pub on: Option<Event>,
    /// The signal of another hook that it is called for, in place of `on`.
    pub signal: Option<Arc<str>>,
    /// The signals that it may emit.
    pub emits: Vec<&'static str>,
    /// What must be true of the run for a call, where it is due.
    pub when: Option<Condition>,
    /// The same, by its kind.
    pub wanted: Option<Arc<Predicate>>,
    /// Whether it is called only once.
    pub once: bool,
    /// In the loop or in the worker.
    pub runs: Runs,
    /// What its failure does.
    pub on_error: OnError,
    /// Longest call, in seconds.
    pub deadline: Option<u64>,
    /// Whether it looks at the pair as it was before the first step.
    pub compares_with_start: bool,
    /// What stands before its tags and columns.
    pub prefix: String,
    /// What it shows beside its curves.
    pub shows: Shows,
    /// The hook itself.
    pub hook: Box<dyn Hook>,
}

/// An intervention with when to ask it.
pub struct InterventionSpec {
    /// Its name in the experiment.
    pub name: String,
    /// The kind it was made from.
    pub kind: String,
    /// When it decides. Not by wall time, so that a run that was resumed is the same.
    pub at: Cadence,
    /// What must be true of the run for that.
    pub when: Option<Condition>,
    /// Whether it is asked only once.
    pub once: bool,
    /// Whether it may go back to a checkpoint.
    pub rolls_back: bool,
    /// The intervention itself.
    pub intervention: Box<dyn Intervention>,
}

/// How the pair is trained.
pub struct Training {
    /// Which models are trained; the others stay as they came.
    pub models: Vec<Role>,
    /// What each of them is trained for.
    pub objectives: Objectives,
    /// Blocks a micro-batch.
    pub batch: usize,
    /// Micro-batches a step.
    pub accumulation: usize,
    /// In what matrices are multiplied.
    pub precision: Precision,
    /// Learning rate of every step.
    pub schedule: Schedule,
    /// Largest global gradient norm; None does not clip.
    pub clip: Option<f64>,
    /// AdamW's decoupled weight decay.
    pub weight_decay: WeightDecay,
    /// When the held-out split is evaluated.
    pub evaluate: Cadence,
    /// When checkpoints are saved; None saves only what a hook or a failure asks for.
    pub save: Option<Cadence>,
    /// How many of the last checkpoints are kept; None keeps all.
    pub keep: Option<usize>,
    /// The measure whose best checkpoint is kept, too.
    pub keep_best: Option<Best>,
}

/// Which value of a tag is the best: `lowest eval/main/loss`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Best {
    /// The tag, such as `eval/main/loss`. A checkpoint counts when the tag was reported at its very step.
    pub tag: String,
    /// Whether the highest value is the best, not the lowest.
    pub highest: bool,
}

impl Best {
    /// Whether `value` is better than `than`.
    pub fn is_better(&self, value: f64, than: f64) -> bool {
        if self.highest {
            value > than
        } else {
            value < than
        }
    }
}

impl TryFrom<String> for Best {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Best> for String {
    fn from(best: Best) -> Self {
        let which = if best.highest { "highest" } else { "lowest" };
        format!("{which} {}", best.tag)
    }
}

impl std::str::FromStr for Best {
    type Err = String;

    /// `lowest eval/main/loss` or `highest decode/acceptance`.
    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words[..] {
            [which @ ("lowest" | "highest"), tag] => Ok(Self {
                tag: tag.to_owned(),
                highest: which == "highest",
            }),
            _ => Err(format!(
                "`{text}` does not say which is the best; write \"lowest eval/main/loss\" or \"highest decode/acceptance\""
            )),
        }
    }
}

/// Everything that a run needs.
pub struct Plan {
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// The run in numbers.
    pub extent: Extent,
    /// How it is trained.
    pub training: Training,
    /// The pair, on an autodiff device.
    pub pair: Pair,
    /// Blocks to train on.
    pub blocks: Blocks,
    /// What was done to their text.
    pub treatments: Vec<Account>,
    /// What hooks may look at. Its tokenizer is the main model's.
    pub scene: Arc<Scene>,
    /// The assistant's tokenizer, which gives the same ids and is saved with it.
    pub assistant_tokenizer: Tokenizer,
    /// The hooks, in the experiment's order.
    pub hooks: Vec<HookSpec>,
    /// The interventions, in the experiment's order.
    pub interventions: Vec<InterventionSpec>,
    /// Milestones that may wait for the worker before training does.
    pub queue: usize,
    /// Where the text came from, in one line, for every place that shows results.
    pub origin: String,
    /// The experiment with everything resolved, as TOML.
    pub resolved: String,
    /// Versions, checksums, device.
    pub manifest: Manifest,
    /// Parameters of the run for TensorBoard's table of runs.
    pub hparams: Vec<(String, crate::tensorboard::HparamValue)>,
    /// Where the run is written.
    pub directory: PathBuf,
}
