//! How to decode, as it stands in an experiment's `[decode]`.

use serde::{Deserialize, Deserializer, Serialize};

use super::Sampling;

/// How the draft length moves from round to round; every prompt starts afresh, so that no result depends on the order of the prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Always the same.
    #[default]
    Constant,
    /// Two more after a round in which all k drafts were accepted, else one less, at least 1.
    Heuristic,
}

impl Schedule {
    /// The draft length after a round with `matched` accepted drafts.
    pub(super) fn next(self, draft_length: usize, matched: usize) -> usize {
        match self {
            Self::Constant => draft_length,
            Self::Heuristic if matched == draft_length => draft_length + 2,
            Self::Heuristic => draft_length.saturating_sub(1).max(1),
        }
    }
}

/// How to decode.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Longest continuation, in tokens.
    pub max_new_tokens: usize,
    /// Tokens drafted a round (at the start, with the heuristic schedule), k; 0 is plain decoding by the main model.
    pub draft_length: usize,
    /// How the draft length moves.
    pub schedule: Schedule,
    /// A draft ends behind a token that the assistant gives less than this probability, as transformers'
    /// `assistant_confidence_threshold` has it; 0 never ends one.
    #[serde(deserialize_with = "share")]
    pub confidence_threshold: f64,
    /// Tokens are drawn rather than chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_new_tokens: 20,
            draft_length: 5,
            schedule: Schedule::Constant,
            confidence_threshold: 0.0,
            sampling: None,
        }
    }
}

fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    match (0.0..=1.0).contains(&value) {
        true => Ok(value),
        false => Err(serde::de::Error::custom("must be a share from 0 to 1")),
    }
}
