//! `config.json` of a GPT-NeoX in Hugging Face layout, and the refusal of what this implementation would compute wrongly.

use serde::Serialize;

use super::checkpoint::{HEAD, TABLE};
use crate::model::config::{
    Config, ConfigError, Ends, check_architecture, check_dropout, check_ends, check_epsilon,
    check_size, refuse,
};
use crate::model::family::FamilyConfig;
use crate::model::kernels::Heads;
use crate::model::keys::Keys;
use crate::model::layers::Nonlinearity;
use crate::model::rope::{Names, Rope, Scaling};

const ARCHITECTURES: [&str; 2] = ["GPTNeoXForCausalLM", "GPTNeoXModel"];

/// Keys that would change what the network computes.
const REFUSED: [&str; 2] = ["quantization_config", "original_max_position_embeddings"];

/// Where the family has what of rotary positions.
const ROPE: Names = Names {
    theta: ("rotary_emb_base", 10_000.0),
    share: ("rotary_pct", 0.25),
};

/// Refuses names of other families for what this one has, where they say something else. Some releases of transformers write both.
fn check_others(keys: &Keys, rope: &Rope) -> Result<(), ConfigError> {
    let others = [
        ("rope_theta", rope.theta),
        ("partial_rotary_factor", rope.share),
    ];
    for (key, own) in others {
        let found: Option<f64> = keys.or(key, None)?;
        if found.is_some_and(|found| found != own) {
            return Err(ConfigError::Value {
                key,
                message: format!("the rotary positions have {own}; remove it or make it the same"),
            });
        }
    }
    Ok(())
}

/// The keys of a GPT-NeoX's `config.json` that decide what the network computes. Unknown keys are ignored, as transformers does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GptNeoxConfig {
    model_type: &'static str,
    /// What transformers calls the class to load.
    architectures: [&'static str; 1],
    pub(super) vocab_size: usize,
    /// Width of the residual stream, D.
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) num_hidden_layers: usize,
    num_attention_heads: usize,
    hidden_act: String,
    max_position_embeddings: usize,
    /// Standard deviation of the initial weights.
    pub(super) initializer_range: f64,
    pub(super) layer_norm_eps: f64,
    bos_token_id: Option<u32>,
    eos_token_id: Ends,
    pub(super) tie_word_embeddings: bool,
    /// Whether attention and feed-forward network of a block read the same residual stream.
    pub(super) use_parallel_residual: bool,
    pub(super) attention_bias: bool,
    pub(super) attention_dropout: f64,
    /// Dropout of the embeddings, and of what each sub-layer adds to the residual stream.
    pub(super) hidden_dropout: f64,
    rotary_emb_base: f64,
    rotary_pct: f64,
    rope_scaling: Option<Scaling>,
}

impl FamilyConfig for GptNeoxConfig {
    fn read(keys: Keys) -> Result<Self, ConfigError> {
        check_architecture(&keys, &ARCHITECTURES)?;
        for key in REFUSED {
            keys.refuse(key)?;
        }
        let positions: usize = keys.needed("max_position_embeddings")?;
        let vocab_size: usize = keys.needed("vocab_size")?;
        let usual = |id: u32| Some(id).filter(|_| vocab_size > id as usize);
        let rope = Rope::read(&keys, &ROPE, positions)?;
        check_others(&keys, &rope)?;
        let config = Self {
            model_type: "gpt_neox",
            architectures: [ARCHITECTURES[0]],
            vocab_size,
            hidden_size: keys.needed("hidden_size")?,
            intermediate_size: keys.needed("intermediate_size")?,
            num_hidden_layers: keys.needed("num_hidden_layers")?,
            num_attention_heads: keys.needed("num_attention_heads")?,
            hidden_act: keys.or("hidden_act", "gelu".to_owned())?,
            max_position_embeddings: positions,
            initializer_range: keys.or("initializer_range", 0.02)?,
            layer_norm_eps: keys.or("layer_norm_eps", 1e-5)?,
            bos_token_id: keys.token("bos_token_id")?.unwrap_or(usual(0)),
            eos_token_id: (keys.tokens("eos_token_id")?).unwrap_or_else(|| usual(2).into()),
            tie_word_embeddings: keys.or("tie_word_embeddings", false)?,
            use_parallel_residual: keys.or("use_parallel_residual", true)?,
            attention_bias: keys.or("attention_bias", true)?,
            attention_dropout: keys.or("attention_dropout", 0.0)?,
            hidden_dropout: keys.or("hidden_dropout", 0.0)?,
            rotary_emb_base: rope.theta,
            rotary_pct: rope.share,
            rope_scaling: rope.scaling,
        };
        config.validate()?;
        Ok(config)
    }

