//! `config.json` of a GPT-2 in Hugging Face layout, and the refusal of what this implementation would compute wrongly.

use serde::{Deserialize, Serialize};

/// The keys of a GPT-2 `config.json` that decide what the network computes. Unknown keys are ignored, as transformers does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gpt2Config {
    /// Always `gpt2`.
    #[serde(default = "gpt2")]
    pub model_type: String,
    /// Vocabulary size, V.
    pub vocab_size: usize,
    /// Longest sequence, in tokens.
    pub n_positions: usize,
    /// Width of the residual stream, D.
    pub n_embd: usize,
    /// Number of transformer blocks.
    pub n_layer: usize,
    /// Attention heads a block; divides `n_embd`.
    pub n_head: usize,
    /// Width of the feed-forward layer; 4 x `n_embd` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_inner: Option<usize>,
    /// Only the tanh form of GELU that GPT-2 was trained with.
    #[serde(default = "gelu_new")]
    pub activation_function: String,
    /// Dropout after the sum of token and position embeddings.
    #[serde(default = "tenth")]
    pub embd_pdrop: f64,
    /// Dropout of the attention weights.
    #[serde(default = "tenth")]
    pub attn_pdrop: f64,
    /// Dropout of what each sub-layer adds to the residual stream.
    #[serde(default = "tenth")]
    pub resid_pdrop: f64,
    /// Added to the variance in every layer normalisation.
    #[serde(default = "layer_norm_epsilon")]
    pub layer_norm_epsilon: f64,
    /// Standard deviation of the initial weights.
    #[serde(default = "initializer_range")]
    pub initializer_range: f64,
    /// Id of the beginning-of-text token, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bos_token_id: Option<u32>,
    /// Id of the end-of-text token, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eos_token_id: Option<u32>,
    /// Must be true: the output head is the transposed token embedding.
    #[serde(default = "yes")]
    pub tie_word_embeddings: bool,
    /// Must be true: scores are divided by the square root of the head's width.
    #[serde(default = "yes")]
    pub scale_attn_weights: bool,
    /// Must be false.
    #[serde(default)]
    pub scale_attn_by_inverse_layer_idx: bool,
    /// Must be false.
    #[serde(default)]
    pub add_cross_attention: bool,
    /// What transformers calls the class to load; written so that it finds the head.
    #[serde(default = "architectures", deserialize_with = "null_is_usual")]
    pub architectures: Vec<String>,
}

fn gpt2() -> String {
    "gpt2".to_owned()
}
fn gelu_new() -> String {
    "gelu_new".to_owned()
}
fn architectures() -> Vec<String> {
    vec!["GPT2LMHeadModel".to_owned()]
}
fn null_is_usual<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_else(architectures))
}
fn tenth() -> f64 {
    0.1
}
fn layer_norm_epsilon() -> f64 {
    1e-5
}
fn initializer_range() -> f64 {
    0.02
}
fn yes() -> bool {
    true
}

/// Why a `config.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, or a key is missing or of the wrong type.
    #[error("not a config of this kind of network: {0}")]
    Json(#[from] serde_json::Error),
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

/// The keys that say which class of transformers a config belongs to.
#[derive(Deserialize)]
struct Kind {
    #[serde(default = "gpt2")]
    model_type: String,
    #[serde(default, deserialize_with = "null_is_usual")]
    architectures: Vec<String>,
}

impl Kind {
    fn validate(&self) -> Result<(), ConfigError> {
        if self.model_type != "gpt2" {
            return refuse("model_type", &self.model_type, "`gpt2`");
        }
        // The double-heads model has the same network below a second head.
        let known = ["GPT2LMHeadModel", "GPT2Model", "GPT2DoubleHeadsModel"];
        match self
            .architectures
            .iter()
            .find(|name| !known.contains(&name.as_str()))
        {
            Some(other) => refuse("architectures", &format!("`{other}`"), "`GPT2LMHeadModel`"),
            None => Ok(()),
        }
    }
}

fn refuse(
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

impl Gpt2Config {
    /// Parses and validates the text of a `config.json`.
    ///
    /// # Errors
    /// When the text is not a GPT-2 config or describes a network with another arithmetic than GPT-2's.
    pub fn parse(json: &str) -> Result<Self, ConfigError> {
        // First, what kind of network it is: another one's config lacks GPT-2's keys, and that would be the wrong complaint.
        let kind: Kind = serde_json::from_str(json)?;
        kind.validate()?;
        let config: Self = serde_json::from_str(json)?;
        config.validate()?;
        Ok(Self {
            architectures: architectures(),
            ..config
        })
    }

    fn validate(&self) -> Result<(), ConfigError> {
        if !["gelu_new", "gelu_pytorch_tanh"].contains(&self.activation_function.as_str()) {
            return refuse(
                "activation_function",
                &self.activation_function,
                "`gelu_new`",
            );
        }
        for (key, found, needed) in [
            ("tie_word_embeddings", self.tie_word_embeddings, true),
            ("scale_attn_weights", self.scale_attn_weights, true),
            (
                "scale_attn_by_inverse_layer_idx",
                self.scale_attn_by_inverse_layer_idx,
                false,
            ),
            ("add_cross_attention", self.add_cross_attention, false),
        ] {
            if found != needed {
                return refuse(key, &found, if needed { "true" } else { "false" });
            }
        }
        for (key, size) in [
            ("vocab_size", self.vocab_size),
            ("n_positions", self.n_positions),
            ("n_embd", self.n_embd),
            ("n_layer", self.n_layer),
            ("n_head", self.n_head),
        ] {
            if size == 0 {
                return refuse(key, &size, "a positive number");
            }
        }
        if !self.n_embd.is_multiple_of(self.n_head) {
            return refuse("n_head", &self.n_head, "a divisor of `n_embd`");
        }
        for (key, p) in [
            ("embd_pdrop", self.embd_pdrop),
            ("attn_pdrop", self.attn_pdrop),
            ("resid_pdrop", self.resid_pdrop),
        ] {
            if !(0.0..1.0).contains(&p) {
                return refuse(key, &p, "a probability below 1");
            }
        }
        Ok(())
    }

    /// Width of the feed-forward layer.
    pub fn inner(&self) -> usize {
        self.n_inner.unwrap_or(4 * self.n_embd)
    }

    /// The same network with one probability for all three dropouts.
    pub fn with_dropout(mut self, p: f64) -> Self {
        (self.embd_pdrop, self.attn_pdrop, self.resid_pdrop) = (p, p, p);
        self
    }
}
