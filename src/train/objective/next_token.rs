//! The usual objective of causal language models: the cross-entropy of the next token.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::model::{Network, TrainingPass, weighted_loss};

/// `kind = "text"` and `kind = "answers"`. They differ in the weights of predictions alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextToken {}

impl NextToken {
    /// The sum over all predictions of `rows` `[batch][time]`, in nats, each times its weight where there are weights. A weight of 0 is what
    /// transformers makes of a label of -100.
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
