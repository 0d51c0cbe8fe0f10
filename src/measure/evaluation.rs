//! Passes of the models over text: the held-out loss and the divergences at the templates.

use burn::tensor::Tensor;

use super::divergence::Divergence;
use super::positions::{Text, divergences_along, each_batch};
use crate::data::blocks::Blocks;
use crate::model::{Network, Pair, next_token_loss};
use crate::readback::all_values;

/// Mean next-token loss of `model` over all blocks, in nats a token: the sum over all predictions divided by their number, so that
/// the batch size does not matter. `go_on` is asked before each batch.
///
/// # Errors
/// Those of `go_on`.
pub fn mean_loss(
    model: &Network,
    blocks: &Blocks,
    batch: usize,
    go_on: &dyn Fn() -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    anyhow::ensure!(
        !blocks.is_empty(),
        "there is no held-out text here to evaluate on"
    );
    let (mut sums, mut count) = (Vec::new(), 0);
    for first in (0..blocks.len()).step_by(batch) {
        go_on()?;
        let last = (first + batch).min(blocks.len());
        let rows: Vec<&[u32]> = (first..last).map(|index| blocks.get(index)).collect();
        let (loss, predictions) = summed_loss(model, &rows);
        sums.push(loss);
        count += predictions;
    }
    Ok(total(&all_values(sums)) / count as f64)
}

/// The next-token losses of `model` over rows of token ids, `[row][time]`: their sum in nats, where the model is, and their number.
pub(crate) fn summed_loss(model: &Network, rows: &[&[u32]]) -> (Tensor<1>, usize) {
    // In the thread pool itself, as in decoding.
    rayon::scope(|_| next_token_loss(model, rows, None))
}

/// The sum of the losses of batches.
pub(crate) fn total(losses: &[f32]) -> f64 {
    losses.iter().fold(0.0, |sum, loss| sum + f64::from(*loss))
}

/// The divergence between main model and assistant at the last position of every prompt, in the prompts' order.
///
/// # Errors
/// Those of `go_on`, and when logits are not finite.
pub fn template_divergences(
    pair: &Pair,
    prompts: &[Vec<u32>],
    go_on: &dyn Fn() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Divergence>> {
    let found = divergences_along(pair, &last_positions(prompts), go_on)?;
    Ok(found.into_iter().flatten().collect())
}

fn last_positions(prompts: &[Vec<u32>]) -> Vec<Text<'_>> {
    let texts = prompts.iter().map(|prompt| Text {
        tokens: prompt,
        from: prompt.len().saturating_sub(1),
    });
    texts.collect()
}

/// Takes a prompt's index and both models' logits `[vocab]` at its last position, main model first.
pub type TakeLogits<'a> = dyn FnMut(usize, &[f32], &[f32]) -> anyhow::Result<()> + 'a;

/// Hands the logits `[vocab]` of both models at the last position of every prompt to `take`, with the prompt's index; not in the
/// prompts' order. No more than a batch of logits is ever held. `go_on` is asked before each batch.
///
/// # Errors
/// Those of `go_on` and of `take`.
pub fn each_prompt(
    pair: &Pair,
    prompts: &[Vec<u32>],
    go_on: &dyn Fn() -> anyhow::Result<()>,
    take: &mut TakeLogits,
) -> anyhow::Result<()> {
    let texts = last_positions(prompts);
    each_position(pair, &texts, go_on, &mut |(prompt, _), p, q| {
        take(prompt, p, q)
    })
}

/// Takes a text's index with a position in it, and both models' logits `[vocab]` there, main model first.
pub type TakePosition<'a> = dyn FnMut((usize, usize), &[f32], &[f32]) -> anyhow::Result<()> + 'a;

/// As [`each_prompt`], for every compared position of every text; not in their order.
///
/// # Errors
/// Those of `go_on` and of `take`.
pub fn each_position(
    pair: &Pair,
    texts: &[Text],
    go_on: &dyn Fn() -> anyhow::Result<()>,
    take: &mut TakePosition,
) -> anyhow::Result<()> {
    let vocab = pair.main.config().vocab_size;
    each_batch(pair, texts, go_on, &mut |places, main, assistant| {
        let rows = main.chunks_exact(vocab).zip(assistant.chunks_exact(vocab));
        for (places, (p, q)) in places.iter().zip(rows) {
            for &place in places {
                take(place, p, q)?;
            }
        }
        Ok(())
    })
}
