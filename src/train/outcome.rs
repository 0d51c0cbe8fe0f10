//! How a run ends: its outcome, or the error that ended it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use super::recorder::{RecordError, Span};
use crate::clock::Clock;
use crate::model::{Role, WeightsError};

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A loss or gradient is NaN or infinite.
    #[error(
        "the {what} of the {role} model is {value} at step {step} (learning rate {rate:e}); the weights before this step are saved in {saved}: lower `train.lr`, or clip with `train.clip`"
    )]
    NotFinite {
        /// `loss` or `gradient norm`.
        what: &'static str,
        /// Which model.
        role: Role,
        /// The value.
        value: f64,
        /// The step that was not done.
        step: u64,
        /// Its learning rate.
        rate: f64,
        /// Where the last good state lies.
        saved: String,
    },
    /// The run's files could not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Models could not be read or written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A checkpoint could not be read or written.
    #[error("checkpoint {path}: {message}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
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
    /// No thread for background hooks.
    #[error("cannot start the thread of background hooks: {0}")]
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

impl StopReason {
    /// What `outcome.json` says: that the run is over, why, and after how many steps. A run without that file is under way or was killed.
    pub(super) fn described(&self, clock: &Clock) -> Vec<u8> {
        let (stop, reason) = match self {
            Self::Complete => ("complete", None),
            Self::Interrupted => ("interrupted", None),
            Self::Requested(reason) => ("requested", Some(reason)),
        };
        let outcome = serde_json::json!({ "stop": stop, "reason": reason, "steps": clock.step });
        format!("{outcome}\n").into_bytes()
    }
}

/// A failure of a hook, which the run survived.
#[derive(Debug, Clone, PartialEq, Eq)]
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
