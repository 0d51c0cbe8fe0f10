//! The loop: both models in lockstep on the same batches, events on the way, hooks at their milestones, everything recorded.

mod charts;
mod dispatcher;
mod learner;
mod learners;
mod listener;
mod measuring;
mod outcome;
mod plan;
mod recorder;
mod replay;
mod reporter;
mod resume;
mod run;
mod saver;
mod schedule;
mod worker;

pub use learner::{Learner, WeightDecay};
pub use measuring::{Measured, measure};
pub use outcome::{HookTime, Outcome, RunError, StopReason};
pub use plan::{Best, HookSpec, OnError, Plan, Training};
pub use replay::{Point, points, replay};
pub use reporter::{Reporter, Silent};
pub use run::{Begin, finetune};
pub use schedule::{Decay, Schedule};
pub(crate) use worker::caught;
pub use worker::in_hook;
