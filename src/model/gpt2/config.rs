//! `config.json` of a GPT-2 in Hugging Face layout, and the refusal of what this implementation would compute wrongly.

use serde::Serialize;

use crate::model::config::{
    Config, ConfigError, Ends, check_architecture, check_dropout, check_ends, check_epsilon,
    check_size, refuse,
};
use crate::model::family::FamilyConfig;
use crate::model::kernels::Heads;
use crate::model::keys::Keys;

/// The keys of a GPT-2 `config.json` that decide what the network computes. Unknown keys are ignored, as transformers does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gpt2Config {
    /// Always `gpt2`.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_inner: Option<usize>,
    /// Only the tanh form of GELU that GPT-2 was trained with.
    pub activation_function: String,
    /// Dropout after the sum of token and position embeddings.
    pub embd_pdrop: f64,
    /// Dropout of the attention weights.
    pub attn_pdrop: f64,
    /// Dropout of what each sub-layer adds to the residual stream.
    pub resid_pdrop: f64,
    /// Added to the variance in every layer normalisation.
    pub layer_norm_epsilon: f64,
    /// Standard deviation of the initial weights.
    pub initializer_range: f64,
    /// Id of the beginning-of-text token, when there is one.
    pub bos_token_id: Option<u32>,
    /// Ids of the tokens that end a text.
    pub eos_token_id: Ends,
    /// Must be true: the output head is the transposed token embedding.
    pub tie_word_embeddings: bool,
    /// Must be true: scores are divided by the square root of the head's width.
    pub scale_attn_weights: bool,
    /// Must be false.
    pub scale_attn_by_inverse_layer_idx: bool,
    /// Must be false.
    pub add_cross_attention: bool,
    /// What transformers calls the class to load; written so that it finds the head.
    pub architectures: Vec<String>,
}

fn architectures() -> Vec<String> {
    vec!["GPT2LMHeadModel".to_owned()]
}

/// The names that transformers gives to keys of any network, with GPT-2's own.
const ALIASES: [(&str, &str); 4] = [
    ("hidden_size", "n_embd"),
    ("max_position_embeddings", "n_positions"),
    ("num_attention_heads", "n_head"),
    ("num_hidden_layers", "n_layer"),
];

/// The double-heads model has the same network below a second head.
const ARCHITECTURES: [&str; 3] = ["GPT2LMHeadModel", "GPT2Model", "GPT2DoubleHeadsModel"];

impl FamilyConfig for Gpt2Config {
    fn read(mut keys: Keys) -> Result<Self, ConfigError> {
        // First, what kind of network it is: another one's config lacks GPT-2's keys, and that would be the wrong complaint.
        check_architecture(&keys, &ARCHITECTURES)?;
        for (alias, key) in ALIASES {
            keys.alias(alias, key)?;
        }
        keys.refuse("quantization_config")?;
        let vocab_size: usize = keys.needed("vocab_size")?;
        // transformers takes GPT-2's own end-of-text for a token that the file does not name.
        let usual_token = (vocab_size > 50256).then_some(50256);
        let config = Self {
            model_type: "gpt2".to_owned(),
            vocab_size,
            n_positions: keys.needed("n_positions")?,
            n_embd: keys.needed("n_embd")?,
            n_layer: keys.needed("n_layer")?,
            n_head: keys.needed("n_head")?,
            n_inner: keys.or("n_inner", None)?,
            activation_function: keys.or("activation_function", "gelu_new".to_owned())?,
            embd_pdrop: keys.or("embd_pdrop", 0.1)?,
            attn_pdrop: keys.or("attn_pdrop", 0.1)?,
            resid_pdrop: keys.or("resid_pdrop", 0.1)?,
            layer_norm_epsilon: keys.or("layer_norm_epsilon", 1e-5)?,
            initializer_range: keys.or("initializer_range", 0.02)?,
            bos_token_id: keys.token("bos_token_id")?.unwrap_or(usual_token),
            eos_token_id: (keys.tokens("eos_token_id")?).unwrap_or_else(|| usual_token.into()),
            tie_word_embeddings: keys.or("tie_word_embeddings", true)?,
            scale_attn_weights: keys.or("scale_attn_weights", true)?,
            scale_attn_by_inverse_layer_idx: keys.or("scale_attn_by_inverse_layer_idx", false)?,
            add_cross_attention: keys.or("add_cross_attention", false)?,
            architectures: architectures(),
        };
        config.validate()?;
        Ok(config)
    }

    fn numbers(&self) -> Config {
        Config {
            vocab_size: self.vocab_size,
            n_positions: self.n_positions,
            layers: self.n_layer,
            width: self.n_embd,
            kv_heads: self.n_head,
            head_width: self.n_embd / self.n_head,
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
        let (width, inner) = (self.n_embd, self.inner());
        let tables = [
            ("wte.weight".to_owned(), vec![self.vocab_size, width]),
            ("wpe.weight".to_owned(), vec![self.n_positions, width]),
        ];
        let block = [
            ("ln_1.weight", vec![width]),
            ("ln_1.bias", vec![width]),
            ("attn.c_attn.weight", vec![width, width.saturating_mul(3)]),
            ("attn.c_attn.bias", vec![width.saturating_mul(3)]),
            ("attn.c_proj.weight", vec![width, width]),
            ("attn.c_proj.bias", vec![width]),
            ("ln_2.weight", vec![width]),
            ("ln_2.bias", vec![width]),
            ("mlp.c_fc.weight", vec![width, inner]),
            ("mlp.c_fc.bias", vec![inner]),
            ("mlp.c_proj.weight", vec![inner, width]),
            ("mlp.c_proj.bias", vec![width]),
        ];
        let blocks = (0..self.n_layer).flat_map(move |layer| {
            let named = move |(name, shape)| (format!("h.{layer}.{name}"), shape);
            block.clone().map(named)
        });
        let last = ["ln_f.weight", "ln_f.bias"].map(|name| (name.to_owned(), vec![width]));
        tables.into_iter().chain(blocks).chain(last)
    }
}

impl Gpt2Config {
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
            check_size(key, size)?;
        }
        if !self.n_embd.is_multiple_of(self.n_head) {
            return refuse("n_head", &self.n_head, "a divisor of `n_embd`");
        }
        for (key, p) in [
            ("embd_pdrop", self.embd_pdrop),
            ("attn_pdrop", self.attn_pdrop),
            ("resid_pdrop", self.resid_pdrop),
        ] {
            check_dropout(key, p)?;
        }
        check_epsilon("layer_norm_epsilon", self.layer_norm_epsilon)?;
        check_ends(&self.eos_token_id, self.vocab_size)
    }

    /// Width of the feed-forward layer.
    pub fn inner(&self) -> usize {
        self.n_inner.unwrap_or(self.n_embd.saturating_mul(4))
    }

    /// How a token's queries, keys and values are cut.
    pub(super) fn heads(&self) -> Heads {
        Heads::own(self.n_head, self.n_embd / self.n_head)
    }

    /// The same network with one probability for all three dropouts.
    pub fn with_dropout(mut self, p: f64) -> Self {
        (self.embd_pdrop, self.attn_pdrop, self.resid_pdrop) = (p, p, p);
        self
    }
}
