//! The loop: both models in lockstep on the same batches, events on the way, hooks at their milestones, everything recorded.

mod charts;
mod checkpoint;
mod dispatcher;
mod learner;
mod listener;
mod measuring;
mod outcome;
mod plan;
mod recorder;
mod replay;
mod reporter;
mod run;
mod run_directory;
mod schedule;
mod worker;

pub use learner::{Learner, WeightDecay};
pub use measuring::{Measured, measure};
pub use outcome::{HookFailure, HookTime, Outcome, RunError, StopReason};
pub use plan::{HookSpec, OnError, Plan, Training};
pub use recorder::{RecordError, Recorder, Span};
pub use replay::{Point, points, replay};
pub use reporter::{Reporter, Silent};
pub use run::finetune;
pub use run_directory::{RunDirectory, lock};
pub use schedule::{Decay, Schedule};
pub use worker::in_hook;
