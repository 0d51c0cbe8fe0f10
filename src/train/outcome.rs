//! How a run ends: its outcome, or the error that ended it.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::clock::Clock;
use crate::data::tokenizer::TokenizerError;
use crate::device::{DeviceFailed, OutOfMemory};
use crate::hook::Cost;
use crate::intervention::Done;
use crate::model::{Role, WeightsError};
use crate::record::progress::Span;
use crate::record::{HookFailure, RecordError, Unusable};
use crate::tensorboard::TensorboardError;
use crate::thread::NoThread;

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
        /// What was saved, in words.
        saved: String,
    },
    /// The device has no more memory.
    #[error(
        "{0} in step {1}: lower `train.batch` (with as much more `train.accumulation` the steps stay what they are) or `train.block`, or take smaller models; --resume goes on from the last checkpoint"
    )]
    OutOfMemory(OutOfMemory, u64),
    /// The device failed.
    #[error("in step {1}: {0}, and --resume goes on from the last checkpoint")]
    DeviceFailed(DeviceFailed, u64),
    /// The run's files could not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The TensorBoard file could not be written.
    #[error(transparent)]
    Tensorboard(#[from] TensorboardError),
    /// Models could not be read or written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The tokenizer could not be written.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A checkpoint, or a file that it refers to, cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] Unusable),
    /// The run has checkpoints, but none can be used.
    #[error(
        "no checkpoint of this run can be used; the newest: {0}; begin the run anew under another name"
    )]
    NoCheckpoint(Box<RunError>),
    /// A run cannot be extended, because it already has as many steps or has saved nothing.
    #[error(
        "the newest checkpoint of this run is of step {done}, the run is to have {steps}: there is nothing to go on with; give a larger `train.max_steps`, or begin a new run where nothing was saved (step 0)"
    )]
    NothingToExtend {
        /// The step of the newest checkpoint; 0 when nothing was saved.
        done: u64,
        /// Steps that the run would have.
        steps: u64,
    },
    /// An evaluation was due, and there is no held-out text.
    #[error("there is no held-out text to evaluate on")]
    NoHeldOutText,
    /// An evaluation was due on answers, and the held-out text has none.
    #[error("the held-out text has no token of an answer to evaluate the {0} model on")]
    NoHeldOutAnswers(Role),
    /// A hook ended the run.
    #[error("hook `{name}`: {message}")]
    Hook {
        /// Its name.
        name: String,
        /// What happened.
        message: String,
    },
    /// An intervention erred. Training without it would be another run.
    #[error(
        "intervention `{name}`: {message}; correct it and resume the run, or take it out and begin another"
    )]
    Intervention {
        /// Its name.
        name: String,
        /// What happened.
        message: String,
    },
    /// The thread of background hooks has ended unexpectedly.
    #[error(
        "the thread of background hooks has died; resume the run, its last checkpoint is whole"
    )]
    DeadWorker,
    /// The thread that saves checkpoints has ended unexpectedly.
    #[error(
        "the thread that saves checkpoints has died; resume the run, its last checkpoint is whole"
    )]
    DeadSaver,
    /// The thread for background hooks cannot be started.
    #[error(transparent)]
    NoThread(#[from] NoThread),
}

/// Why a run ended without an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// All steps are done.
    Complete,
    /// It was interrupted, by Ctrl-C or what is here instead. A resume goes on with it.
    Interrupted(String),
    /// A hook or an intervention asked for it, for this reason.
    Requested(String),
}

/// What a hook cost.
#[derive(Debug, Clone)]
pub struct HookTime {
    /// The hook's instance name.
    pub name: String,
    /// The number of calls.
    pub calls: u64,
    /// What all calls cost together.
    pub cost: Cost,
    /// The most steps that training was ahead when a result arrived.
    pub longest_lag: u64,
    /// Whether it ran beside the training.
    pub background: bool,
    /// The step of the call in which it ended its calls.
    pub detached: Option<u64>,
}

/// The result of a run that ended without an error.
#[derive(Debug)]
pub struct Outcome {
    /// Why it is over.
    pub stop: StopReason,
    /// The clock at the end.
    pub clock: Clock,
    /// The first and last value of every tag.
    pub spans: HashMap<String, Span>,
    /// What interventions have done.
    pub interventions: Vec<Done>,
    /// Failures of hooks.
    pub failures: Vec<HookFailure>,
    /// What each hook cost.
    pub times: Vec<HookTime>,
    /// Where hooks took more of the run's time than they should, in words.
    pub excesses: Vec<String>,
    /// The run's directory.
    pub directory: PathBuf,
}
