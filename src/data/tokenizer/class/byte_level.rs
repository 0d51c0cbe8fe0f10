//! Classes with byte-level BPE: GPT-2, RoBERTa, GPT-NeoX and Qwen2.

use serde_json::{Map, Value, json};

use super::parts::{self, bpe_of, pairs};
use super::{Class, Prefix};

/// Where Qwen2 cuts a text, from transformers' `tokenization_qwen2.py`.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The document of a class with the file's vocabulary and merges.
pub(super) fn document(
    class: Class,
    file: &Map<String, Value>,
    prefix: Prefix,
) -> Result<Map<String, Value>, String> {
    let model = bpe_of(class, file, false)?;
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
        "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
        "vocab": model.get("vocab"), "merges": pairs(model.get("merges"))?,
    });
    let normalizer = match class {
        Class::GptNeox | Class::Qwen2 => json!({"type": "NFC"}),
        _ => Value::Null,
    };
    let cut = match class {
        Class::Qwen2 => json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": QWEN2}, "behavior": "Isolated", "invert": false},
            level(prefix != Prefix::Never, false),
        ]}),
        _ => level(prefix != Prefix::Never, true),
    };
    let mut document = parts::document(model, normalizer, cut, level(true, true));
    // Of GPT-NeoX and RoBERTa transformers makes another.
    if let (Class::Gpt2 | Class::Qwen2, Some(processor)) = (class, file.get("post_processor")) {
        document.insert("post_processor".to_owned(), processor.clone());
    }
    Ok(document)
}

/// Whether a pre-tokenizer is that of SmolLM and SmolLM2, which the hub has under GPT-2's class.
pub(super) fn is_digits(pre_tokenizer: &Value) -> bool {
    let digits = json!({"type": "Digits", "individual_digits": true});
    let mut level = level(false, true);
    parts::without_offsets(&mut level);
    *pre_tokenizer == json!({"type": "Sequence", "pretokenizers": [digits, level]})
}

fn level(prefix_space: bool, use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": prefix_space, "trim_offsets": true, "use_regex": use_regex})
}