    fn numbers(&self) -> Config {
        let heads = self.heads();
        Config {
            vocab_size: self.vocab_size,
            n_positions: self.max_position_embeddings,
            layers: self.num_hidden_layers,
            width: self.hidden_size,
            kv_heads: heads.kv_heads,
            head_width: heads.width,
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
        let mut block = Vec::new();
        let mut layer = |name: &str, shape: Vec<usize>, has_bias: bool| {
            let out = shape[0];
            block.push((format!("{name}.weight"), shape));
            if has_bias {
                block.push((format!("{name}.bias"), vec![out]));
            }
        };
        let channels = width.saturating_mul(3);
        layer("input_layernorm", vec![width], true);
        layer(
            "attention.query_key_value",
            vec![channels, width],
            self.attention_bias,
        );
        layer("attention.dense", vec![width, width], self.attention_bias);
        layer("post_attention_layernorm", vec![width], true);
        layer("mlp.dense_h_to_4h", vec![inner, width], true);
        layer("mlp.dense_4h_to_h", vec![width, inner], true);
        let blocks = (0..self.num_hidden_layers).flat_map(move |layer| {
            let named = move |(name, shape)| (format!("layers.{layer}.{name}"), shape);
            block.clone().into_iter().map(named)
        });
        let table = |name: &str| (name.to_owned(), vec![self.vocab_size, width]);
        let norm = |name: &str| (format!("final_layer_norm.{name}"), vec![width]);
        std::iter::once(table(TABLE))
            .chain(blocks)
            .chain([norm("weight"), norm("bias")])
            .chain((!self.tie_word_embeddings).then(|| table(HEAD)))
    }
}

impl GptNeoxConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        for (key, size) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("max_position_embeddings", self.max_position_embeddings),
        ] {
            check_size(key, size)?;
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let found = &self.num_attention_heads;
            return refuse("num_attention_heads", found, "a divisor of `hidden_size`");
        }
        let width = self.heads().width;
        let turned = self.rope().turned(width);
        if turned == 0 || turned > width {
            let supported = "a share of a head's channels that, as an even number, is from 2 up to all of them,";
            return refuse(ROPE.share.0, &self.rotary_pct, supported);
        }
        if Nonlinearity::named(&self.hidden_act).is_none() {
            return refuse("hidden_act", &self.hidden_act, Nonlinearity::KNOWN);
        }
        check_dropout("attention_dropout", self.attention_dropout)?;
        check_dropout("hidden_dropout", self.hidden_dropout)?;
        check_epsilon("layer_norm_eps", self.layer_norm_eps)?;
        check_ends(&self.eos_token_id, self.vocab_size)
    }

    /// How a token's queries, keys and values are cut.
    pub(super) fn heads(&self) -> Heads {
        let heads = self.num_attention_heads;
        Heads::own(heads, self.hidden_size / heads)
    }

    /// The function between the layers of the feed-forward network.
    pub(super) fn nonlinearity(&self) -> Nonlinearity {
        // The name was checked.
        Nonlinearity::named(&self.hidden_act).unwrap_or(Nonlinearity::Gelu)
    }

    /// How rotary positions are made.
    pub(super) fn rope(&self) -> Rope {
        Rope {
            theta: self.rotary_emb_base,
            share: self.rotary_pct,
            scaling: self.rope_scaling,
        }
    }
}
