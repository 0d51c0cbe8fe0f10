//! Passes of the models over text: the held-out loss and the divergences at the templates.

use std::collections::BTreeMap;

use super::divergence::Divergence;
use crate::data::blocks::Blocks;
use crate::model::{Gpt2, Pair, Role, last_logits, next_token_loss};

/// Mean next-token loss of `model` over all blocks, in nats a token: the sum over all predictions divided by their number, so that
/// the batch size does not matter. `go_on` is asked before each batch.
///
/// # Errors
/// Those of `go_on`.
pub fn mean_loss(
    model: &Gpt2,
    blocks: &Blocks,
    batch: usize,
    go_on: &dyn Fn() -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    anyhow::ensure!(
        !blocks.is_empty(),
        "there is no held-out text here to evaluate on"
    );
    let (mut sum, mut count) = (0.0, 0);
    for first in (0..blocks.len()).step_by(batch) {
        go_on()?;
        let last = (first + batch).min(blocks.len());
        let rows: Vec<&[u32]> = (first..last).map(|index| blocks.get(index)).collect();
        let (loss, predictions) = next_token_loss(model, &rows, None);
        sum += f64::from(loss.into_scalar::<f32>());
        count += predictions;
    }
    Ok(sum / count as f64)
}

/// The divergence between main model and assistant at the last position of every prompt, in the prompts' order.
///
/// # Errors
/// Those of `go_on`, and when logits are not finite.
pub fn template_divergences(
    pair: &Pair,
    prompts: &[Vec<u32>],
    batch: usize,
    go_on: &dyn Fn() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Divergence>> {
    let mut found: Vec<Option<Divergence>> = prompts.iter().map(|_| None).collect();
    each_prompt(pair, prompts, batch, go_on, &mut |index, p, q| {
        found[index] = Some(Divergence::between(p, q)?);
        Ok(())
    })?;
    Ok(found.into_iter().flatten().collect())
}

/// Takes a prompt's index and both models' logits `[vocab]` at its last position, main model first.
pub type TakeLogits<'a> = dyn FnMut(usize, &[f32], &[f32]) -> anyhow::Result<()> + 'a;

/// Hands the logits `[vocab]` of both models at the last position of every prompt to `take`, with the prompt's index; not in the
/// prompts' order.
///
/// Prompts of equal length share a pass, at most `batch` at a time; no more than one batch of logits is ever held. `go_on` is asked
/// before each pass.
///
/// # Errors
/// Those of `go_on` and of `take`.
pub fn each_prompt(
    pair: &Pair,
    prompts: &[Vec<u32>],
    batch: usize,
    go_on: &dyn Fn() -> anyhow::Result<()>,
    take: &mut TakeLogits,
) -> anyhow::Result<()> {
    let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, prompt) in prompts.iter().enumerate() {
        by_length.entry(prompt.len()).or_default().push(index);
    }
    for indices in by_length.values() {
        for chunk in indices.chunks(batch) {
            go_on()?;
            let rows: Vec<&[u32]> = chunk.iter().map(|&index| &prompts[index][..]).collect();
            let [main, assistant] = Role::BOTH.map(|role| last_logits(pair.get(role), &rows));
            let vocab = pair.main.config().vocab_size;
            let (main, assistant) = (main?, assistant?);
            let rows = main.chunks_exact(vocab).zip(assistant.chunks_exact(vocab));
            for (&index, (p, q)) in chunk.iter().zip(rows) {
                take(index, p, q)?;
            }
        }
    }
    Ok(())
}
