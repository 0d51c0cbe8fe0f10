//! `state.json` of a checkpoint: the whole state of a run between two steps, apart from weights and optimisers. The rest of the run depends
//! on nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::outcome::HookFailure;
use crate::checksum::End;
use crate::clock::Clock;
use crate::condition::Memory;
use crate::hook::{Cost, Evaluation, Request, Values};
use crate::intervention::InForce;
use crate::model::Role;

/// The version of the state's form. A program reads only its own.
pub const FORM: u32 = 5;

/// The state that a checkpoint saves and a resume restores. Data order, dropout and the randomness of hooks are functions of the seed and
/// the clock, so it contains no generators.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Progress {
    /// The version, [`FORM`].
    pub form: u32,
    /// How far the run has come. The place in the data and the epoch follow from the step.
    pub clock: Clock,
    /// Whether all of the run's beginning, before the first step, is done.
    #[serde(default)]
    pub begun: bool,
    /// The mean training loss of the last step, in nats per token.
    pub losses: BTreeMap<Role, f64>,
    /// The last evaluation with its step.
    pub evaluated: Option<Evaluated>,
    /// The batches of held-out text that were read so far.
    #[serde(default)]
    pub evaluation_batches: u64,
    /// Whether a hook asked for an evaluation at the end of the next step.
    pub evaluate_next: bool,
    /// Why a hook asked the run to end after this step.
    pub stopping: Option<String>,
    /// Requests of hooks that are not answered yet.
    pub requests: Vec<Request>,
    /// When the loop's own cadences of wall time were last checked.
    pub looked: Looked,
    /// The step of the newest checkpoint that belongs to the run itself: interventions go back to it. One that was saved because the run was
    /// interrupted or held is none, so that they go back to the same one whether it was or not.
    #[serde(default)]
    pub own_checkpoint: Option<u64>,
    /// The checkpoint with the best value of `train.keep_best`, and that value.
    pub best: Option<(u64, f64)>,
    /// The state of each hook by its name.
    pub hooks: BTreeMap<String, HookState>,
    /// What interventions have changed.
    #[serde(default, skip_serializing_if = "InForce::is_empty")]
    pub in_force: InForce,
    /// The state of each intervention by its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub interventions: BTreeMap<String, InterventionState>,
    /// The last values of the tags that conditions may use.
    #[serde(default)]
    pub values: Values,
    /// The lengths and checksums of the recorded files.
    pub recorded: Recorded,
}

/// The first and the last value of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// The step and value of the first report.
    #[serde(deserialize_with = "point")]
    pub first: (u64, f64),
    /// The step and value of the last report.
    #[serde(deserialize_with = "point")]
    pub last: (u64, f64),
}

/// Reads a step and its value. JSON has no numbers that are not finite; null stands for one and becomes NaN.
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

/// The run's elapsed time when a cadence was last checked. What became due since then is due at the next check.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Looked {
    /// For `train.evaluate`.
    pub evaluate: Duration,
    /// For `train.save`.
    pub save: Duration,
}

/// The lengths and checksums of the files that a run appends to, and a summary of their content.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Recorded {
    /// The end of `milestones.jsonl`.
    pub lines: End,
    /// The end of TensorBoard's event file.
    pub events: End,
    /// The first and last value of every tag.
    pub spans: BTreeMap<String, Span>,
    /// The last step at which each hook wrote a file of values per prompt.
    pub columns: BTreeMap<String, u64>,
}

/// The state of a hook in a checkpoint.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HookState {
    /// The x axis value of its last call.
    pub last_fired: Option<u64>,
    /// The run's elapsed time when its cadence was last checked.
    pub looked: Duration,
    /// Whether it is switched off.
    pub disabled: bool,
    /// The step of the call in which it ended its calls.
    #[serde(default)]
    pub detached: Option<u64>,
    /// What its condition remembers.
    #[serde(default)]
    pub condition: Memory,
    /// What [`Hook::state`](crate::hook::Hook::state) returned.
    pub state: Value,
    /// The number of calls so far.
    pub calls: u64,
    /// What all its calls cost.
    pub cost: Cost,
    /// The time of its last call.
    pub last: Duration,
    /// The most steps that training was ahead when a result arrived.
    pub longest_lag: u64,
    /// Its failures so far.
    pub failures: Vec<HookFailure>,
}

/// The state of an intervention in a checkpoint.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct InterventionState {
    /// What [`Intervention::state`](crate::intervention::Intervention::state) returned.
    pub state: Value,
    /// Those of its tags that were recorded since its last call.
    pub news: BTreeSet<String>,
    /// The step of its last call.
    pub last_called: Option<u64>,
    /// What its condition remembers.
    pub condition: Memory,
}
