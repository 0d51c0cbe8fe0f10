//! Plain greedy decoding: the most probable token, one at a time.

use burn::tensor::Tensor;

use super::DecodeError;
use crate::model::{Gpt2, KvCache, Role};

/// Up to `max_new_tokens` ids that continue `prompt`, each the argmax of the model; ends early with `eos`, which is included.
///
/// # Errors
/// When the prompt is empty, the text does not fit the model, or the logits are not finite.
pub fn greedy(
    model: &Gpt2,
    prompt: &[u32],
    max_new_tokens: usize,
    eos: Option<u32>,
) -> Result<Vec<u32>, DecodeError> {
    check_length(0, prompt, max_new_tokens, model.config().n_positions)?;
    let mut cache = KvCache::default();
    let mut unread = prompt.to_vec();
    let mut new = Vec::with_capacity(max_new_tokens);
    while new.len() < max_new_tokens {
        let token = last_argmax(model, &unread, &mut cache, Role::Main)?;
        new.push(token);
        unread = vec![token];
        if Some(token) == eos {
            break;
        }
    }
    Ok(new)
}

pub(super) fn check_length(
    index: usize,
    prompt: &[u32],
    max_new_tokens: usize,
    n_positions: usize,
) -> Result<(), DecodeError> {
    if prompt.is_empty() {
        return Err(DecodeError::EmptyPrompt(index));
    }
    // The last new token is never read, so it needs no position.
    if prompt.len() + max_new_tokens > n_positions + 1 {
        return Err(DecodeError::TooLong {
            prompt: index,
            tokens: prompt.len(),
            max_new_tokens,
            n_positions,
        });
    }
    Ok(())
}

/// Reads `tokens` and gives the argmax after the last of them.
pub(super) fn last_argmax(
    model: &Gpt2,
    tokens: &[u32],
    cache: &mut KvCache,
    role: Role,
) -> Result<u32, DecodeError> {
    let hidden = model.read(tokens, cache);
    let last = hidden.narrow(0, tokens.len() - 1, 1);
    Ok(argmax_rows(model.head(last), role)?[0])
}

/// The argmax of each row of logits `[rows, vocab]`; of equal values the lowest index, as PyTorch gives on the CPU.
pub(super) fn argmax_rows(logits: Tensor<2>, role: Role) -> Result<Vec<u32>, DecodeError> {
    let [_, vocab] = logits.dims();
    let values = logits
        .into_data()
        .try_into_vec::<f32>()
        .map_err(|_| DecodeError::NotFinite(role))?;
    values
        .chunks_exact(vocab)
        .map(|row| {
            let mut best = 0;
            for (index, value) in row.iter().enumerate() {
                if !value.is_finite() {
                    return Err(DecodeError::NotFinite(role));
                }
                if *value > row[best] {
                    best = index;
                }
            }
            Ok(best as u32)
        })
        .collect()
}
