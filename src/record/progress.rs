//! `state.json` of a checkpoint: the whole state of a run between two steps, apart from weights and optimisers. What follows in a run depends on nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::outcome::HookFailure;
use crate::checksum::End;
use crate::clock::Clock;
use crate::hook::{Evaluation, Request};
use crate::model::Role;

/// The form of a checkpoint's state. A program reads its own form only.
pub const FORM: u32 = 3;

/// What a checkpoint keeps and a resume takes back. Data order, dropout and the randomness of hooks are functions of the seed and the clock, so no
/// generator is among it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Progress {
    /// [`FORM`].
    pub form: u32,
    /// Where the run stands. The place in the data follows from the step, and so does the epoch.
    pub clock: Clock,
    /// Mean training loss of the last step, in nats a token.
    pub losses: BTreeMap<Role, f64>,
    /// The last evaluation with its step.
    pub evaluated: Option<Evaluated>,
    /// Whether a hook asked for an evaluation at the end of the next step.
    pub evaluate_next: bool,
    /// Why a hook asked the run to end after this step.
    pub stopping: Option<String>,
    /// What hooks asked for and nobody has answered yet.
    pub requests: Vec<Request>,
    /// When the loop's own cadences of wall time were last looked at.
    pub looked: Looked,
    /// The checkpoint with the best value of `train.keep_best`, and that value.
    pub best: Option<(u64, f64)>,
    /// The state of each hook by its name.
    pub hooks: BTreeMap<String, HookState>,
    /// How far the recorded files go.
    pub recorded: Recorded,
}

/// A tag's first and last value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Step and value of the first report.
    #[serde(deserialize_with = "point")]
    pub first: (u64, f64),
    /// Step and value of the last.
    #[serde(deserialize_with = "point")]
    pub last: (u64, f64),
}

/// JSON has no number that is not finite; such a value is written as null.
fn point<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(u64, f64), D::Error> {
    let (step, value): (u64, Option<f64>) = Deserialize::deserialize(deserializer)?;
    Ok((step, value.unwrap_or(f64::NAN)))
}

/// An evaluation with the step after which it was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Evaluated {
    /// The step.
    pub step: u64,
    /// The evaluation.
    pub evaluation: Evaluation,
}

/// The run's elapsed time when a cadence was last looked at: what has become due since is due at the next look.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Looked {
    /// `train.evaluate`.
    pub evaluate: Duration,
    /// `train.save`.
    pub save: Duration,
}

/// How far each file goes that a run appends to, and what is known of what stands in them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Recorded {
    /// `milestones.jsonl`.
    pub lines: End,
    /// TensorBoard's event file.
    pub events: End,
    /// First and last value of every tag.
    pub spans: BTreeMap<String, Span>,
    /// The last step at which each hook wrote a file with values per template.
    pub columns: BTreeMap<String, u64>,
}

/// What a checkpoint keeps of a hook.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HookState {
    /// The x axis value of its last call.
    pub last_fired: Option<u64>,
    /// The run's elapsed time when its cadence was last looked at.
    pub looked: Duration,
    /// Whether it is switched off.
    pub disabled: bool,
    /// What its `state` gave.
    pub state: Value,
    /// Calls so far.
    pub calls: u64,
    /// What all its calls have cost.
    pub total: Duration,
    /// What its last call has cost.
    pub last: Duration,
    /// Most steps that training was ahead when a result arrived.
    pub longest_lag: u64,
    /// Its failures so far.
    pub failures: Vec<HookFailure>,
}
