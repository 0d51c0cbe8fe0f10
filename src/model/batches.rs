//! Texts of different lengths, cut into batches that a plain pass can take.

use anyhow::{bail, ensure};

use super::Config;

/// The most tokens of one pass. A text that is longer has a pass of its own.
const TOKENS: usize = 1024;

/// The indices of the texts of each pass: texts of one length, so that there is no padding.
///
/// # Errors
/// When a text is empty, is longer than the model's positions, or has a token that is not in the vocabulary.
pub(crate) fn batches(
    texts: &[impl AsRef<[u32]>],
    config: Config,
) -> anyhow::Result<Vec<Vec<usize>>> {
    for (index, text) in texts.iter().enumerate() {
        check(index, text.as_ref(), config)?;
    }
    let length = |&index: &usize| texts[index].as_ref().len();
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(length);
    let same = order.chunk_by(|one, other| length(one) == length(other));
    let batches = same.flat_map(|same| same.chunks((TOKENS / length(&same[0])).max(1)));
    Ok(batches.map(<[usize]>::to_vec).collect())
}

/// The indices of the texts of each pass where each is filled up to the longest of its pass. Texts of like lengths stand together, so that
/// there is little to fill. Where each pass costs something of its own, such as the gradients of all weights, fewer are better.
///
/// # Errors
/// As [`batches`].
pub(crate) fn padded_batches(
    texts: &[impl AsRef<[u32]>],
    config: Config,
) -> anyhow::Result<Vec<Vec<usize>>> {
    for (index, text) in texts.iter().enumerate() {
        check(index, text.as_ref(), config)?;
    }
    let length = |index: usize| texts[index].as_ref().len();
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&index| length(index));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for index in order {
        match batches.last_mut() {
            // In the order of lengths, the one that is added is the longest.
            Some(batch) if (batch.len() + 1) * length(index) <= TOKENS => batch.push(index),
            _ => batches.push(vec![index]),
        }
    }
    Ok(batches)
}

fn check(index: usize, text: &[u32], config: Config) -> anyhow::Result<()> {
    let Config {
        n_positions: longest,
        vocab_size,
        ..
    } = config;
    let time = text.len();
    ensure!(time > 0, "text {index} has no tokens");
    ensure!(
        time <= longest,
        "text {index} has {time} tokens; the model has positions for {longest}"
    );
    let unknown = text.iter().find(|&&id| id as usize >= vocab_size);
    if let Some(id) = unknown {
        bail!("text {index} has token {id}; the model has a vocabulary of {vocab_size} tokens");
    }
    Ok(())
}
