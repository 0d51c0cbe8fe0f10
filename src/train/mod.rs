//! The loop: both models in lockstep on the same batches, events on the way, hooks at their milestones, everything recorded.

mod charts;
#[path = "../record/checkpoint.rs"]
mod checkpoint;
mod dispatcher;
mod learner;
mod learners;
#[path = "../record/milestones.rs"]
mod lines;
mod listener;
mod measuring;
mod outcome;
mod plan;
#[path = "../record/progress.rs"]
mod progress;
mod recorder;
mod replay;
mod reporter;
mod resume;
mod run;
#[path = "../record/folder.rs"]
mod run_directory;
mod saver;
mod schedule;
mod worker;

pub use checkpoint::newest_checkpoint;
pub use learner::{Learner, WeightDecay};
pub use lines::MILESTONES;
pub use measuring::{Measured, measure};
pub use outcome::{Ended, HookFailure, HookTime, OUTCOME, Outcome, RunError, Stop, StopReason};
pub use plan::{Best, HookSpec, OnError, Plan, Training};
pub use recorder::{ColumnFile, RecordError, Recorder, Span};
pub use replay::{Point, points, replay};
pub use reporter::{Reporter, Silent};
pub use run::{Begin, finetune};
pub use run_directory::{RunDirectory, lock};
pub use schedule::{Decay, Schedule};
pub(crate) use worker::caught;
pub use worker::in_hook;
