//! What is common to the `config.json` of all families: the numbers that others ask for, and what can be wrong.

use super::family::FamilyConfig;
use super::keys::Keys;

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
    /// Id of the end-of-text token, when there is one.
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
pub(super) fn check_end_of_text(eos: Option<u32>, vocab_size: usize) -> Result<(), ConfigError> {
    match eos {
        Some(eos) if eos as usize >= vocab_size => {
            refuse("eos_token_id", &eos, "an id below `vocab_size`")
        }
        _ => Ok(()),
    }
}

/// Takes the end of text from the text of a `generation_config.json`, which transformers asks when it generates, where `config` has none.
///
/// # Errors
/// When the two name different ends of text: which one ends a text cannot be told.
pub(super) fn heed_generation(
    config: &mut impl FamilyConfig,
    json: &str,
) -> Result<(), ConfigError> {
    const KEY: &str = "eos_token_id";
    let Some(Some(eos)) = Keys::parse(json)?.token(KEY)? else {
        return Ok(());
    };
    let vocab_size = config.numbers().vocab_size;
    let own = config.end_of_text();
    match *own {
        Some(own) if own != eos => {
            return Err(ConfigError::Value {
                key: KEY,
                message: format!("{eos}, but config.json has {own}; make them the same"),
            });
        }
        _ => *own = Some(eos),
    }
    check_end_of_text(Some(eos), vocab_size)
}
