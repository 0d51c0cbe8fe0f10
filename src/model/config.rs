//! What is common to the `config.json` of all families: the numbers that others ask for, and what can be wrong.

use serde::{Serialize, Serializer};

use super::family::FamilyConfig;
use super::keys::Keys;

/// The tokens that end a text, as `eos_token_id` has them: null, a number or a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ends(Vec<u32>);

impl Ends {
    /// The one that is written behind a document: the first.
    pub fn first(&self) -> Option<u32> {
        self.0.first().copied()
    }

    /// All of them.
    pub fn ids(&self) -> &[u32] {
        &self.0
    }

    /// Whether this token ends a text.
    pub fn has(&self, token: u32) -> bool {
        self.0.contains(&token)
    }
}

impl From<Vec<u32>> for Ends {
    fn from(ids: Vec<u32>) -> Self {
        Self(ids)
    }
}

impl From<&Ends> for Ends {
    fn from(ends: &Ends) -> Self {
        ends.clone()
    }
}

impl From<Option<u32>> for Ends {
    fn from(id: Option<u32>) -> Self {
        Self(Vec::from_iter(id))
    }
}

impl Serialize for Ends {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [] => serializer.serialize_none(),
            [id] => serializer.serialize_u32(*id),
            ids => ids.serialize(serializer),
        }
    }
}

/// What is asked of the config of any network, in plain numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Vocabulary size, V.
    pub vocab_size: usize,
    /// Longest sequence, in tokens.
    pub n_positions: usize,
    /// Number of transformer blocks.
    pub layers: usize,
    /// Width of the hidden states, D.
    pub width: usize,
    /// Heads of a block whose keys and values are kept.
    pub kv_heads: usize,
    /// Width of one of these heads.
    pub head_width: usize,
    /// Id of the token that is written behind a document, when there is one. Others may end a text, too.
    pub eos_token_id: Option<u32>,
}

/// Why a `config.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not a JSON object.
    #[error("not a config of this kind of network: {0}")]
    Json(#[from] serde_json::Error),
    /// A key that is needed is not there.
    #[error("not a config of this kind of network: key `{0}` is missing")]
    Missing(&'static str),
    /// A key has a value of the wrong kind.
    #[error("`{key}`: {message}")]
    Value {
        /// The key in `config.json`.
        key: &'static str,
        /// What is wrong with its value.
        message: String,
    },
    /// A network of a family that is not known.
    #[error(
        "`model_type` is `{found}`, but only networks of these families are supported: {known}"
    )]
    Family {
        /// The `model_type` in `config.json`.
        found: String,
        /// The families that are known.
        known: String,
    },
    /// A valid config of a network that this implementation does not compute.
    #[error("`{key}` is {found}, but only {supported} is supported")]
    Unsupported {
        /// The key in `config.json`.
        key: &'static str,
        /// Its value there.
        found: String,
        /// What would be accepted.
        supported: &'static str,
    },
}

pub(super) fn refuse(
    key: &'static str,
    found: &dyn std::fmt::Display,
    supported: &'static str,
) -> Result<(), ConfigError> {
    Err(ConfigError::Unsupported {
        key,
        found: found.to_string(),
        supported,
    })
}

/// Refuses an epsilon of a layer norm that is not a positive number in single precision.
pub(super) fn check_epsilon(key: &'static str, epsilon: f64) -> Result<(), ConfigError> {
    let single = epsilon as f32;
    if single > 0.0 && single.is_finite() {
        return Ok(());
    }
    refuse(key, &epsilon, "a small positive number")
}

/// Refuses an end of text that is not in the vocabulary.
pub(super) fn check_ends(ends: &Ends, vocab_size: usize) -> Result<(), ConfigError> {
    match ends.ids().iter().find(|&&id| id as usize >= vocab_size) {
        Some(id) => refuse("eos_token_id", id, "an id below `vocab_size`"),
        None => Ok(()),
    }
}

/// Refuses a token that is not in the vocabulary.
pub(super) fn check_token(
    key: &'static str,
    id: Option<u32>,
    vocab_size: usize,
) -> Result<(), ConfigError> {
    match id {
        Some(id) if id as usize >= vocab_size => refuse(key, &id, "an id below `vocab_size`"),
        _ => Ok(()),
    }
}

/// Refuses a probability of dropout that is none.
pub(super) fn check_dropout(key: &'static str, p: f64) -> Result<(), ConfigError> {
    if (0.0..1.0).contains(&p) {
        return Ok(());
    }
    refuse(key, &p, "a probability below 1")
}

/// Refuses a network with nothing of something.
pub(super) fn check_size(key: &'static str, size: usize) -> Result<(), ConfigError> {
    if size > 0 {
        return Ok(());
    }
    refuse(key, &size, "a positive number")
}

/// Refuses the config of a network with another class than one of `known`, the first of which is that of the language model.
pub(super) fn check_architecture(keys: &Keys, known: &[&'static str]) -> Result<(), ConfigError> {
    let named: Vec<String> = keys.or("architectures", None)?.unwrap_or_default();
    let other = named.iter().find(|name| !known.contains(&name.as_str()));
    match (other, known) {
        (Some(other), [supported, ..]) => {
            let kind = keys.or("model_type", "gpt2".to_owned())?;
            let found = format!("`{other}` with `model_type` `{kind}`");
            refuse("architectures", &found, supported)
        }
        _ => Ok(()),
    }
}

/// Heeds the ends of text of a `generation_config.json`, by which transformers ends a text that it generates.
///
/// # Errors
/// When an end of text of `config` is not among them: which one ends a text cannot be told.
pub(super) fn heed_generation(
    config: &mut impl FamilyConfig,
    json: &str,
) -> Result<(), ConfigError> {
    const KEY: &str = "eos_token_id";
    let given = Keys::parse(json)?.tokens(KEY)?.unwrap_or_default();
    if given.ids().is_empty() {
        return Ok(());
    }
    let vocab_size = config.numbers().vocab_size;
    check_ends(&given, vocab_size)?;
    let own = config.ends_mut();
    if let Some(missing) = own.ids().iter().find(|id| !given.ids().contains(id)) {
        return Err(ConfigError::Value {
            key: KEY,
            message: format!(
                "{}, but config.json has {missing}; make them the same",
                serde_json::json!(given)
            ),
        });
    }
    // What is written behind a document stays the first.
    let others = given.ids().iter().filter(|id| !own.ids().contains(id));
    let all: Vec<u32> = own.ids().iter().chain(others).copied().collect();
    *own = all.into();
    Ok(())
}
