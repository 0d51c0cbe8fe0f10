//! The usual objective of causal language models: the cross-entropy of the next token, over the whole text.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::model::{Dropout, Network, next_token_loss};

/// `kind = "text"`
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {}

impl Text {
    /// The sum over all predictions of `rows` `[batch][time]`, in nats.
    pub(super) fn loss(self, model: &Network, rows: &[&[u32]], dropout: &mut Dropout) -> Tensor<1> {
        next_token_loss(model, rows, Some(dropout)).0
    }
}
