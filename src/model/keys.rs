//! The keys of a `config.json`, read by name, so that a message can name the one that is wrong.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::config::{ConfigError, Ends};

/// The keys of a JSON object.
pub(super) struct Keys(Map<String, Value>);

impl Keys {
    /// Parses the text of a JSON object.
    pub fn parse(json: &str) -> Result<Self, ConfigError> {
        Ok(Self(serde_json::from_str(json)?))
    }

    /// The value of a key; None where it is absent.
    pub fn get<T: DeserializeOwned>(&self, key: &'static str) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.0.get(key) else {
            return Ok(None);
        };
        match serde_json::from_value(value.clone()) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(ConfigError::Value {
                key,
                message: error.to_string(),
            }),
        }
    }

    /// The value of a key, or `usual` where it is absent.
    pub fn or<T: DeserializeOwned>(&self, key: &'static str, usual: T) -> Result<T, ConfigError> {
        Ok(self.get(key)?.unwrap_or(usual))
    }

    /// The value of a key that must be there.
    pub fn needed<T: DeserializeOwned>(&self, key: &'static str) -> Result<T, ConfigError> {
        self.get(key)?.ok_or(ConfigError::Missing(key))
    }

    /// Reads `alias` as `key`, as transformers does. A file with both is refused: which of the two holds depends on their order.
    pub fn alias(&mut self, alias: &'static str, key: &'static str) -> Result<(), ConfigError> {
        let Some(value) = self.0.remove(alias) else {
            return Ok(());
        };
        if self.0.contains_key(key) {
            return Err(ConfigError::Value {
                key: alias,
                message: format!("it is another name of `{key}`, which is there too; keep one"),
            });
        }
        self.0.insert(key.to_owned(), value);
        Ok(())
    }

    /// Refuses a key that changes what the network computes, unless it is null, false or empty.
    pub fn refuse(&self, key: &'static str) -> Result<(), ConfigError> {
        let Some(value) = self.0.get(key) else {
            return Ok(());
        };
        let unset = match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(items) => items.is_empty(),
            _ => false,
        };
        if unset {
            return Ok(());
        }
        Err(ConfigError::Value {
            key,
            message: "this is not supported; a checkpoint without it is needed".to_owned(),
        })
    }

    /// The id of a token; None where the key is absent, Some(None) where it is null.
    pub fn token(&self, key: &'static str) -> Result<Option<Option<u32>>, ConfigError> {
        self.get(key)
    }

    /// The ids of tokens: a number, null, or a list of numbers; None where the key is absent. A list without any is refused: transformers would
    /// never end a text.
    pub fn tokens(&self, key: &'static str) -> Result<Option<Ends>, ConfigError> {
        match self.0.get(key) {
            Some(Value::Array(ids)) if ids.is_empty() => Err(ConfigError::Unsupported {
                key,
                found: "[]".to_owned(),
                supported: "null, an id or some ids",
            }),
            Some(Value::Array(_)) => Ok(self.get::<Vec<u32>>(key)?.map(Ends::from)),
            _ => Ok(self.get::<Option<u32>>(key)?.map(Ends::from)),
        }
    }
}
