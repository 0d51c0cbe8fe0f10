//! Reads the files of a tokenizer as transformers does. The vocabulary is in `tokenizer.json`, or in `vocab.json` and `merges.txt`.
//! `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json` add tokens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tokenizers::AddedToken;

use super::TokenizerError;
use super::chat::ChatTemplates;
use super::class::Class;
use super::special::{Special, token};

pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const CONFIG: &str = "tokenizer_config.json";
const SPECIAL: &str = "special_tokens_map.json";
const ADDED: &str = "added_tokens.json";

/// A token that a file adds, and the file.
#[derive(Debug)]
pub(super) struct Added {
    pub token: AddedToken,
    pub file: PathBuf,
}

/// A tokenizer as its files describe it.
#[derive(Debug)]
pub(super) struct Files {
    pub class: Class,
    /// The file with the vocabulary.
    pub origin: PathBuf,
    /// The `tokenizer.json` that the class makes of the vocabulary, before tokens are added.
    pub document: Map<String, Value>,
    /// The added tokens, by their ids.
    pub added: BTreeMap<u64, Added>,
    /// The special tokens, with and without a role.
    pub special: Special,
    pub templates: ChatTemplates,
    /// Whether the settings have tokens put before and behind a text. Where there is a `tokenizer.json`, that file says it.
    pub ends: [bool; 2],
    /// What of the file the class leaves out, in words.
    pub left_out: Option<String>,
}

impl Files {
    /// Reads the tokenizer files of a model directory.
    pub fn read(directory: &Path) -> Result<Self, TokenizerError> {
        let path = directory.join(TOKENIZER);
        let (origin, file) = match object(&path)? {
            Some(file) => (path, file),
            None => (directory.join("vocab.json"), vocabulary(directory)?),
        };
        let config = object(&directory.join("config.json"))?.unwrap_or_default();
        let settings = object(&directory.join(CONFIG))?;
        let files = Self::of(directory, origin, file, &config, settings)?;
        Ok(Self {
            templates: ChatTemplates::read(directory)?,
            ..files
        })
    }

    /// Reads a `tokenizer.json` without any other file. It must be of GPT-2's kind.
    pub fn alone(origin: &Path, bytes: &[u8]) -> Result<Self, TokenizerError> {
        let file = parse_object(origin, bytes)?;
        let directory = origin.parent().unwrap_or(origin).to_owned();
        Self::of(&directory, origin.to_owned(), file, &Map::new(), None)
    }

    fn of(
        directory: &Path,
        origin: PathBuf,
        file: Map<String, Value>,
        config: &Map<String, Value>,
        settings: Option<Map<String, Value>>,
    ) -> Result<Self, TokenizerError> {
        let path = directory.join(CONFIG);
        let mut settings = settings.unwrap_or_default();
        check_settings(&settings).map_err(content(&path))?;
        let model_type = config.get("model_type").and_then(Value::as_str);
        let named = settings.remove("tokenizer_class");
        let named = named.filter(|value| !value.is_null());
        let (place, named) = match named {
            Some(named) => (&path, Some(named)),
            None => (
                &directory.join("config.json"),
                config.get("tokenizer_class").cloned(),
            ),
        };
        let named = named.filter(|value| !value.is_null());
        let named = match &named {
            Some(Value::String(name)) => Some(name.as_str()),
            Some(other) => return Err(content(place)(format!("`tokenizer_class` is {other}"))),
            None => None,
        };
        let is_json = origin.file_name().is_some_and(|name| name == TOKENIZER);
        let class = Class::of(
            model_type.unwrap_or("gpt2"),
            named,
            is_json.then_some(&file),
        );
        let class = class.map_err(content(place))?;
        let prefix = class.prefix(&settings).map_err(content(&path))?;
        let made = if is_json {
            class.of_json(&file, prefix)
        } else {
            class.of_vocabulary(&file, prefix)
        };
        let made = made.map_err(content(&origin))?;
        let ends = if is_json {
            [false; 2]
        } else {
            ends(class, &settings).map_err(content(&path))?
        };
        let mut special = Special::of_settings(settings).map_err(content(&path))?;
        let mut added = BTreeMap::new();
        match special.take("added_tokens_decoder") {
            Some(decoder) => decoded(&mut added, &decoder, &path).map_err(content(&path))?,
            None => legacy(
                &mut added,
                &mut special,
                directory,
                is_json.then_some((&origin, &file)),
            )?,
        }
        if class == Class::AsFile {
            special.heed_padding(&file);
        }
        special.settle(class).map_err(content(&path))?;
        Ok(Self {
            class,
            left_out: (made.left_out).map(|said| format!("{}: {said}", origin.display())),
            origin,
            document: made.document,
            added,
            special,
            templates: ChatTemplates::default(),
            ends,
        })
    }
}

