//! `config.json` of a Llama in Hugging Face layout, and the refusal of what this implementation would compute wrongly.

use serde::Serialize;

use super::kind::{Kind, Turning};
use crate::model::config::{
    Config, ConfigError, Ends, check_architecture, check_dropout, check_ends, check_epsilon,
    check_size, check_token, refuse,
};
use crate::model::family::FamilyConfig;
use crate::model::kernels::Heads;
use crate::model::keys::Keys;
use crate::model::layers::Nonlinearity;
use crate::model::rope::{Names, Rope, Scaling};

/// Keys that would change what the network computes.
const REFUSED: [&str; 6] = [
    "quantization_config",
    "use_mrope",
    "original_max_position_embeddings",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "num_local_experts",
];

/// The keys of a Llama's `config.json` that decide what the network computes. Unknown keys are ignored, as transformers does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LlamaConfig {
    model_type: Kind,
    /// What transformers calls the class to load.
    architectures: [&'static str; 1],
    pub(super) vocab_size: usize,
    /// Width of the residual stream, D.
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: usize,
    hidden_act: String,
    max_position_embeddings: usize,
    /// Standard deviation of the initial weights.
    pub(super) initializer_range: f64,
    pub(super) rms_norm_eps: f64,
    bos_token_id: Option<u32>,
    eos_token_id: Ends,
    /// The token whose vector no training changes by where it stands in a text.
    pub(super) pad_token_id: Option<u32>,
    pub(super) tie_word_embeddings: bool,
    rope_theta: f64,
    rope_scaling: Option<Scaling>,
    attention_bias: bool,
    pub(super) mlp_bias: bool,
    pub(super) attention_dropout: f64,
    /// Always null: transformers has a window where a file does not say so.
    sliding_window: Option<usize>,
    #[serde(flatten)]
    turning: Turning,
}

impl FamilyConfig for LlamaConfig {
    fn read(keys: Keys) -> Result<Self, ConfigError> {
        let kind: Kind = keys.needed("model_type")?;
        check_architecture(&keys, &kind.architectures())?;
        for key in REFUSED {
            keys.refuse(key)?;
        }
        kind.check_biases(&keys)?;
        let vocab_size: usize = keys.needed("vocab_size")?;
        let hidden_size: usize = keys.needed("hidden_size")?;
        let layers: usize = keys.needed("num_hidden_layers")?;
        let heads: usize = keys.needed("num_attention_heads")?;
        let positions: usize = keys.needed("max_position_embeddings")?;
        let tokens = kind.tokens(vocab_size);
        let names = Names {
            theta: ("rope_theta", kind.theta()),
            share: ("partial_rotary_factor", 1.0),
        };
        let rope = Rope::read(&keys, &names, positions)?;
        if rope.share != 1.0 {
            refuse("partial_rotary_factor", &rope.share, "1")?;
        }
        kind.check_window(&keys, positions)?;
        let head_dim: Option<usize> = keys.or("head_dim", None)?;
        let config = Self {
            model_type: kind,
            architectures: [kind.architectures()[0]],
            vocab_size,
            hidden_size,
            intermediate_size: keys.needed("intermediate_size")?,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            num_key_value_heads: kind.kv_heads(&keys, heads)?,
            head_dim: match head_dim {
                Some(width) => width,
                None => kind.head_width(hidden_size, heads)?,
            },
            hidden_act: keys.or("hidden_act", "silu".to_owned())?,
            max_position_embeddings: positions,
            initializer_range: keys.or("initializer_range", 0.02)?,
            rms_norm_eps: keys.or("rms_norm_eps", 1e-6)?,
            bos_token_id: keys.token("bos_token_id")?.unwrap_or(tokens.bos),
            eos_token_id: keys.tokens("eos_token_id")?.unwrap_or(tokens.eos),
            pad_token_id: keys.token("pad_token_id")?.unwrap_or(tokens.pad),
            tie_word_embeddings: keys.or("tie_word_embeddings", kind.ties_head())?,
            rope_theta: rope.theta,
            rope_scaling: rope.scaling,
            attention_bias: keys.or("attention_bias", false)?,
            mlp_bias: keys.or("mlp_bias", false)?,
            attention_dropout: keys.or("attention_dropout", 0.0)?,
            sliding_window: None,
            turning: kind.turning(&keys, layers)?,
        };
        config.validate(&keys)?;
        Ok(config)
    }

    fn numbers(&self) -> Config {
        Config {
            vocab_size: self.vocab_size,
            n_positions: self.max_position_embeddings,
            layers: self.num_hidden_layers,
            width: self.hidden_size,
            kv_heads: self.num_key_value_heads,
            head_width: self.head_dim,
            eos_token_id: self.eos_token_id.first(),
        }
    }

