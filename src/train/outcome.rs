//! How a run ends: its outcome, or the error that ended it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::recorder::{RecordError, Span};
use crate::checksum::End;
use crate::clock::Clock;
use crate::data::tokenizer::TokenizerError;
use crate::model::{Role, WeightsError};

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A loss, gradient or weight is NaN or infinite.
    #[error(
        "the {what} of the {role} model is {value} at step {step} (learning rate {rate:e}); {saved}: lower `train.lr`, or clip with `train.clip`"
    )]
    NotFinite {
        /// `loss`, `gradient norm`, or a tensor of weights.
        what: String,
        /// Which model.
        role: Role,
        /// The value.
        value: f64,
        /// The step at which it was found.
        step: u64,
        /// Its learning rate.
        rate: f64,
        /// What is saved, in words.
        saved: String,
    },
    /// The run's files could not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Models could not be read or written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The tokenizer could not be written.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A checkpoint could not be read or written.
    #[error("{path}: {message}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A run has checkpoints, and none of them can be used.
    #[error(
        "no checkpoint of this run can be used; the newest: {0}; begin the run anew under another name"
    )]
    NoCheckpoint(Box<RunError>),
    /// A run cannot go on beyond its end.
    #[error(
        "the newest checkpoint of this run is of step {done}, the run is to have {steps}: there is nothing to go on with; give a larger `train.max_steps`, or begin a new run where nothing was saved (step 0)"
    )]
    NothingToExtend {
        /// Steps of the newest checkpoint; 0 where nothing was saved.
        done: u64,
        /// Steps that the run would have.
        steps: u64,
    },
    /// The held-out split could not be evaluated.
    #[error("evaluation failed: {0}")]
    Evaluation(String),
    /// A hook ended the run.
    #[error("hook `{name}`: {message}")]
    Hook {
        /// Its name.
        name: String,
        /// What happened.
        message: String,
    },
    /// The thread of background hooks has ended by itself.
    #[error(
        "the thread of background hooks has died; resume the run, its last checkpoint is whole"
    )]
    DeadWorker,
    /// The thread that saves checkpoints has ended by itself.
    #[error(
        "the thread that saves checkpoints has died; resume the run, its last checkpoint is whole"
    )]
    DeadSaver,
    /// No thread for background hooks or for saving.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// Why a run ended that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// All steps are done.
    Complete,
    /// Ctrl-C.
    Interrupted,
    /// A hook asked for it.
    Requested(String),
}

/// How a run is over, as `outcome.json` says it. A run without that file is under way, or was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stop {
    /// All steps are done, every weight is finite, and every hook that was due spoke.
    Complete,
    /// All steps are done, but a hook that was due did not speak.
    Incomplete,
    /// Ctrl-C; it can be resumed.
    Interrupted,
    /// A hook asked for it.
    Requested,
    /// An error that would come again.
    Failed,
}

impl Stop {
    /// As in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Incomplete => "incomplete",
            Self::Interrupted => "interrupted",
            Self::Requested => "requested",
            Self::Failed => "failed",
        }
    }
}

/// The name of the file.
pub const OUTCOME: &str = "outcome.json";

/// What `outcome.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// How.
    pub stop: Stop,
    /// Why, where it is not complete.
    #[serde(default)]
    pub reason: Option<String>,
    /// Steps done.
    pub steps: u64,
    /// `milestones.jsonl` as the run left it; None in runs of older versions.
    #[serde(default)]
    pub milestones: Option<End>,
    /// Failures of hooks, also those before a resume.
    #[serde(default)]
    pub hooks: Vec<HookFailure>,
}

impl Ended {
    /// Reads what the outcome of a run says; None when there is none.
    ///
    /// # Errors
    /// When the file cannot be read or is not an outcome.
    pub fn read(run: &Path) -> Result<Option<Self>, RunError> {
        let path = run.join(OUTCOME);
        let unusable = |message: String| RunError::Checkpoint {
            path: path.clone(),
            message,
        };
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| unusable(format!("not an outcome: {error}"))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unusable(error.to_string())),
        }
    }

    /// The text of the file.
    pub fn bytes(&self) -> Vec<u8> {
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        format!("{text}\n").into_bytes()
    }
}

/// A failure of a hook, which the run survived.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HookFailure {
    /// The hook's instance name.
    pub name: String,
    /// The step of the milestone.
    pub step: u64,
    /// What it said.
    pub message: String,
}

/// What a hook cost.
#[derive(Debug, Clone)]
pub struct HookTime {
    /// The hook's instance name.
    pub name: String,
    /// How often it was called.
    pub calls: u64,
    /// Wall time of all calls together.
    pub total: Duration,
    /// Most steps that training was ahead when a result arrived.
    pub longest_lag: u64,
    /// Whether it ran beside the training.
    pub background: bool,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Why it is over.
    pub stop: StopReason,
    /// Where the run stands.
    pub clock: Clock,
    /// First and last value of every tag.
    pub spans: HashMap<String, Span>,
    /// Failures of hooks.
    pub failures: Vec<HookFailure>,
    /// Cost of hooks.
    pub times: Vec<HookTime>,
    /// Where everything lies.
    pub directory: PathBuf,
}
