//! Greedy assisted decoding (Leviathan et al. 2023, arXiv 2211.17192; transformers' `_assisted_decoding`): the assistant drafts some
//! tokens, one pass of the main model checks them all, and the longest agreeing prefix plus one token of the main model is emitted.
//! The text is that of plain greedy decoding of the main model; how many drafts were right, `n_matches`, is what is measured.

use serde::{Deserialize, Serialize};

use super::DecodeError;
use super::greedy::{argmax_rows, check_length, last_argmax};
use crate::model::{KvCache, Pair, Role};

/// How the draft length moves from round to round; every prompt starts afresh, so that no result depends on the order of the prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Always the same.
    #[default]
    Constant,
    /// Two more after a round in which all drafts were accepted, else one less, at least 1.
    Heuristic,
}

/// How to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Longest continuation, in tokens.
    pub max_new_tokens: usize,
    /// Tokens drafted a round (at the start, with the heuristic schedule), k.
    pub draft_length: usize,
    /// How the draft length moves.
    pub schedule: Schedule,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_new_tokens: 20,
            draft_length: 5,
            schedule: Schedule::Constant,
        }
    }
}

/// One round: a draft, and one pass of the main model over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Tokens drafted, c.
    pub drafted: usize,
    /// Drafted tokens that the main model chose too, n (n_matches).
    pub matched: usize,
}

/// One prompt's continuation and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoding {
    /// The new tokens.
    pub tokens: Vec<u32>,
    /// Drafted and matched tokens of every round, in order. Each round is one pass of the main model.
    pub rounds: Vec<Round>,
}

/// Decodes every prompt (token ids) with the pair. `eos` ends a continuation. `go_on` is asked before each prompt; its error, a
/// reason to stop, ends the decoding.
///
/// # Errors
/// When a prompt is empty or too long, a model's logits are not finite, or `go_on` says stop.
pub fn assisted(
    pair: &Pair,
    prompts: &[Vec<u32>],
    eos: Option<u32>,
    settings: &Settings,
    go_on: &dyn Fn() -> Result<(), String>,
) -> Result<Vec<Decoding>, DecodeError> {
    prompts
        .iter()
        .enumerate()
        .map(|(index, prompt)| {
            go_on().map_err(DecodeError::Stopped)?;
            check_length(index, prompt, settings.max_new_tokens, pair.n_positions())?;
            decode_one(pair, prompt, eos, settings)
        })
        .collect()
}

fn decode_one(
    pair: &Pair,
    prompt: &[u32],
    eos: Option<u32>,
    settings: &Settings,
) -> Result<Decoding, DecodeError> {
    let limit = prompt.len() + settings.max_new_tokens;
    let mut draft_length = settings.draft_length;
    let mut tokens = prompt.to_vec();
    let mut rounds = Vec::new();
    let (mut main_cache, mut assistant_cache) = (KvCache::default(), KvCache::default());
    while tokens.len() < limit {
        let wanted = draft_length.min(limit - tokens.len() - 1);
        let draft = draft(pair, &tokens, wanted, eos, &mut assistant_cache)?;
        let choices = verify(pair, &tokens, &draft, &mut main_cache)?;
        let mut matched = draft
            .iter()
            .zip(&choices)
            .take_while(|(a, b)| a == b)
            .count();
        let all_accepted = matched == draft.len();
        if all_accepted && !draft.is_empty() && draft.last().copied() == eos {
            // The draft's end of text is emitted as the main model's own token of this round.
            matched -= 1;
        }
        tokens.extend_from_slice(&choices[..=matched]);
        rounds.push(Round {
            drafted: draft.len(),
            matched,
        });
        if tokens.last().copied() == eos {
            break;
        }
        if settings.schedule == Schedule::Heuristic {
            draft_length = if all_accepted {
                draft_length + 2
            } else {
                (draft_length - 1).max(1)
            };
        }
        // What was read of rejected drafts is forgotten; the last emitted token is read in the next round.
        main_cache.truncate(tokens.len() - 1);
        assistant_cache.truncate(tokens.len() - 1);
    }
    tokens.drain(..prompt.len());
    Ok(Decoding { tokens, rounds })
}

/// Up to `wanted` tokens drafted by the assistant after `tokens`; an end of text ends the draft and stays in it.
fn draft(
    pair: &Pair,
    tokens: &[u32],
    wanted: usize,
    eos: Option<u32>,
    cache: &mut KvCache,
) -> Result<Vec<u32>, DecodeError> {
    let mut draft = Vec::with_capacity(wanted);
    while draft.len() < wanted {
        let unread = match draft.last() {
            Some(token) => std::slice::from_ref(token),
            None => &tokens[cache.len()..],
        };
        let token = last_argmax(&pair.assistant, unread, cache, Role::Assistant)?;
        draft.push(token);
        if Some(token) == eos {
            break;
        }
    }
    Ok(draft)
}

/// One pass of the main model: its own choice after the text and after each drafted token, one more than was drafted.
fn verify(
    pair: &Pair,
    tokens: &[u32],
    draft: &[u32],
    cache: &mut KvCache,
) -> Result<Vec<u32>, DecodeError> {
    let unread = [&tokens[cache.len()..], draft].concat();
    let hidden = pair.main.read(&unread, cache);
    let rows = draft.len() + 1;
    let checked = hidden.narrow(0, unread.len() - rows, rows);
    argmax_rows(pair.main.head(checked), Role::Main)
}
