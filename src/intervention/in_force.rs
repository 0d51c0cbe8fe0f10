//! What interventions have changed so far. It is part of every checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::clock::Jump;
use crate::model::Role;

/// The changes of the training that are in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InForce {
    /// What the schedule's learning rate is multiplied by in the coming steps.
    pub rate_factor: f64,
    /// What it was multiplied by in the last step.
    pub last_rate_factor: f64,
    /// The names of the parameters that are frozen.
    pub frozen: BTreeMap<Role, BTreeSet<String>>,
    /// The weights of topics; others weigh 1.
    pub weights: BTreeMap<String, f64>,
    /// The data that was passed over.
    pub jumps: Vec<Jump>,
    /// All rollbacks, in their order.
    pub rollbacks: Vec<Rollback>,
    /// What was done, in its order. What a rollback has undone is not there.
    pub done: Vec<Done>,
}

impl Default for InForce {
    fn default() -> Self {
        Self {
            rate_factor: 1.0,
            last_rate_factor: 1.0,
            frozen: BTreeMap::new(),
            weights: BTreeMap::new(),
            jumps: Vec::new(),
            rollbacks: Vec::new(),
            done: Vec::new(),
        }
    }
}

impl InForce {
    /// Whether nothing was ever done.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How often an intervention has acted; a return to a checkpoint counts.
    pub fn actions_of(&self, name: &str) -> usize {
        self.done.iter().filter(|done| done.name == name).count()
    }

    /// How often an intervention has gone back to a checkpoint.
    pub fn rollbacks_of(&self, name: &str) -> usize {
        let all = self.rollbacks.iter();
        all.filter(|one| one.name == name).count()
    }
}

/// A return to a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollback {
    /// The intervention.
    pub name: String,
    /// The step of the checkpoint.
    pub to: u64,
    /// The last step that was undone.
    pub from: u64,
    /// The steps' worth of data that is passed over after it.
    pub over: u64,
    /// What the learning rate is multiplied by after it.
    pub rate_factor: f64,
    /// Why.
    pub reason: String,
}

/// Something that an intervention has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The step after which it was done.
    pub step: u64,
    /// The intervention.
    pub name: String,
    /// What was done, and why.
    pub what: String,
}
