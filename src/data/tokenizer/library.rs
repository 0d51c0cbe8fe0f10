//! The library's side: makes its tokenizer of a `tokenizer.json`, and says which tokens to add to it.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;
use tokenizers::AddedToken;

use super::class::Class;
use super::files::Added;
use super::special::Special;
use crate::foreign;

/// Parses a `tokenizer.json`. A panic of the library becomes an error.
pub(super) fn parse(document: &Value) -> Result<tokenizers::Tokenizer, String> {
    check_prefix(document)?;
    let text = document.to_string();
    let read = foreign::call(|| tokenizers::Tokenizer::from_bytes(text.as_bytes()));
    read?.map_err(|error| error.to_string())
}

/// Checks that the second token of every merge begins with the prefix, because the library cuts that many bytes off without looking.
fn check_prefix(document: &Value) -> Result<(), String> {
    let model = &document["model"];
    let prefix = model["continuing_subword_prefix"].as_str().unwrap_or("");
    let Some(merges) = model["merges"].as_array().filter(|_| !prefix.is_empty()) else {
        return Ok(());
    };
    for (index, merge) in merges.iter().enumerate() {
        let right = match merge {
            Value::String(text) => text.split_once(' ').map(|(_, right)| right),
            merge => merge.get(1).and_then(Value::as_str),
        };
        if !right.is_some_and(|right| right.starts_with(prefix)) {
            return Err(format!("merge {index} does not go on with `{prefix}`"));
        }
    }
    Ok(())
}

/// The limit for ids. The library goes through all numbers up to the largest id when it writes a vocabulary.
const MOST_IDS: u32 = 1 << 24;

/// Refuses a vocabulary in which two tokens share an id, since decoding it would be ambiguous, or in which an id is too large.
pub(super) fn check_ids(inner: &tokenizers::Tokenizer) -> Result<(), String> {
    let mut tokens: BTreeMap<u32, String> = BTreeMap::new();
    for (token, id) in inner.get_vocab(true) {
        if id >= MOST_IDS {
            return Err(format!(
                "token `{token}` has id {id}; ids must be below {MOST_IDS}"
            ));
        }
        if let Some(other) = tokens.get(&id) {
            let mut both = [other.as_str(), &token];
            both.sort_unstable();
            return Err(format!(
                "tokens `{}` and `{}` both have id {id}",
                both[0], both[1]
            ));
        }
        tokens.insert(id, token);
    }
    Ok(())
}

/// The tokens to add to those of `tokenizer.json`, in transformers' order: those with an id, those with a role, further special ones. If a
/// token is named twice, the last flags hold. Qwen2's class adds all of the last two once more, without their flags.
pub(super) fn tokens_to_add(
    inner: &tokenizers::Tokenizer,
    class: Class,
    added: &BTreeMap<u64, Added>,
    special: &Special,
) -> Vec<AddedToken> {
    let present = inner.get_added_tokens_decoder();
    let mut known: HashSet<&str> = (present.values()).map(|token| &*token.content).collect();
    let roles: HashSet<&str> = (special.roles.iter())
        .map(|(_, token)| &*token.content)
        .collect();
    let mut tokens: Vec<AddedToken> = added.values().map(|added| added.token.clone()).collect();
    known.extend(added.values().map(|added| &*added.token.content));
    let named = special.roles.iter().map(|(_, token)| token);
    for token in named.chain(&special.extra) {
        if !known.contains(&*token.content) {
            tokens.push(token.clone());
        }
    }
    for token in &mut tokens {
        token.special |= roles.contains(&*token.content);
    }
    if class == Class::Qwen2 {
        let named = special.roles.iter().map(|(_, token)| token);
        let again = named.chain(&special.extra);
        tokens.extend(again.map(|token| AddedToken::from(token.content.as_str(), true)));
    }
    tokens
}
