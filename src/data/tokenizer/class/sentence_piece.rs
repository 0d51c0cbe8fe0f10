//! Classes with the pieces of SentencePiece: XLM-RoBERTa's unigram model, and Llama's BPE with bytes for what has no piece.

use serde_json::{Map, Value, json};

use super::parts::{bpe_of, document, model_of, pairs, refuse_other};
use super::{Class, Prefix};

/// The document of XLM-RoBERTa with the file's vocabulary.
pub(super) fn xlm_roberta(
    file: &Map<String, Value>,
    prefix: Prefix,
) -> Result<Map<String, Value>, String> {
    let model = model_of(file, "Unigram")?;
    refuse_other(Class::XlmRoberta, model, "byte_fallback", &json!(false))?;
    refuse_other(Class::XlmRoberta, model, "unk_id", &json!(3))?;
    let normalizer = match file.get("normalizer") {
        Some(found) if found["type"] == "Precompiled" => found.clone(),
        _ => Value::Null,
    };
    let spaces = metaspace(prefix, true);
    Ok(document(
        json!({"type": "Unigram", "unk_id": 3, "vocab": model.get("vocab"), "byte_fallback": false}),
        normalizer,
        json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, spaces.clone()]}),
        spaces,
    ))
}

/// The document of Llama with the file's vocabulary, merges and post-processor.
pub(super) fn llama(
    file: &Map<String, Value>,
    prefix: Prefix,
) -> Result<Map<String, Value>, String> {
    let model = bpe_of(Class::Llama, file, true)?;
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix != Prefix::Never {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let mut document = document(
        json!({
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": model.get("vocab"), "merges": pairs(model.get("merges"))?,
        }),
        Value::Null,
        metaspace(prefix, false),
        json!({"type": "Sequence", "decoders": decoders}),
    );
    if let Some(processor) = file.get("post_processor") {
        document.insert("post_processor".to_owned(), processor.clone());
    }
    Ok(document)
}

/// Whether a part is one that files of Llama's class have on the hub: a normalizer that puts ▁ before the text and for spaces, or one that
/// does the second, or none; and `Metaspace` of any scheme as the pre-tokenizer, or none.
pub(super) fn is_of_the_hub(part: &str, value: &Value) -> bool {
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let prepend = json!({"type": "Prepend", "prepend": "▁"});
    let normalizers = [
        replace.clone(),
        json!({"type": "Sequence", "normalizers": [replace]}),
        json!({"type": "Sequence", "normalizers": [prepend, replace]}),
    ];
    let schemes = [Prefix::Never, Prefix::First, Prefix::Always];
    match part {
        _ if value.is_null() => true,
        "normalizer" => normalizers.contains(value),
        _ => schemes
            .map(|prefix| metaspace(prefix, false))
            .contains(value),
    }
}

fn metaspace(prefix: Prefix, split: bool) -> Value {
    let scheme = match prefix {
        Prefix::Never => "never",
        Prefix::First => "first",
        Prefix::Always => "always",
    };
    json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split})
}
