//! The tokenizer class that transformers chooses for a folder, and the parts that the class fixes besides vocabulary and merges.

use serde_json::{Map, Value, json};

/// The supported tokenizer classes of transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// `GPT2Tokenizer`.
    Gpt2,
    /// `RobertaTokenizer`.
    Roberta,
    /// `XLMRobertaTokenizer`.
    XlmRoberta,
    /// `PreTrainedTokenizerFast`, which does what `tokenizer.json` says.
    AsFile,
}

impl Class {
    /// The class that `tokenizer_class` names, or else the one of the model type.
    pub fn of(model_type: &str, named: Option<&str>) -> Result<Self, String> {
        let Some(named) = named else {
            return match model_type {
                "gpt2" => Ok(Self::Gpt2),
                "roberta" => Ok(Self::Roberta),
                "xlm-roberta" => Ok(Self::XlmRoberta),
                other => Err(format!(
                    "`model_type` is `{other}`, whose tokenizer is not known; name a `tokenizer_class`"
                )),
            };
        };
        match named.trim_end_matches("Fast") {
            "GPT2Tokenizer" => Ok(Self::Gpt2),
            "RobertaTokenizer" => Ok(Self::Roberta),
            "XLMRobertaTokenizer" => Ok(Self::XlmRoberta),
            "PreTrainedTokenizer" | "TokenizersBackend" => Ok(Self::AsFile),
            _ => Err(format!(
                "`tokenizer_class` is `{named}`; only GPT2Tokenizer, RobertaTokenizer, XLMRobertaTokenizer and PreTrainedTokenizerFast are supported: save the tokenizer as the last"
            )),
        }
    }

    /// The name in `tokenizer_config.json` that every version of transformers understands.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gpt2 => "GPT2Tokenizer",
            Self::Roberta => "RobertaTokenizer",
            Self::XlmRoberta => "XLMRobertaTokenizer",
            Self::AsFile => "PreTrainedTokenizerFast",
        }
    }

    /// The class's default tokens, by role, for roles that no file gives.
    pub fn usual_tokens(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Gpt2 => &[
                ("bos_token", super::END_OF_TEXT),
                ("eos_token", super::END_OF_TEXT),
                ("unk_token", super::END_OF_TEXT),
            ],
            Self::Roberta | Self::XlmRoberta => &[
                ("bos_token", "<s>"),
                ("eos_token", "</s>"),
                ("unk_token", "<unk>"),
                ("sep_token", "</s>"),
                ("pad_token", "<pad>"),
                ("cls_token", "<s>"),
                ("mask_token", "<mask>"),
            ],
            Self::AsFile => &[],
        }
    }

    /// Whether a space is put before a text when no file says so.
    pub fn usual_prefix_space(self) -> bool {
        self == Self::XlmRoberta
    }

    /// Builds the `tokenizer.json` that the class makes of a file's model, without added tokens. For these classes transformers uses a
    /// normalizer and a pre-tokenizer of its own. A file whose parts differ from them is refused, since it asks for texts to be cut in
    /// another way.
    pub fn of_json(
        self,
        file: &Map<String, Value>,
        prefix_space: bool,
    ) -> Result<Map<String, Value>, String> {
        let own = match self {
            Self::AsFile => return Ok(as_file(file)),
            Self::Gpt2 | Self::Roberta => byte_level(file, prefix_space)?,
            Self::XlmRoberta => sentence_piece(file, prefix_space)?,
        };
        for part in ["normalizer", "pre_tokenizer"] {
            let (ours, theirs) = (part_of(&own, part)?, part_of(file, part)?);
            if ours != theirs {
                return Err(format!(
                    "`{part}` is {theirs}, but transformers' {} always has {ours}; {REMEDY}",
                    self.name()
                ));
            }
        }
        Ok(own)
    }

    /// Builds the `tokenizer.json` that the class makes of a vocabulary and its merges.
    pub fn of_vocabulary(
        self,
        file: &Map<String, Value>,
        prefix_space: bool,
    ) -> Result<Map<String, Value>, String> {
        match self {
            Self::Gpt2 | Self::Roberta => byte_level(file, prefix_space),
            Self::XlmRoberta | Self::AsFile => {
                Err(format!("{} needs a tokenizer.json", self.name()))
            }
        }
    }
}

/// The advice for a file that its class does not fit.
const REMEDY: &str = "if the file is right, set `tokenizer_class` in tokenizer_config.json to `PreTrainedTokenizerFast`";

/// The file unchanged, except that truncation, padding and dropout, which a tool may have left in it, are removed.
fn as_file(file: &Map<String, Value>) -> Map<String, Value> {
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

/// The document of byte-level BPE (GPT-2, RoBERTa) with the file's vocabulary and merges.
fn byte_level(file: &Map<String, Value>, prefix_space: bool) -> Result<Map<String, Value>, String> {
    let model = model_of(file, "BPE")?;
    for (key, usual) in [
        ("continuing_subword_prefix", json!("")),
        ("end_of_word_suffix", json!("")),
        ("byte_fallback", json!(false)),
        ("ignore_merges", json!(false)),
    ] {
        refuse_other(model, key, &usual)?;
    }
    Ok(document(
        json!({
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": model.get("vocab"), "merges": pairs(model.get("merges"))?,
        }),
        Value::Null,
        json!({"type": "ByteLevel", "add_prefix_space": prefix_space, "trim_offsets": true, "use_regex": true}),
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
    ))
}

/// The document of a SentencePiece unigram model (XLM-RoBERTa) with the file's vocabulary.
fn sentence_piece(
    file: &Map<String, Value>,
    prefix_space: bool,
) -> Result<Map<String, Value>, String> {
    let model = model_of(file, "Unigram")?;
    refuse_other(model, "byte_fallback", &json!(false))?;
    refuse_other(model, "unk_id", &json!(3))?;
    let normalizer = match file.get("normalizer") {
        Some(found) if found["type"] == "Precompiled" => found.clone(),
        _ => Value::Null,
    };
    let scheme = if prefix_space { "always" } else { "never" };
    let metaspace =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true});
    Ok(document(
        json!({"type": "Unigram", "unk_id": 3, "vocab": model.get("vocab"), "byte_fallback": false}),
        normalizer,
        json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace.clone()]}),
        metaspace,
    ))
}

fn document(
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

fn model_of<'a>(
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

fn refuse_other(model: &Map<String, Value>, key: &str, usual: &Value) -> Result<(), String> {
    match model.get(key) {
        None | Some(Value::Null) => Ok(()),
        Some(found) if found == usual => Ok(()),
        Some(found) => Err(format!(
            "`model.{key}` is {found}, but transformers reads this tokenizer with {usual}; {REMEDY}"
        )),
    }
}

/// The merges as pairs of tokens. Old files write a merge as one string with a space between the two.
fn pairs(merges: Option<&Value>) -> Result<Vec<Value>, String> {
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
fn part_of(file: &Map<String, Value>, part: &str) -> Result<Value, String> {
    let mut small = document(
        json!({"type": "BPE", "vocab": {}, "merges": []}),
        Value::Null,
        Value::Null,
        Value::Null,
    );
    let found = file.get(part).cloned().unwrap_or_default();
    small.insert(part.to_owned(), found);
    let read = super::parse(&Value::Object(small)).map_err(|error| format!("`{part}`: {error}"))?;
    let mut written = serde_json::to_value(&read).unwrap_or_default();
    let mut written = written[part].take();
    if let Some(object) = written.as_object_mut() {
        object.remove("trim_offsets");
    }
    Ok(written)
}
