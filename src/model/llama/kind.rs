//! What Llama and those that are made like it have in ways of their own.

use serde::{Deserialize, Serialize};

use crate::model::config::{ConfigError, Ends, check_size, refuse};
use crate::model::keys::Keys;

/// A `model_type` of the family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    SmolLm3,
}

/// The tokens that transformers takes where a file does not name them.
pub(super) struct Tokens {
    pub bos: Option<u32>,
    pub eos: Ends,
    pub pad: Option<u32>,
}

impl Kind {
    /// The classes of transformers that have the network, that of the language model first.
    pub fn architectures(self) -> [&'static str; 2] {
        match self {
            Self::Llama => ["LlamaForCausalLM", "LlamaModel"],
            Self::Mistral => ["MistralForCausalLM", "MistralModel"],
            Self::Qwen2 => ["Qwen2ForCausalLM", "Qwen2Model"],
            Self::Qwen3 => ["Qwen3ForCausalLM", "Qwen3Model"],
            Self::SmolLm3 => ["SmolLM3ForCausalLM", "SmolLM3Model"],
        }
    }

    /// The tokens where they are absent, as far as a vocabulary has them.
    pub fn tokens(self, vocab_size: usize) -> Tokens {
        let (bos, eos, pad) = match self {
            Self::Llama | Self::Mistral => (Some(1), Some(2), None),
            Self::Qwen2 | Self::Qwen3 => (None, None, None),
            Self::SmolLm3 => (Some(128_000), Some(128_001), Some(128_004)),
        };
        let there = |id: &u32| (*id as usize) < vocab_size;
        Tokens {
            bos: bos.filter(there),
            eos: eos.filter(there).into(),
            pad,
        }
    }

    /// Whether the head is the token table where the file does not say so.
    pub fn ties_head(self) -> bool {
        matches!(self, Self::SmolLm3)
    }

    /// The base of rotary positions where it is absent.
    pub fn theta(self) -> f64 {
        match self {
            Self::SmolLm3 => 2_000_000.0,
            Self::Llama | Self::Mistral | Self::Qwen2 | Self::Qwen3 => 10_000.0,
        }
    }

    /// Whether heads of queries and of keys are normalised.
    pub fn norms_heads(self) -> bool {
        matches!(self, Self::Qwen3)
    }

    /// The width of a head where it is absent.
    pub fn head_width(self, width: usize, heads: usize) -> Result<usize, ConfigError> {
        if self == Self::Qwen3 {
            return Ok(128);
        }
        if heads == 0 || !width.is_multiple_of(heads) {
            refuse(
                "num_attention_heads",
                &heads,
                "a divisor of `hidden_size` where there is no `head_dim`",
            )?;
        }
        Ok(width / heads)
    }

    /// How many heads keys and values have.
    pub fn kv_heads(self, keys: &Keys, heads: usize) -> Result<usize, ConfigError> {
        const KEY: &str = "num_key_value_heads";
        let found: Option<Option<usize>> = keys.get(KEY)?;
        match (found, self) {
            (Some(Some(found)), _) => Ok(found),
            (Some(None), _) | (None, Self::Llama) => Ok(heads),
            (None, _) => Err(ConfigError::Missing(KEY)),
        }
    }

    /// Whether queries, keys and values have biases, and whether the projection behind them has one.
    pub fn attention_biases(self, asked: bool) -> [bool; 2] {
        match self {
            Self::Qwen2 => [true, false],
            Self::Mistral => [false, false],
            Self::Llama | Self::Qwen3 | Self::SmolLm3 => [asked, asked],
        }
    }

    /// Refuses biases that transformers' class does not have.
    pub fn check_biases(self, keys: &Keys) -> Result<(), ConfigError> {
        match self {
            Self::Llama | Self::SmolLm3 => Ok(()),
            Self::Qwen3 => keys.refuse("mlp_bias"),
            Self::Mistral | Self::Qwen2 => {
                keys.refuse("attention_bias")?;
                keys.refuse("mlp_bias")
            }
        }
    }

    /// Refuses a window of attention that hides what stands in a text of `positions` tokens.
    pub fn check_window(self, keys: &Keys, positions: usize) -> Result<(), ConfigError> {
        const KEY: &str = "sliding_window";
        let usual = match self {
            Self::Mistral | Self::Qwen2 | Self::Qwen3 => Some(4096),
            Self::Llama | Self::SmolLm3 => None,
        };
        let used = match self {
            Self::Llama | Self::Mistral => true,
            Self::Qwen2 | Self::Qwen3 | Self::SmolLm3 => keys.or("use_sliding_window", false)?,
        };
        let window: Option<usize> = keys.or(KEY, usual)?;
        match window {
            Some(window) if used && window < positions => refuse(
                KEY,
                &window,
                "null, or as much as `max_position_embeddings`,",
            ),
            _ => Ok(()),
        }
    }

    /// Which blocks turn queries and keys by their positions.
    pub fn turning(self, keys: &Keys, layers: usize) -> Result<Turning, ConfigError> {
        const LIST: &str = "no_rope_layers";
        const INTERVAL: &str = "no_rope_layer_interval";
        if self != Self::SmolLm3 {
            return Ok(Turning::default());
        }
        let list: Option<Vec<u8>> = keys.or(LIST, None)?;
        let interval: usize = keys.or(INTERVAL, 4)?;
        check_size(INTERVAL, interval)?;
        match &list {
            Some(list) if list.len() < layers || list.iter().any(|turns| *turns > 1) => {
                let found = format!("{list:?}");
                refuse(LIST, &found, "a list of 0 or 1 for each block")?;
            }
            _ => {}
        }
        Ok(Turning {
            no_rope_layers: list,
            no_rope_layer_interval: Some(interval),
        })
    }
}

/// Which blocks turn queries and keys by their positions. By default all do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(super) struct Turning {
    /// 1 for each block that does.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_rope_layers: Option<Vec<u8>>,
    /// Where there is no list, one block of so many does not, the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_rope_layer_interval: Option<usize>,
}

impl Turning {
    /// Whether a block does, counted from 0.
    pub fn of(&self, block: usize) -> bool {
        match (&self.no_rope_layers, self.no_rope_layer_interval) {
            (Some(list), _) => list[block] == 1,
            (None, Some(interval)) => !(block + 1).is_multiple_of(interval),
            (None, None) => true,
        }
    }
}