/// Reads `add_bos_token` and `add_eos_token`.
fn ends(class: Class, settings: &Map<String, Value>) -> Result<[bool; 2], String> {
    let mut ends = [false; 2];
    for (end, key) in ends.iter_mut().zip(["add_bos_token", "add_eos_token"]) {
        *end = match settings.get(key) {
            None | Some(Value::Null) => false,
            Some(Value::Bool(end)) => *end,
            Some(other) => return Err(format!("`{key}` is {other}")),
        };
        if *end && class == Class::GptNeox {
            return Err(format!(
                "`{key}` is true, which a tokenizer.json of {} cannot keep; set it to false",
                class.name()
            ));
        }
    }
    Ok(ends)
}

/// Adds the tokens of `added_tokens_decoder`.
fn decoded(added: &mut BTreeMap<u64, Added>, decoder: &Value, file: &Path) -> Result<(), String> {
    let decoder = decoder.as_object();
    let decoder = decoder.ok_or("`added_tokens_decoder` is not an object")?;
    for (id, value) in decoder {
        let key = format!("added_tokens_decoder.{id}");
        let id = id.parse();
        let id = id.map_err(|_| format!("`{key}`: the id is not a whole number"))?;
        let token = token(&key, value, None)?;
        insert(added, id, token, file)?;
    }
    Ok(())
}

/// Adds the tokens of the files that older versions wrote instead of `added_tokens_decoder`.
fn legacy(
    added: &mut BTreeMap<u64, Added>,
    special: &mut Special,
    directory: &Path,
    file: Option<(&PathBuf, &Map<String, Value>)>,
) -> Result<(), TokenizerError> {
    let path = directory.join(SPECIAL);
    if let Some(map) = object(&path)? {
        special.merge(map).map_err(content(&path))?;
    }
    let path = directory.join(ADDED);
    if let Some(tokens) = object(&path)? {
        let named = special.contents();
        for (text, id) in tokens {
            let Some(id) = id.as_u64() else {
                return Err(content(&path)(format!("token `{text}`: the id is {id}")));
            };
            let token = AddedToken::from(text.as_str(), named.contains(&text));
            insert(added, id, token, &path).map_err(content(&path))?;
        }
    }
    let Some((path, file)) = file else {
        return Ok(());
    };
    let listed = file.get("added_tokens").and_then(Value::as_array);
    let listed = listed.ok_or_else(|| content(path)("`added_tokens` is not a list".to_owned()))?;
    for (index, value) in listed.iter().enumerate() {
        let key = format!("added_tokens[{index}]");
        let mut value = value.clone();
        let id = value.as_object_mut().and_then(|value| value.remove("id"));
        let Some(id) = id.as_ref().and_then(Value::as_u64) else {
            return Err(content(path)(format!("`{key}`: no id")));
        };
        let token = token(&key, &value, None).map_err(content(path))?;
        insert(added, id, token, path).map_err(content(path))?;
    }
    Ok(())
}

