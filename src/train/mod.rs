//! The training loop: it trains both models in lockstep on the same batches, emits events, calls hooks at their milestones, and records
//! everything.

mod adamw;
mod charts;
mod costed;
mod dispatcher;
mod gate;
mod held;
mod interveners;
mod learner;
mod learners;
mod listener;
mod loop_tags;
mod loss_scale;
mod measuring;
mod objective;
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

pub use adamw::{AdamW, WeightDecay};
pub use held::{Held, Next};
pub use learner::Learner;
pub use loop_tags::loop_tags;
pub use loss_scale::LossScale;
pub use measuring::{Called, Measured, measure};
pub use objective::{Direction, Distil, NextToken, Objective, Objectives};
pub use outcome::{HookTime, Outcome, RunError, StopReason};
pub use plan::{Best, HookSpec, InterventionSpec, OnError, Plan, Training};
pub use replay::{Point, points, replay};
pub use reporter::{Reporter, Silent};
pub use run::{Begin, finetune};
pub use schedule::{Decay, Schedule};
pub(crate) use worker::caught;
