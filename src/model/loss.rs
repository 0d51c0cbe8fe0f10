//! The next-token cross-entropy of a batch of blocks.

use burn::tensor::Tensor;

use super::layers::token_tensor;
use super::{Dropout, Network};

/// Sum over a batch of the next-token cross-entropy in nats, and the number of predictions it is the sum of.
///
/// `rows` are blocks of equal length `time` of at least 2; position t predicts token t + 1, so a block gives `time - 1` predictions,
/// as `GPT2LMHeadModel` shifts its labels. The sum (and not the mean) is given back because micro-batches of unequal size must be
/// weighted by their tokens.
///
/// Computed as `logsumexp(logits) - logit of the target`. The target's logit is a dot product with the target's row of the head,
/// which spares a gather over `[tokens, vocab]` in the backward pass.
pub fn next_token_loss(
    model: &Network,
    rows: &[&[u32]],
    dropout: Option<&mut Dropout>,
) -> (Tensor<1>, usize) {
    let device = model.device();
    let inputs: Vec<&[u32]> = rows.iter().map(|row| &row[..row.len() - 1]).collect();
    let targets: Vec<&[u32]> = rows.iter().map(|row| &row[1..]).collect();
    let hidden = model.hidden(token_tensor(&inputs, &device), dropout);
    let [batch, time, width] = hidden.dims();
    let count = batch * time;
    let hidden = hidden.reshape([count, width]);
    let target_rows =
        (model.head_table()).select(0, token_tensor(&targets, &device).reshape([count]));
    let target_logits = (hidden.clone() * target_rows).sum();
    let normalisers = log_sum_exp(model.head(hidden)).sum();
    (normalisers - target_logits, count)
}

/// `ln sum exp` of each row of `[rows, columns]`, shifted by the row's maximum so that it cannot overflow: `[rows, 1]`.
fn log_sum_exp(logits: Tensor<2>) -> Tensor<2> {
    let maximum = logits.clone().detach().max_dim(1);
    (logits - maximum.clone()).exp().sum_dim(1).log() + maximum
}
