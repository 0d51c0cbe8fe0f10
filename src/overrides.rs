//! Changes to an experiment's TOML from the command line: `train.max_steps=50 seed=7`.

use toml_edit::{DocumentMut, InlineTable, Item, Key, Table, Value};

/// Why an override cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum OverrideError {
    /// Not `key.path=value`.
    #[error("`{0}` is not an override; write key=value, such as train.max_steps=50")]
    Form(String),
    /// The value is not TOML.
    #[error("override `{text}`: the value is not TOML: {message}")]
    Value {
        /// The override.
        text: String,
        /// TOML's reason.
        message: String,
    },
    /// The path goes through something that is not a table.
    #[error("override `{text}`: `{key}` is a value, not a table")]
    NotATable {
        /// The override.
        text: String,
        /// The key in the middle.
        key: String,
    },
    /// A quote or bracket is not closed, or closed twice.
    #[error("`{0}`: a quote or bracket is not closed, or closed without being open")]
    Unclosed(String),
    /// The text itself is not TOML.
    #[error("nothing can be overridden in a text that is not TOML: {0}")]
    Text(String),
}

/// One change to a TOML document: a key gets a value or is removed.
#[derive(Debug, Clone)]
pub struct Override {
    text: String,
    path: Vec<String>,
    /// None removes the key.
    value: Option<Value>,
}

impl Override {
    /// The key with its tables: `train.max_steps`.
    pub fn key(&self) -> String {
        self.path.join(".")
    }

    /// An override that removes a key, so that its default applies. `key` is dotted and has no quoted parts.
    pub fn removal(key: &str) -> Self {
        Self {
            text: key.to_owned(),
            path: key.split('.').map(str::to_owned).collect(),
            value: None,
        }
    }
}

impl std::str::FromStr for Override {
    type Err = OverrideError;

    /// Reads `key.path=value`. Keys are written as in TOML, in quotes where they contain a dot. The value is TOML, or a bare word, which is
    /// taken as a string.
    fn from_str(text: &str) -> Result<Self, OverrideError> {
        let form = || OverrideError::Form(text.to_owned());
        let (path, value) = text.split_once('=').ok_or_else(form)?;
        let path = Key::parse(path.trim()).map_err(|_| form())?;
        let path = path.iter().map(|key| key.get().to_owned()).collect();
        let value = value.trim();
        let bare = |letter: char| letter.is_alphanumeric() || "-_:/.%+~\\".contains(letter);
        let value = match value.parse::<Value>() {
            Ok(value) => value,
            // A number that TOML cannot hold is an error, not a bare word.
            Err(_) if is_whole_number(value) => {
                return Err(OverrideError::Value {
                    text: text.to_owned(),
                    message: format!(
                        "this whole number is too large: the largest that TOML can hold is {}",
                        i64::MAX
                    ),
                });
            }
            Err(_) if !value.is_empty() && value.chars().all(bare) => Value::from(value),
            Err(error) => {
                return Err(OverrideError::Value {
                    text: text.to_owned(),
                    message: error.message().trim().to_owned(),
                });
            }
        };
        Ok(Self {
            text: text.to_owned(),
            path,
            value: Some(value),
        })
    }
}

fn is_whole_number(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.is_empty()
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'_')
}

/// Splits `a=1 b='x y' c=[1, 2]` at white space outside quotes and brackets.
///
/// # Errors
/// When a quote or bracket is not closed, or a part is not an override.
pub fn split(text: &str) -> Result<Vec<Override>, OverrideError> {
    let parts = split_at(text, char::is_whitespace)?;
    let parts = parts.iter().filter(|part| !part.is_empty());
    parts.map(|part| part.parse()).collect()
}

/// Splits a text at separators outside quotes and brackets.
///
/// # Errors
/// When a quote or bracket is not closed.
pub fn split_at(text: &str, separates: fn(char) -> bool) -> Result<Vec<&str>, OverrideError> {
    let unclosed = || OverrideError::Unclosed(text.to_owned());
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut index, mut depth) = (0, 0u32);
    while let Some(letter) = text[index..].chars().next() {
        let mut next = index + letter.len_utf8();
        match letter {
            '"' | '\'' => next = index + string_length(&text[index..]).ok_or_else(unclosed)?,
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.checked_sub(1).ok_or_else(unclosed)?,
            _ if separates(letter) && depth == 0 => {
                parts.push(&text[start..index]);
                start = next;
            }
            _ => {}
        }
        index = next;
    }
    parts.push(&text[start..]);
    match depth {
        0 => Ok(parts),
        _ => Err(unclosed()),
    }
}

/// The length in bytes of the TOML string at the start of `text`, quotes included. None when the string does not end.
fn string_length(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let three = quote.to_string().repeat(3);
    let fence = if text.starts_with(&three) {
        &three[..]
    } else {
        &three[..1]
    };
    let mut index = fence.len();
    while !text[index..].starts_with(fence) {
        let mut letters = text[index..].chars();
        let letter = letters.next()?;
        index += letter.len_utf8();
        if quote == '"' && letter == '\\' {
            index += letters.next()?.len_utf8();
        }
    }
    index += fence.len();
    // A string in triple quotes may itself end in quotes, right before the closing three.
    while fence == three && text[index..].starts_with(quote) {
        index += 1;
    }
    Some(index)
}

/// Applies the overrides to a TOML text, in order. Comments and the order of keys are kept.
///
/// # Errors
/// When the text is not TOML, or a path goes through something that is not a table.
pub fn apply(text: &str, overrides: &[Override]) -> Result<String, OverrideError> {
    let mut document: DocumentMut = text
        .parse()
        .map_err(|error: toml_edit::TomlError| OverrideError::Text(error.message().to_owned()))?;
    for one in overrides {
        let Some((last, tables)) = one.path.split_last() else {
            continue;
        };
        let mut item = document.as_item_mut();
        for key in tables {
            if item.get(key).is_none() {
                let new = match item {
                    // A table inside an inline table must be inline, too.
                    Item::Value(_) => Item::Value(InlineTable::new().into()),
                    _ => {
                        let mut table = Table::new();
                        table.set_implicit(true);
                        Item::Table(table)
                    }
                };
                if let Some(table) = item.as_table_like_mut() {
                    table.insert(key, new);
                }
            }
            item = match item.get_mut(key) {
                Some(next) if next.is_table_like() => next,
                _ => {
                    return Err(OverrideError::NotATable {
                        text: one.text.clone(),
                        key: key.clone(),
                    });
                }
            };
        }
        let Some(mut value) = one.value.clone() else {
            if let Some(table) = item.as_table_like_mut() {
                table.remove(last);
            }
            continue;
        };
        match item.get_mut(last) {
            // The new value takes the place of the old one and keeps the comment behind it.
            Some(Item::Value(old)) => {
                *value.decor_mut() = old.decor().clone();
                *old = value;
            }
            Some(old) => *old = Item::Value(value),
            None => {
                if let Some(table) = item.as_table_like_mut() {
                    table.insert(last, Item::Value(value));
                }
            }
        }
    }
    Ok(document.to_string())
}
