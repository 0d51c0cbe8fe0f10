//! Overrides of an experiment from the command line: `train.max_steps=50 seed=7`.

use toml_edit::{DocumentMut, Item, Table, Value};

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
    /// A quote or bracket is not closed.
    #[error("`{0}`: a quote or bracket is not closed")]
    Unclosed(String),
}

/// One override.
#[derive(Debug, Clone)]
pub struct Override {
    text: String,
    path: Vec<String>,
    value: Value,
}

impl std::str::FromStr for Override {
    type Err = OverrideError;

    /// `key.path=value`; the value is TOML, or a bare word, which is taken as a string.
    fn from_str(text: &str) -> Result<Self, OverrideError> {
        let form = || OverrideError::Form(text.to_owned());
        let (path, value) = text.split_once('=').ok_or_else(form)?;
        let path: Vec<String> = path
            .trim()
            .split('.')
            .map(|key| key.trim().to_owned())
            .collect();
        if path.iter().any(String::is_empty) {
            return Err(form());
        }
        let value = value.trim();
        let bare = |letter: char| letter.is_alphanumeric() || "-_:/.%+".contains(letter);
        let value = match value.parse::<Value>() {
            Ok(value) => value,
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
            value,
        })
    }
}

/// Splits `a=1 b='x y' c=[1, 2]` at white space outside quotes and brackets.
///
/// # Errors
/// When a quote or bracket stays open, or a part is not an override.
pub fn split(text: &str) -> Result<Vec<Override>, OverrideError> {
    let mut parts = vec![String::new()];
    let (mut depth, mut quote) = (0i32, None);
    for letter in text.chars() {
        match (quote, letter) {
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth -= 1,
            _ => {}
        }
        if letter.is_whitespace() && quote.is_none() && depth == 0 {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    if quote.is_some() || depth != 0 {
        return Err(OverrideError::Unclosed(text.to_owned()));
    }
    let parts = parts.iter().filter(|part| !part.is_empty());
    parts.map(|part| part.parse()).collect()
}

/// The TOML text with every override applied, in order; comments and places are kept. The text must be valid TOML.
///
/// # Errors
/// When a path goes through something that is not a table.
pub fn apply(text: &str, overrides: &[Override]) -> Result<String, OverrideError> {
    let mut document: DocumentMut =
        text.parse()
            .map_err(|error: toml_edit::TomlError| OverrideError::Value {
                text: "the experiment".to_owned(),
                message: error.message().to_owned(),
            })?;
    for one in overrides {
        let Some((last, tables)) = one.path.split_last() else {
            continue;
        };
        let mut item = document.as_item_mut();
        for key in tables {
            if item.get(key).is_none()
                && let Some(table) = item.as_table_mut()
            {
                let mut new = Table::new();
                new.set_implicit(true);
                table.insert(key, Item::Table(new));
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
        let mut value = one.value.clone();
        match item.get_mut(last) {
            // In its place, with the comment behind it.
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