/// Adds a token. When several files give the same id, the last decides on the flags; the texts must agree.
fn insert(
    added: &mut BTreeMap<u64, Added>,
    id: u64,
    token: AddedToken,
    file: &Path,
) -> Result<(), String> {
    if let Some(other) = added.get(&id)
        && other.token.content != token.content
    {
        return Err(format!(
            "id {id} is `{}`, but {} has `{}` there",
            token.content,
            other.file.display(),
            other.token.content
        ));
    }
    let file = file.to_owned();
    added.insert(id, Added { token, file });
    Ok(())
}

/// Refuses settings with which transformers would not use the files beside them.
fn check_settings(settings: &Map<String, Value>) -> Result<(), String> {
    let is_set = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(items) => !items.is_empty(),
        _ => true,
    };
    for key in [
        "auto_map",
        "fast_tokenizer_files",
        "fix_mistral_regex",
        "gguf_file",
        "init_inputs",
        "merges",
        "post_processor",
        "split_special_tokens",
        "tokenizer_object",
        "tokenizer_padding",
        "tokenizer_truncation",
        "vocab",
    ] {
        if settings.get(key).is_some_and(is_set) {
            return Err(format!(
                "`{key}` is not supported; save the tokenizer without it"
            ));
        }
    }
    for key in ["padding_side", "truncation_side"] {
        match settings.get(key) {
            None => {}
            Some(side) if side == "left" || side == "right" => {}
            Some(side) => return Err(format!("`{key}` is {side}, not \"left\" or \"right\"")),
        }
    }
    Ok(())
}

/// Reads `vocab.json` and `merges.txt` in the form of a `tokenizer.json`.
fn vocabulary(directory: &Path) -> Result<Map<String, Value>, TokenizerError> {
    let (vocab, merges) = (directory.join("vocab.json"), directory.join("merges.txt"));
    let (Some(entries), true) = (object(&vocab)?, merges.is_file()) else {
        return Err(TokenizerError::Missing(directory.to_owned()));
    };
    for (token, id) in &entries {
        if id.as_u64().is_none_or(|id| id > u64::from(u32::MAX)) {
            return Err(content(&vocab)(format!("token `{token}`: the id is {id}")));
        }
    }
    let text = std::fs::read_to_string(&merges).map_err(|error| TokenizerError::Format {
        origin: merges.clone(),
        message: error.to_string(),
    })?;
    let mut pairs = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("#version") {
            continue;
        }
        match line.split_once(' ') {
            Some((left, right)) if !right.contains(' ') => {
                for token in [left, right, &format!("{left}{right}")] {
                    if !entries.contains_key(token) {
                        let line = index + 1;
                        let message = format!("line {line}: `{token}` is not in vocab.json");
                        return Err(content(&merges)(message));
                    }
                }
                pairs.push(json!([left, right]));
            }
            _ => {
                let message = format!("line {} is not two tokens: `{line}`", index + 1);
                return Err(content(&merges)(message));
            }
        }
    }
    let model = json!({"type": "BPE", "vocab": entries, "merges": pairs});
    Ok(Map::from_iter([("model".to_owned(), model)]))
}

/// Reads the JSON object in a file. None when there is no such file.
fn object(path: &Path) -> Result<Option<Map<String, Value>>, TokenizerError> {
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = std::fs::read(path).map_err(|error| TokenizerError::Format {
        origin: path.to_owned(),
        message: error.to_string(),
    })?;
    parse_object(path, &bytes).map(Some)
}

fn parse_object(path: &Path, bytes: &[u8]) -> Result<Map<String, Value>, TokenizerError> {
    serde_json::from_slice(bytes).map_err(|error| TokenizerError::Format {
        origin: path.to_owned(),
        message: error.to_string(),
    })
}

pub(super) fn content(path: &Path) -> impl Fn(String) -> TokenizerError {
    move |message| TokenizerError::Content {
        path: path.to_owned(),
        message,
    }
}
