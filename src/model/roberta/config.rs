//! `config.json` of a RoBERTa sequence classifier in Hugging Face layout.

use std::collections::BTreeMap;

use crate::model::ConfigError;
use crate::model::config::{check_epsilon, refuse};
use crate::model::keys::Keys;

/// The keys that decide what a RoBERTa classifier computes. Unknown keys are ignored, as transformers does.
#[derive(Debug, Clone, PartialEq)]
pub struct RobertaConfig {
    /// `roberta`, or `xlm-roberta`, which is the same network with another tokenizer.
    pub model_type: String,
    /// Vocabulary size.
    pub vocab_size: usize,
    /// Width of the residual stream, D.
    pub hidden_size: usize,
    /// Number of transformer layers.
    pub num_hidden_layers: usize,
    /// Attention heads a layer; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Rows of the position table; those up to the padding token's id are not used for text.
    pub max_position_embeddings: usize,
    /// Rows of the segment table; text is segment 0.
    pub type_vocab_size: usize,
    /// Added to the variance in every layer normalisation.
    pub layer_norm_eps: f64,
    /// Only GELU by the error function.
    pub hidden_act: String,
    /// Id of the padding token.
    pub pad_token_id: usize,
    /// Id of the token that begins a text; the classifier reads its verdict there.
    pub bos_token_id: u32,
    /// Id of the token that ends a text.
    pub eos_token_id: u32,
    /// Names of the classes by their numbers.
    pub id2label: BTreeMap<usize, String>,
    /// `single_label_classification` (softmax) or `multi_label_classification` (a sigmoid for each label).
    pub problem_type: Option<String>,
}

/// The classes' names; where the file has none, those that transformers makes up.
fn id2label(keys: &Keys) -> Result<BTreeMap<usize, String>, ConfigError> {
    let count: Option<usize> = keys.or("num_labels", None)?;
    let named: Option<BTreeMap<usize, String>> = keys.or("id2label", None)?;
    match (named, count) {
        (Some(named), Some(count)) if named.len() != count => Err(ConfigError::Value {
            key: "num_labels",
            message: format!("{count} classes, but `id2label` names {}", named.len()),
        }),
        (Some(named), _) => Ok(named),
        (None, Some(count)) if count > MOST_LABELS => Err(ConfigError::Unsupported {
            key: "num_labels",
            found: count.to_string(),
            supported: "at most 10,000 classes",
        }),
        (None, count) => {
            let names = (0..count.unwrap_or(2)).map(|id| (id, format!("LABEL_{id}")));
            Ok(names.collect())
        }
    }
}

/// Classes that names are made up for.
const MOST_LABELS: usize = 10_000;

impl RobertaConfig {
    /// Parses and validates the text of a `config.json`.
    ///
    /// # Errors
    /// When it is not one of a RoBERTa that this implementation computes.
    pub fn parse(json: &str) -> Result<Self, ConfigError> {
        let keys = Keys::parse(json)?;
        // First, what kind of network it is: another one's config lacks RoBERTa's keys, and that would be the wrong complaint.
        let model_type: String = keys.or("model_type", String::new())?;
        if !["roberta", "xlm-roberta"].contains(&model_type.as_str()) {
            let found = format!("`{model_type}`");
            refuse("model_type", &found, "`roberta` or `xlm-roberta`")?;
        }
        for key in ["quantization_config", "is_decoder", "add_cross_attention"] {
            keys.refuse(key)?;
        }
        let positions: String = keys.or("position_embedding_type", "absolute".to_owned())?;
        if positions != "absolute" {
            refuse("position_embedding_type", &positions, "`absolute`")?;
        }
        let config = Self {
            model_type,
            vocab_size: keys.needed("vocab_size")?,
            hidden_size: keys.needed("hidden_size")?,
            num_hidden_layers: keys.needed("num_hidden_layers")?,
            num_attention_heads: keys.needed("num_attention_heads")?,
            intermediate_size: keys.needed("intermediate_size")?,
            max_position_embeddings: keys.needed("max_position_embeddings")?,
            type_vocab_size: keys.or("type_vocab_size", 2)?,
            layer_norm_eps: keys.or("layer_norm_eps", 1e-12)?,
            hidden_act: keys.or("hidden_act", "gelu".to_owned())?,
            pad_token_id: token(&keys, "pad_token_id", 1)? as usize,
            bos_token_id: token(&keys, "bos_token_id", 0)?,
            eos_token_id: token(&keys, "eos_token_id", 2)?,
            id2label: id2label(&keys)?,
            problem_type: keys.or("problem_type", None)?,
        };
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        if self.hidden_act != "gelu" {
            let found = format!("`{}`", self.hidden_act);
            return refuse("hidden_act", &found, "`gelu`");
        }
        if self.num_attention_heads == 0
            || !self.hidden_size.is_multiple_of(self.num_attention_heads)
        {
            let found = self.num_attention_heads;
            return refuse("num_attention_heads", &found, "a divisor of `hidden_size`");
        }
        for (key, size) in [
            ("hidden_size", self.hidden_size),
            ("vocab_size", self.vocab_size),
            ("type_vocab_size", self.type_vocab_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("intermediate_size", self.intermediate_size),
        ] {
            if size == 0 {
                return refuse(key, &size, "a positive number");
            }
        }
        for (key, id) in [
            ("pad_token_id", self.pad_token_id),
            ("bos_token_id", self.bos_token_id as usize),
            ("eos_token_id", self.eos_token_id as usize),
        ] {
            if id >= self.vocab_size {
                return refuse(key, &id, "an id below `vocab_size`");
            }
        }
        if self.longest() < 3 {
            let found = self.max_position_embeddings;
            return refuse("max_position_embeddings", &found, "room for three tokens");
        }
        check_epsilon("layer_norm_eps", self.layer_norm_eps)?;
        let numbered = self.id2label.keys().copied().eq(0..self.id2label.len());
        if self.id2label.is_empty() || !numbered {
            let found = format!("{:?}", self.id2label);
            return refuse("id2label", &found, "labels numbered from 0");
        }
        Ok(())
    }

    /// Tokens that a text may have, with the two at its ends.
    pub fn longest(&self) -> usize {
        self.max_position_embeddings
            .saturating_sub(self.pad_token_id.saturating_add(1))
    }

    /// Names of the classes, in the order of the logits.
    pub fn labels(&self) -> Vec<&str> {
        self.id2label.values().map(String::as_str).collect()
    }
}

/// The id of a token that the network needs; `usual` where the key is absent.
fn token(keys: &Keys, key: &'static str, usual: u32) -> Result<u32, ConfigError> {
    match keys.token(key)?.unwrap_or(Some(usual)) {
        Some(id) => Ok(id),
        None => Err(ConfigError::Unsupported {
            key,
            found: "null".to_owned(),
            supported: "an id",
        }),
    }
}
