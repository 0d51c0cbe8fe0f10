//! Texts that stand behind another. Many tokenizers put a space before a text and take it away again when they decode; inside a text that
//! space is none of theirs.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokenizers::{DecoderWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

/// The tokenizer without the space that it puts before a text. None when it puts none.
pub(super) fn behind(whole: &Tokenizer) -> Result<Option<Tokenizer>, String> {
    let normalizer = changed::<NormalizerWrapper>(whole.get_normalizer(), false)?;
    let pre_tokenizer = changed::<PreTokenizerWrapper>(whole.get_pre_tokenizer(), false)?;
    let decoder = changed::<DecoderWrapper>(whole.get_decoder(), true)?;
    if normalizer.is_none() && pre_tokenizer.is_none() && decoder.is_none() {
        return Ok(None);
    }
    let mut inner = whole.clone();
    if let Some(normalizer) = normalizer {
        let changed = inner.with_normalizer(normalizer);
        changed.map_err(|error| error.to_string())?;
    }
    if let Some(pre_tokenizer) = pre_tokenizer {
        inner.with_pre_tokenizer(pre_tokenizer);
    }
    if let Some(decoder) = decoder {
        inner.with_decoder(decoder);
    }
    Ok(Some(inner))
}

/// A part without the space; the inner None stands for a part that does nothing else. None when it puts no space.
fn changed<Part: Serialize + DeserializeOwned>(
    part: Option<&Part>,
    decodes: bool,
) -> Result<Option<Option<Part>>, String> {
    let written = serde_json::to_value(part).map_err(|error| error.to_string())?;
    let without = without_space(written.clone(), decodes);
    if without == written {
        return Ok(None);
    }
    let read = serde_json::from_value(without);
    read.map(Some).map_err(|error| error.to_string())
}

/// A part of a `tokenizer.json` that neither puts a space before a text nor takes it away. Null for one that does nothing else.
fn without_space(mut part: Value, decodes: bool) -> Value {
    let lists = match part["type"].as_str().unwrap_or_default() {
        "Prepend" => return Value::Null,
        "Strip" if part.get("start").is_some() => {
            part["start"] = 0.into();
            return part;
        }
        "Metaspace" => {
            part["prepend_scheme"] = "never".into();
            return part;
        }
        // The library's decoder of this name does not look at it.
        "ByteLevel" if !decodes => {
            part["add_prefix_space"] = false.into();
            return part;
        }
        _ => ["normalizers", "pretokenizers", "decoders"],
    };
    for key in lists {
        if let Some(Value::Array(items)) = part.get_mut(key) {
            let kept = items.drain(..).map(|item| without_space(item, decodes));
            *items = kept.filter(|item| !item.is_null()).collect();
        }
    }
    part
}
