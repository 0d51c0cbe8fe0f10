//! Texts that stand behind another. Many tokenizers put a space before a text and take it away again when they decode; inside a text that
//! space is none of theirs.

use serde_json::Value;
use tokenizers::{DecoderWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

/// The tokenizer without the space that it puts before a text. None when it puts none.
pub(super) fn behind(whole: &Tokenizer) -> Result<Option<Tokenizer>, String> {
    let parts = |error: serde_json::Error| error.to_string();
    let written = [
        serde_json::to_value(whole.get_normalizer()).map_err(parts)?,
        serde_json::to_value(whole.get_pre_tokenizer()).map_err(parts)?,
        serde_json::to_value(whole.get_decoder()).map_err(parts)?,
    ];
    let [normalizer, pre_tokenizer, decoder] = written.clone();
    let changed = [
        without_space(normalizer, false),
        without_space(pre_tokenizer, false),
        without_space(decoder, true),
    ];
    if changed == written {
        return Ok(None);
    }
    let [normalizer, pre_tokenizer, decoder] = changed;
    let mut inner = whole.clone();
    let normalizer: Option<NormalizerWrapper> =
        serde_json::from_value(normalizer).map_err(parts)?;
    let pre_tokenizer: Option<PreTokenizerWrapper> =
        serde_json::from_value(pre_tokenizer).map_err(parts)?;
    let decoder: Option<DecoderWrapper> = serde_json::from_value(decoder).map_err(parts)?;
    inner
        .with_normalizer(normalizer)
        .map_err(|error| error.to_string())?;
    inner
        .with_pre_tokenizer(pre_tokenizer)
        .with_decoder(decoder);
    Ok(Some(inner))
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
