//! The next-token cross-entropy: its sum over a batch of blocks, and token by token.

use burn::tensor::Tensor;

use super::batches::batches;
use super::layers::{cross_entropy, token_tensor};
use super::{Network, Precision, TrainingPass};
use crate::device::room::{allocate, in_parts};
use crate::thread::in_pool;

/// Sum over a batch of the next-token cross-entropy in nats, and the number of predictions it is the sum of.
///
/// `rows` are blocks of equal length `time` of at least 2; position t predicts token t + 1, so a block gives `time - 1` predictions,
/// as `GPT2LMHeadModel` shifts its labels. The sum (and not the mean) is given back because micro-batches of unequal size must be
/// weighted by their tokens.
pub fn next_token_loss(
    model: &Network,
    rows: &[&[u32]],
    training: Option<&mut TrainingPass>,
) -> (Tensor<1>, usize) {
    let predictions = rows.iter().map(|row| row.len() - 1).sum();
    (weighted_loss(model, rows, None, training), predictions)
}

/// As [`next_token_loss`], with each prediction's cross-entropy times its weight: `weights` are those of all predictions, row by row.
pub(crate) fn weighted_loss(
    model: &Network,
    rows: &[&[u32]],
    weights: Option<&[f32]>,
    training: Option<&mut TrainingPass>,
) -> Tensor<1> {
    let precision = Precision::of(&training);
    let device = model.device();
    let inputs: Vec<&[u32]> = rows.iter().map(|row| &row[..row.len() - 1]).collect();
    let targets = rows.iter().flat_map(|row| row[1..].iter().copied());
    let hidden = model.hidden(token_tensor(&inputs, &device), training);
    let [batch, time, width] = hidden.dims();
    let hidden = hidden.reshape([batch * time, width]);
    let targets = targets.collect();
    cross_entropy(hidden, model.head_table(), targets, weights, precision)
}

impl Network {
    /// The next-token cross-entropy of each token of each row but its first, in nats, without dropout: `[rows][time - 1]`. Rows may have any
    /// lengths. A loss is not finite where the logits are not. The logits of all tokens are never in memory together.
    ///
    /// # Errors
    /// When a row is empty, is longer than the model's positions, or has a token that is not in the vocabulary; when the device has no memory
    /// for one row.
    pub fn token_losses(&self, rows: &[&[u32]]) -> anyhow::Result<Vec<Vec<f32>>> {
        let mut found = vec![Vec::new(); rows.len()];
        for batch in batches(rows, self.config())? {
            let time = rows[batch[0]].len() - 1;
            if time == 0 {
                continue;
            }
            in_parts(
                &batch,
                &mut |part| {
                    allocate(part.len());
                    let inputs: Vec<&[u32]> = part.iter().map(|&row| &rows[row][..time]).collect();
                    let target = |index: usize| rows[part[index / time]][index % time + 1];
                    Ok::<_, anyhow::Error>(in_pool(|| {
                        let hidden = self.hidden(token_tensor(&inputs, &self.device()), None);
                        self.losses_of(hidden, target)
                    }))
                },
                &mut |part, losses| {
                    for (&row, losses) in part.iter().zip(losses.chunks_exact(time)) {
                        found[row] = losses.to_vec();
                    }
                    Ok(())
                },
            )?;
        }
        Ok(found)
    }

    /// As [`Network::token_losses`], of rows of one length in one pass, in training if that is given: `[rows][time - 1]`. The head has single
    /// precision.
    pub(crate) fn pass_losses(
        &self,
        rows: &[&[u32]],
        training: Option<&mut TrainingPass>,
    ) -> Vec<Vec<f32>> {
        let inputs: Vec<&[u32]> = rows.iter().map(|row| &row[..row.len() - 1]).collect();
        let time = inputs.first().map_or(1, |row| row.len().max(1));
        let losses = in_pool(|| {
            let hidden = self.hidden(token_tensor(&inputs, &self.device()), training);
            self.losses_of(hidden, |index| rows[index / time][index % time + 1])
        });
        losses.chunks_exact(time).map(<[f32]>::to_vec).collect()
    }

    /// The cross-entropy after each hidden state `[batch, time, width]`, row by row, given the token that follows.
    fn losses_of(&self, hidden: Tensor<3>, target: impl Fn(usize) -> u32) -> Vec<f32> {
        let [batch, time, width] = hidden.dims();
        let hidden = hidden.reshape([batch * time, width]);
        let wanted: Vec<(usize, u32)> = (0..batch * time).map(|row| (row, target(row))).collect();
        let found = self.normalised(hidden, &wanted).into_iter();
        found
            .map(|[normaliser, logit]| (normaliser - logit) as f32)
            .collect()
    }
}

/// The logarithm of the sum of the exponentials of a row of logits, in double precision.
pub(crate) fn log_sum_exp(row: &[f32]) -> f64 {
    let highest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let exps = row.iter().map(|&logit| (f64::from(logit) - highest).exp());
    highest + exps.sum::<f64>().ln()
}
