//! The settings of decoding: an experiment's `[decode]`.

use serde::{Deserialize, Deserializer, Serialize};

use super::Sampling;

/// How the draft length changes from round to round. Each prompt starts at the initial length, so that no result depends on the order of
/// the prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// It stays the same.
    #[default]
    Constant,
    /// It grows by 2 after a round in which the whole draft was accepted. Otherwise it shrinks by 1, but not below 1.
    Heuristic,
}

impl Schedule {
    /// The next draft length, after a round in which `matched` drafted tokens were accepted.
    pub(super) fn next(self, draft_length: usize, matched: usize) -> usize {
        match self {
            Self::Constant => draft_length,
            Self::Heuristic if matched == draft_length => draft_length + 2,
            Self::Heuristic => draft_length.saturating_sub(1).max(1),
        }
    }
}

/// How much of a draft is written. The tokens and `n_matches` are the same either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Drafting {
    /// All of it, as transformers does.
    #[default]
    Whole,
    /// About as much as the main model accepts: it checks a draft while it is written, and what would follow the first rejected token is
    /// never written. How many tokens a whole draft would have had is then not known.
    Lazy,
}

/// How to decode.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Longest continuation, in tokens.
    #[serde(deserialize_with = "at_least_one")]
    pub max_new_tokens: usize,
    /// Tokens drafted per round (k); with the heuristic schedule, in the first round. 0 is plain decoding by the main model, which no
    /// experiment can ask for.
    #[serde(deserialize_with = "at_least_one")]
    pub draft_length: usize,
    /// How the draft length changes.
    pub schedule: Schedule,
    /// A draft ends after a token to which the assistant gives less than this probability, like transformers'
    /// `assistant_confidence_threshold`. 0 never ends a draft.
    #[serde(deserialize_with = "share")]
    pub confidence_threshold: f64,
    /// How much of a draft is written.
    #[serde(skip_serializing_if = "is_whole")]
    pub drafting: Drafting,
    /// How tokens are drawn. None is greedy decoding.
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
            drafting: Drafting::Whole,
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
    /// Checks that prompts of up to `longest` tokens can be continued by models with `positions` positions.
    ///
    /// # Errors
    /// The first key that does not fit.
    pub fn fit(&self, longest: usize, positions: usize) -> Result<(), Misfit> {
        let new = self.max_new_tokens;
        // The models never read the last new token.
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
        // The draws of a prompt would depend on when its draft is checked, and so on the other prompts.
        if self.drafting == Drafting::Lazy && self.sampling.is_some() {
            return Err(Misfit {
                key: "drafting",
                message: "lazy drafts need greedy decoding: remove `sampling`, or write \"whole\""
                    .to_owned(),
            });
        }
        Ok(())
    }
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_whole(drafting: &Drafting) -> bool {
    *drafting == Drafting::Whole
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
