//! What a kind's own condition may look at.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Milestone;
use crate::condition::Exact;

/// The last value of every tag that conditions may use: those of the loop and of inline hooks. They do not depend on how fast anything is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Values(BTreeMap<String, Exact>);

impl Values {
    /// Replaces the value of a tag.
    pub(crate) fn see(&mut self, tag: &str, value: f64) {
        match self.0.get_mut(tag) {
            Some(last) => *last = Exact(value),
            None => drop(self.0.insert(tag.to_owned(), Exact(value))),
        }
    }
}

/// A moment at which a hook is due, and what the run has recorded until then. See [`Kind::when`](super::Kind::when).
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    pub(crate) milestone: &'a Milestone,
    pub(crate) values: &'a Values,
}

impl<'a> Seen<'a> {
    /// The moment, its clock and its losses.
    pub fn milestone(&self) -> &'a Milestone {
        self.milestone
    }

    /// The last value of a tag. The loop's tags can be seen (`train/...`, `eval/...`), and those that inline hooks have reported. Tags of
    /// background hooks cannot, because when they arrive depends on the machine. None before the first value.
    pub fn last(&self, tag: &str) -> Option<f64> {
        self.values.0.get(tag).map(|value| value.0)
    }
}

/// A condition in Rust; see [`Kind::when`](super::Kind::when).
pub type Predicate = dyn Fn(&Seen) -> bool + Send + Sync;
