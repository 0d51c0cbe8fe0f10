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
    #[serde(deserialize_with = "at_least_one")]
    pub max_new_tokens: usize,
    /// Tokens drafted a round (at the start, with the heuristic schedule), k; 0, which no experiment can name, is plain decoding by the main
    /// model.
    #[serde(deserialize_with = "at_least_one")]
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

/// A setting that does not fit the prompts and the models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The key.
    pub key: &'static str,
    /// What is wrong.
    pub message: String,
}

impl Settings {
    /// Whether prompts of up to `longest` tokens can be continued by models that have so many `positions`.
    ///
    /// # Errors
    /// The first key that does not fit.
    pub fn fit(&self, longest: usize, positions: usize) -> Result<(), Misfit> {
        let new = self.max_new_tokens;
        // The last new token is not read.
        if longest.saturating_add(new) > positions + 1 {
            return Err(Misfit {
                key: "max_new_tokens",
                message: format!(
                    "{new} new tokens after the longest prompt of {longest} exceed the {positions} positions of the models"
                ),
            });
        }
        if self.draft_length > positions {
            return Err(Misfit {
                key: "draft_length",
                message: format!(
                    "a draft of {} tokens exceeds the {positions} positions of the models",
                    self.draft_length
                ),
            });
        }
        Ok(())
    }
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let value = usize::deserialize(deserializer)?;
    if value == 0 {
        return Err(serde::de::Error::custom("must be at least 1"));
    }
    Ok(value)
}

fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err(serde::de::Error::custom("must be a share from 0 to 1"))
    }
}
