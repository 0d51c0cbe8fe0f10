//! The next-token cross-entropy of a batch of blocks.

use burn::tensor::Tensor;

use super::layers::{cross_entropy, token_tensor};
use super::{Dropout, Network};

/// Sum over a batch of the next-token cross-entropy in nats, and the number of predictions it is the sum of.
///
/// `rows` are blocks of equal length `time` of at least 2; position t predicts token t + 1, so a block gives `time - 1` predictions,
/// as `GPT2LMHeadModel` shifts its labels. The sum (and not the mean) is given back because micro-batches of unequal size must be
/// weighted by their tokens.
pub fn next_token_loss(
    model: &Network,
    rows: &[&[u32]],
    dropout: Option<&mut Dropout>,
) -> (Tensor<1>, usize) {
    let device = model.device();
    let inputs: Vec<&[u32]> = rows.iter().map(|row| &row[..row.len() - 1]).collect();
    let targets = rows.iter().flat_map(|row| row[1..].iter().copied());
    let hidden = model.hidden(token_tensor(&inputs, &device), dropout);
    let [batch, time, width] = hidden.dims();
    let hidden = hidden.reshape([batch * time, width]);
    let loss = cross_entropy(hidden, model.head_table(), targets.collect());
    (loss, batch * time)
}