    fn ends(&self) -> &Ends {
        &self.eos_token_id
    }

    fn ends_mut(&mut self) -> &mut Ends {
        &mut self.eos_token_id
    }

    fn parameters(&self) -> impl Iterator<Item = (String, Vec<usize>)> {
        let (width, inner) = (self.hidden_size, self.intermediate_size);
        let [queries, keys] = [self.num_attention_heads, self.num_key_value_heads]
            .map(|heads| heads.saturating_mul(self.head_dim));
        let [qkv_bias, output_bias] = self.attention_biases();
        let mut block = vec![("input_layernorm.weight".to_owned(), vec![width])];
        let mut projection = |name: &str, out: usize, inner: usize, has_bias: bool| {
            block.push((format!("{name}.weight"), vec![out, inner]));
            if has_bias {
                block.push((format!("{name}.bias"), vec![out]));
            }
        };
        projection("self_attn.q_proj", queries, width, qkv_bias);
        projection("self_attn.k_proj", keys, width, qkv_bias);
        projection("self_attn.v_proj", keys, width, qkv_bias);
        projection("self_attn.o_proj", width, queries, output_bias);
        projection("mlp.gate_proj", inner, width, self.mlp_bias);
        projection("mlp.up_proj", inner, width, self.mlp_bias);
        projection("mlp.down_proj", width, inner, self.mlp_bias);
        if self.norms_heads() {
            for name in ["q_norm", "k_norm"] {
                block.push((format!("self_attn.{name}.weight"), vec![self.head_dim]));
            }
        }
        block.push(("post_attention_layernorm.weight".to_owned(), vec![width]));
        let blocks = (0..self.num_hidden_layers).flat_map(move |layer| {
            let named = move |(name, shape)| (format!("layers.{layer}.{name}"), shape);
            block.clone().into_iter().map(named)
        });
        let table = |name: &str| (name.to_owned(), vec![self.vocab_size, width]);
        let head = (!self.tie_word_embeddings).then(|| table(super::checkpoint::HEAD));
        std::iter::once(table(super::checkpoint::TABLE))
            .chain(blocks)
            .chain([("norm.weight".to_owned(), vec![width])])
            .chain(head)
    }
}

impl LlamaConfig {
    fn validate(&self, keys: &Keys) -> Result<(), ConfigError> {
        for (key, size) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("max_position_embeddings", self.max_position_embeddings),
            ("head_dim", self.head_dim),
        ] {
            check_size(key, size)?;
        }
        if !(self.num_attention_heads).is_multiple_of(self.num_key_value_heads) {
            let found = &self.num_key_value_heads;
            return refuse(
                "num_key_value_heads",
                found,
                "a divisor of `num_attention_heads`",
            );
        }
        if !self.head_dim.is_multiple_of(2) {
            return refuse("head_dim", &self.head_dim, "an even number");
        }
        if Nonlinearity::named(&self.hidden_act).is_none() {
            return refuse("hidden_act", &self.hidden_act, Nonlinearity::KNOWN);
        }
        let types: Option<Vec<String>> = keys.or("layer_types", None)?;
        let mut types = types.unwrap_or_default().into_iter();
        if let Some(other) = types.find(|one| one != "full_attention") {
            return refuse("layer_types", &other, "`full_attention`");
        }
        check_dropout("attention_dropout", self.attention_dropout)?;
        check_epsilon("rms_norm_eps", self.rms_norm_eps)?;
        check_token("pad_token_id", self.pad_token_id, self.vocab_size)?;
        check_ends(&self.eos_token_id, self.vocab_size)
    }

    /// How a token's queries, keys and values are cut.
    pub(super) fn heads(&self) -> Heads {
        Heads {
            heads: self.num_attention_heads,
            kv_heads: self.num_key_value_heads,
            width: self.head_dim,
        }
    }

    /// Whether queries, keys and values have biases, and whether the projection behind them has one.
    pub(super) fn attention_biases(&self) -> [bool; 2] {
        self.model_type.attention_biases(self.attention_bias)
    }

    /// Whether heads of queries and of keys are normalised.
    pub(super) fn norms_heads(&self) -> bool {
        self.model_type.norms_heads()
    }

    /// The function between the layers of the feed-forward network.
    pub(super) fn nonlinearity(&self) -> Nonlinearity {
        // The name was checked.
        Nonlinearity::named(&self.hidden_act).unwrap_or(Nonlinearity::Silu)
    }

    /// Whether a block turns queries and keys by their positions.
    pub(super) fn turns(&self, block: usize) -> bool {
        self.turning.of(block)
    }

    /// How rotary positions are made.
    pub(super) fn rope(&self) -> Rope {
        Rope {
            theta: self.rope_theta,
            share: 1.0,
            scaling: self.rope_scaling,
        }
    }
}
