//! What a model is trained for: the loss of a micro-batch.
//!
//! A new objective is a file here, a variant of [`Objective`] and its arm in [`Objective::loss`].

mod distil;
mod next_token;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

pub use self::distil::{Direction, Distil};
pub use self::next_token::NextToken;
use crate::model::{Network, Role, TrainingPass};

/// What one model is trained for: `[train.objective.main]` or `[train.objective.assistant]` of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Objective {
    /// The next token of the text.
    Text(NextToken),
    /// The next token where that is a token of an answer. Prompts are read, and not learned.
    Answers(NextToken),
    /// The other model's distribution over the next token.
    Distil(Distil),
}

impl Default for Objective {
    fn default() -> Self {
        Self::Text(NextToken {})
    }
}

impl Objective {
    /// Whether predictions of tokens in prompts weigh nothing.
    pub fn is_of_answers(&self) -> bool {
        match self {
            Self::Text(_) => false,
            Self::Answers(_) => true,
            Self::Distil(distil) => distil.answers,
        }
    }

    /// The loss of `model` over blocks of equal length, `rows` `[batch][time]`: the sum over all `batch * (time - 1)` predictions, in nats.
    ///
    /// With `weights`, one for each prediction row by row, each is multiplied by its weight. `other` is the other model of the pair as it
    /// stands. It gets no gradient. `training` is the pass of `model`.
    pub(super) fn loss(
        &self,
        model: &Network,
        other: &Network,
        rows: &[&[u32]],
        weights: Option<&[f32]>,
        training: &mut TrainingPass,
    ) -> Tensor<1> {
        match self {
            Self::Text(next) | Self::Answers(next) => next.loss(model, rows, weights, training),
            Self::Distil(distil) => distil.loss(model, other, rows, weights, Some(training)),
        }
    }
}

/// The objective of each model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Objectives {
    /// The main model's.
    pub main: Objective,
    /// The assistant's.
    pub assistant: Objective,
}

impl Objectives {
    /// The objective of one of the two models.
    pub fn get(&self, role: Role) -> Objective {
        match role {
            Role::Main => self.main,
            Role::Assistant => self.assistant,
        }
    }

    /// The models that are trained for answers.
    pub fn of_answers(&self) -> Vec<Role> {
        let roles = Role::BOTH.into_iter();
        roles
            .filter(|role| self.get(*role).is_of_answers())
            .collect()
    }
}
