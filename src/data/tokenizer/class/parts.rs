//! Parts of a `tokenizer.json`: reads, compares and puts them together.

use serde_json::{Map, Value, json};

use super::Class;
use crate::data::tokenizer::library::parse;

/// The file unchanged, except that truncation, padding and dropout, which a tool may have left in it, are removed.
pub(super) fn as_file(file: &Map<String, Value>) -> Map<String, Value> {
    let mut document = file.clone();
    document.insert("truncation".to_owned(), Value::Null);
    document.insert("padding".to_owned(), Value::Null);
    if let Some(Value::Object(model)) = document.get_mut("model")
        && model.contains_key("dropout")
    {
        model.insert("dropout".to_owned(), Value::Null);
    }
    document
}

pub(super) fn document(
    model: Value,
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
) -> Map<String, Value> {
    [
        ("version", json!("1.0")),
        ("truncation", Value::Null),
        ("padding", Value::Null),
        ("added_tokens", json!([])),
        ("normalizer", normalizer),
        ("pre_tokenizer", pre_tokenizer),
        ("post_processor", Value::Null),
        ("decoder", decoder),
        ("model", model),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into_iter()
    .collect()
}

/// The model of a file, which must be of a kind.
pub(super) fn model_of<'a>(
    file: &'a Map<String, Value>,
    kind: &str,
) -> Result<&'a Map<String, Value>, String> {
    let model = file.get("model").and_then(Value::as_object);
    let model = model.ok_or("`model` is missing")?;
    // Old files have no type.
    match model.get("type") {
        None => Ok(model),
        Some(found) if found == kind => Ok(model),
        Some(found) => Err(format!("`model.type` is {found}, not \"{kind}\"")),
    }
}

/// The model of a file that has byte pair encoding. One that asks for what the class does not do is refused.
pub(super) fn bpe_of(
    class: Class,
    file: &Map<String, Value>,
    byte_fallback: bool,
) -> Result<&Map<String, Value>, String> {
    let model = model_of(file, "BPE")?;
    for (key, usual) in [
        ("continuing_subword_prefix", json!("")),
        ("end_of_word_suffix", json!("")),
        ("byte_fallback", json!(byte_fallback)),
        ("ignore_merges", json!(false)),
    ] {
        refuse_other(class, model, key, &usual)?;
    }
    Ok(model)
}

/// Refuses a key of a model that has another value than the class's.
pub(super) fn refuse_other(
    class: Class,
    model: &Map<String, Value>,
    key: &str,
    usual: &Value,
) -> Result<(), String> {
    match model.get(key) {
        None | Some(Value::Null) => Ok(()),
        Some(found) if found == usual => Ok(()),
        Some(found) => Err(format!(
            "`model.{key}` is {found}, but transformers reads this tokenizer with {usual}; {}",
            class.remedy()
        )),
    }
}

/// The merges as pairs of tokens. Old files write a merge as one string with a space between the two.
pub(super) fn pairs(merges: Option<&Value>) -> Result<Vec<Value>, String> {
    let merges = merges.and_then(Value::as_array);
    let merges = merges.ok_or("`model.merges` is not a list")?;
    let pair = |(index, merge): (usize, &Value)| match merge {
        Value::String(text) => match text.split_once(' ') {
            Some((left, right)) if !right.contains(' ') => Ok(json!([left, right])),
            _ => Err(format!("`model.merges`: entry {index} is not two tokens")),
        },
        merge => Ok(merge.clone()),
    };
    merges.iter().enumerate().map(pair).collect()
}

/// A part of a `tokenizer.json` in the form that the library writes, so that files of different versions can be compared. Without
/// `trim_offsets`, which changes no id.
pub(super) fn part_of(file: &Map<String, Value>, part: &str) -> Result<Value, String> {
    let mut small = document(
        json!({"type": "BPE", "vocab": {}, "merges": []}),
        Value::Null,
        Value::Null,
        Value::Null,
    );
    let found = file.get(part).cloned().unwrap_or_default();
    small.insert(part.to_owned(), found);
    let small = Value::Object(small);
    let read = parse(&small).map_err(|error| format!("`{part}`: {error}"))?;
    let mut written = serde_json::to_value(&read).unwrap_or_default();
    let mut written = written[part].take();
    without_offsets(&mut written);
    Ok(written)
}

/// Removes `trim_offsets`, which changes no id, from a pre-tokenizer.
pub(in super::super) fn without_offsets(part: &mut Value) {
    match part {
        Value::Object(fields) => {
            fields.remove("trim_offsets");
            fields.values_mut().for_each(without_offsets);
        }
        Value::Array(items) => items.iter_mut().for_each(without_offsets),
        _ => {}
    }
}
