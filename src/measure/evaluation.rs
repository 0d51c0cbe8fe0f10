//! Passes of the models over text: the held-out loss and the divergences at the templates.

use std::ops::Range;

use burn::tensor::Tensor;

use super::divergence::Divergence;
use super::positions::{Text, divergences_along, each_batch};
use crate::data::blocks::Blocks;
use crate::model::{Network, Pair, weighted_loss};
use crate::readback::all_values;
use crate::thread::in_pool;

/// Mean next-token loss of `model` over all blocks, in nats a token: the sum over predictions divided by their number, so that the batch size does
/// not matter. The predictions are all, or with `answers` those of tokens of answers. `go_on` is asked before each batch.
///
/// # Errors
/// Those of `go_on`; when there is no prediction.
pub fn mean_loss(
    model: &Network,
    blocks: &Blocks,
    answers: bool,
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
        let (loss, predictions) = summed_loss(model, blocks, first..last, answers);
        sums.push(loss);
        count += predictions;
    }
    anyhow::ensure!(
        count > 0,
        "the held-out text has no token of an answer to evaluate on"
    );
    Ok(total(&all_values(sums)) / count as f64)
}

/// The next-token losses of `model` over some of the blocks: their sum in nats, where the model is, and their number. With `answers` only those of
/// tokens of answers count.
pub(crate) fn summed_loss(
    model: &Network,
    blocks: &Blocks,
    some: Range<usize>,
    answers: bool,
) -> (Tensor<1>, usize) {
    let rows: Vec<&[u32]> = some.clone().map(|index| blocks.get(index)).collect();
    let weights = answers.then(|| some.flat_map(|index| blocks.answers(index)));
    let weights: Option<Vec<f32>> = weights.map(Iterator::collect);
    let count = match &weights {
        Some(weights) => weights.iter().filter(|&&weight| weight > 0.0).count(),
        None => rows.len() * (blocks.block() - 1),
    };
    let loss = in_pool(|| weighted_loss(model, &rows, weights.as_deref(), None));
    (loss, count)
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
