//! `config.json` of a RoBERTa sequence classifier in Hugging Face layout.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::ConfigError;

/// The keys that decide what a RoBERTa classifier computes. Unknown keys are ignored, as transformers does.
#[derive(Debug, Clone, PartialEq, Deserialize)]
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
    #[serde(default = "one")]
    pub type_vocab_size: usize,
    /// Added to the variance in every layer normalisation.
    #[serde(default = "epsilon")]
    pub layer_norm_eps: f64,
    /// Only GELU by the error function.
    #[serde(default = "gelu")]
    pub hidden_act: String,
    /// Id of the padding token.
    #[serde(default = "one")]
    pub pad_token_id: usize,
    /// Id of the token that begins a text; the classifier reads its verdict there.
    #[serde(default)]
    pub bos_token_id: u32,
    /// Id of the token that ends a text.
    #[serde(default = "two")]
    pub eos_token_id: u32,
    /// Names of the classes by their numbers.
    #[serde(default = "two_labels")]
    pub id2label: BTreeMap<usize, String>,
    /// `single_label_classification` (softmax) or `multi_label_classification` (a sigmoid for each label).
    #[serde(default)]
    pub problem_type: Option<String>,
}

fn one() -> usize {
    1
}
fn two() -> u32 {
    2
}
fn epsilon() -> f64 {
    1e-12
}
fn gelu() -> String {
    "gelu".to_owned()
}
fn two_labels() -> BTreeMap<usize, String> {
    (0..2).map(|id| (id, format!("LABEL_{id}"))).collect()
}

impl RobertaConfig {
    /// Parses and validates the text of a `config.json`.
    ///
    /// # Errors
    /// When it is not one of a RoBERTa that this implementation computes.
    pub fn parse(json: &str) -> Result<Self, ConfigError> {
        #[derive(Deserialize)]
        struct Kind {
            #[serde(default)]
            model_type: String,
        }
        // First, what kind of network it is: another one's config lacks RoBERTa's keys, and that would be the wrong complaint.
        let kind: Kind = serde_json::from_str(json)?;
        let refuse = |key, found: String, supported| {
            Err(ConfigError::Unsupported {
                key,
                found,
                supported,
            })
        };
        if !["roberta", "xlm-roberta"].contains(&kind.model_type.as_str()) {
            let found = format!("`{}`", kind.model_type);
            return refuse("model_type", found, "`roberta` or `xlm-roberta`");
        }
        let config: Self = serde_json::from_str(json)?;
        if config.hidden_act != "gelu" {
            return refuse("hidden_act", format!("`{}`", config.hidden_act), "`gelu`");
        }
        if config.num_attention_heads == 0
            || !config
                .hidden_size
                .is_multiple_of(config.num_attention_heads)
        {
            let found = config.num_attention_heads.to_string();
            return refuse("num_attention_heads", found, "a divisor of `hidden_size`");
        }
        if config.longest() < 3 {
            let found = config.max_position_embeddings.to_string();
            return refuse("max_position_embeddings", found, "room for three tokens");
        }
        if config.id2label.keys().copied().ne(0..config.id2label.len()) {
            let found = format!("{:?}", config.id2label);
            return refuse("id2label", found, "labels numbered from 0");
        }
        Ok(config)
    }

    /// Tokens that a text may have, with the two at its ends.
    pub fn longest(&self) -> usize {
        self.max_position_embeddings
            .saturating_sub(self.pad_token_id + 1)
    }

    /// Names of the classes, in the order of the logits.
    pub fn labels(&self) -> Vec<&str> {
        self.id2label.values().map(String::as_str).collect()
    }
}
