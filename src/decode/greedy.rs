//! Plain greedy decoding: one token at a time, always the most probable.

use super::DecodeError;
use crate::model::{Ends, KvPool, Network, NewToken, Role};

/// Continues `prompt` by up to `max_new_tokens` tokens, each the argmax of the model's logits. Returns the new ids. Each of `ends` ends
/// the text early and is included.
///
/// # Errors
/// When the prompt is empty, the text does not fit the model, or the logits are not finite.
pub fn greedy(
    model: &Network,
    prompt: &[u32],
    max_new_tokens: usize,
    ends: impl Into<Ends>,
) -> Result<Vec<u32>, DecodeError> {
    check_length(0, prompt, max_new_tokens, model.config().n_positions)?;
    let ends = ends.into();
    let mut pool = KvPool::new(model.config());
    let (mut text, mut sequence) = (prompt.to_vec(), Vec::new());
    while text.len() < prompt.len() + max_new_tokens {
        let read = sequence.len();
        pool.resize(&mut sequence, text.len());
        let new: Vec<NewToken> = NewToken::of(&text, &sequence, read).collect();
        let hidden = model.read(&new, &mut pool);
        let last = hidden.narrow(0, new.len() - 1, 1);
        let token = model.argmax(last)[0].ok_or(DecodeError::NotFinite(Role::Main))?;
        text.push(token);
        if ends.has(token) {
            break;
        }
    }
    Ok(text.split_off(prompt.len()))
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
    // The model never reads the last new token, so it needs no position.
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
