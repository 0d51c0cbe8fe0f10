//! The cross-entropy of the next token, where that is a token of an answer. Prompts are read, and not learned.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::model::{Network, TrainingPass, weighted_loss};

/// `kind = "answers"`
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answers {}

impl Answers {
    /// The sum over the predictions of `rows` `[batch][time]`, in nats, each times its weight. The weights of predictions of tokens in prompts are 0, which
    /// is what transformers does with a label of -100. The loss of a step is then a mean over the tokens of answers in it.
    pub(super) fn loss(
        self,
        model: &Network,
        rows: &[&[u32]],
        weights: Option<&[f32]>,
        training: &mut TrainingPass,
    ) -> Tensor<1> {
        weighted_loss(model, rows, weights, Some(training))
    }
}
