//! Finds the difference between two tokenizers, in anything that changes ids.

use serde_json::Value;

use super::Tokenizer;
use super::class::parts::without_offsets;

impl Tokenizer {
    /// Describes the first difference that makes the other tokenizer give other ids. None when both encode every text alike.
    pub fn difference(&self, other: &Self) -> Option<String> {
        self.different_token(other)
            .or_else(|| self.different_added_token(other))
            .or_else(|| self.different_part(other))
    }

    fn different_token(&self, other: &Self) -> Option<String> {
        let (ours, theirs) = (self.by_id(), other.by_id());
        let ids = ours.keys().chain(theirs.keys());
        let id = *ids.filter(|id| ours.get(id) != theirs.get(id)).min()?;
        let token = |tokens: &std::collections::BTreeMap<u32, String>| match tokens.get(&id) {
            Some(token) => format!("{token:?}"),
            None => "none".to_owned(),
        };
        Some(between(
            &format!("token {id}"),
            &token(&ours),
            &token(&theirs),
        ))
    }

    fn different_added_token(&self, other: &Self) -> Option<String> {
        let ours = self.inner.get_added_tokens_decoder();
        let theirs = other.inner.get_added_tokens_decoder();
        let ids = ours.keys().chain(theirs.keys());
        let id = *ids.filter(|id| ours.get(id) != theirs.get(id)).min()?;
        let flags = |token: Option<&tokenizers::AddedToken>| match token {
            Some(token) => serde_json::to_string(token).unwrap_or_default(),
            None => "none".to_owned(),
        };
        let what = format!("added token {id}");
        Some(between(
            &what,
            &flags(ours.get(&id)),
            &flags(theirs.get(&id)),
        ))
    }

    /// A difference in the normalizer, in how a text is cut, or in the merges.
    fn different_part(&self, other: &Self) -> Option<String> {
        let (ours, theirs) = (self.parts(), other.parts());
        for part in ["normalizer", "pre_tokenizer", "model"] {
            if let Some(difference) = different_value(part, &ours[part], &theirs[part]) {
                return Some(difference);
            }
        }
        None
    }

    /// The tokenizer as JSON, without the settings that change no id.
    fn parts(&self) -> Value {
        let mut parts = serde_json::to_value(&self.inner).unwrap_or_default();
        // `different_token` has compared the vocabulary.
        if let Some(model) = parts["model"].as_object_mut() {
            model.remove("vocab");
            // Null and an empty string mean the same.
            for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
                if model.get(key).is_some_and(|value| value == "") {
                    model.insert(key.to_owned(), Value::Null);
                }
            }
        }
        without_offsets(&mut parts["pre_tokenizer"]);
        parts
    }
}

/// Describes the first place at which two JSON values differ.
fn different_value(path: &str, ours: &Value, theirs: &Value) -> Option<String> {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys());
            keys.into_iter()
                .find_map(|key| different_value(&format!("{path}.{key}"), &ours[key], &theirs[key]))
        }
        (Value::Array(a), Value::Array(b)) if path == "model.merges" => {
            let index = (0..a.len().max(b.len())).find(|&index| a.get(index) != b.get(index))?;
            let merge = |merges: &[Value]| merges.get(index).map_or("none".to_owned(), merge);
            Some(between(&format!("merge {index}"), &merge(a), &merge(b)))
        }
        _ if ours == theirs => None,
        _ => Some(between(path, &ours.to_string(), &theirs.to_string())),
    }
}

fn merge(pair: &Value) -> String {
    let parts = pair.as_array().into_iter().flatten();
    let parts: Vec<&str> = parts.filter_map(Value::as_str).collect();
    format!("`{}`", parts.join(" "))
}

fn between(what: &str, ours: &str, theirs: &str) -> String {
    format!("{what} is {ours} for the main model and {theirs} for the assistant")
}
