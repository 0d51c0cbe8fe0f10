//! Llama (Touvron et al. 2023, arXiv 2302.13971): pre-norm transformer decoder with rotary positions, heads of queries that share keys and values,
//! and a gated feed-forward network.
//!
//! Field names are those of the Hugging Face checkpoint, so that a parameter's path in the module is its name in the file.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;

use super::checkpoint::{self, HEAD, TABLE};
use super::config::LlamaConfig;
use crate::model::family::{Adaptable, Family};
use crate::model::initial::normal;
use crate::model::inside::{Layer, Look, Part};
use crate::model::layers::{
    Embedding, Mix, Projection, RmsNorm, Rotary, TrainingPass, Turns, attention_weights, gated,
    over_texts, residual, side_by_side,
};
use crate::model::place::Place;
use crate::model::tensors::Tensors;
use crate::model::{KvPool, NewToken};

/// A Llama language model.
#[derive(Module, Debug)]
pub struct Llama {
    pub(super) embed_tokens: Embedding,
    pub(super) layers: Vec<Block>,
    pub(super) norm: RmsNorm,
    /// Absent where the token table is the head.
    lm_head: Option<Projection>,
    #[module(skip)]
    pub(super) config: LlamaConfig,
    #[module(skip)]
    pub(super) rotary: Rotary,
}

/// One transformer block.
#[derive(Module, Debug)]
pub(super) struct Block {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: FeedForward,
}

#[derive(Module, Debug)]
struct Attention {
    q_proj: Projection,
    k_proj: Projection,
    v_proj: Projection,
    o_proj: Projection,
    q_norm: Option<RmsNorm>,
    k_norm: Option<RmsNorm>,
}

#[derive(Module, Debug)]
struct FeedForward {
    gate_proj: Projection,
    up_proj: Projection,
    down_proj: Projection,
}

/// What the blocks of a pass have in common.
pub(super) struct Pass<'a, 'b> {
    pub config: &'a LlamaConfig,
    pub turns: &'a Turns,
    pub mix: &'a mut Mix<'b>,
}

impl Family for Llama {
    type Config = LlamaConfig;

    const PREFIX: &'static str = checkpoint::PREFIX;

    fn saved_name(name: &str) -> String {
        checkpoint::saved_name(name)
    }

    fn head_name(&self) -> &'static str {
        match self.lm_head {
            Some(_) => HEAD,
            None => TABLE,
        }
    }

    fn settle_head(config: &mut LlamaConfig, tensors: &mut Tensors) -> Result<(), String> {
        checkpoint::settle_head(config, tensors)
    }

    fn is_needless(name: &str) -> bool {
        checkpoint::is_needless(name)
    }

    fn place(&self, name: &str) -> Place {
        checkpoint::place(name)
    }

    /// A fresh network as transformers initialises it: weights N(0, `initializer_range`), biases 0, norms 1.
    fn init(config: LlamaConfig, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let std = config.initializer_range;
        Self::build(config, device, &mut |shape| normal(shape, std, rng))
    }

    fn blank(config: LlamaConfig, device: &Device) -> Self {
        Self::build(config, device, &mut |shape| vec![0.0; shape[0] * shape[1]])
    }

    fn config(&self) -> &LlamaConfig {
        &self.config
    }

    fn with_dropout(mut self, p: f64) -> Self {
        self.config.attention_dropout = p;
        self
    }

    fn head_table(&self) -> Tensor<2> {
        match &self.lm_head {
            Some(head) => head.weight.val(),
            None => self.embed_tokens.weight.val(),
        }
    }

    fn dense_layers(&mut self) -> Vec<Adaptable<'_>> {
        let blocks = self.layers.iter_mut().enumerate();
        let layers = blocks.flat_map(|(index, block)| {
            let name = |layer| Self::saved_name(&format!("layers.{index}.{layer}"));
            let (attention, mlp) = (&mut block.self_attn, &mut block.mlp);
            [
                attention.q_proj.adaptable(name("self_attn.q_proj")),
                attention.k_proj.adaptable(name("self_attn.k_proj")),
                attention.v_proj.adaptable(name("self_attn.v_proj")),
                attention.o_proj.adaptable(name("self_attn.o_proj")),
                mlp.gate_proj.adaptable(name("mlp.gate_proj")),
                mlp.up_proj.adaptable(name("mlp.up_proj")),
                mlp.down_proj.adaptable(name("mlp.down_proj")),
            ]
        });
        layers.collect()
    }

    fn hollow(&self) -> Self {
        let device = self.device();
        Self {
            embed_tokens: Embedding {
                weight: Param::from_tensor(Tensor::zeros([0, 0], &device)),
            },
            layers: Vec::new(),
            norm: RmsNorm::new(0, self.config.rms_norm_eps, &device),
            lm_head: None,
            config: self.config.clone(),
            rotary: self.rotary.clone(),
        }
    }

    /// The last hidden states of `tokens` `[batch, time]`, after the final norm: `[batch, time, D]`.
    ///
    /// `time` must not exceed `max_position_embeddings`.
    fn hidden(&self, tokens: Tensor<2, Int>, mut training: Option<&mut TrainingPass>) -> Tensor<3> {
        let depth = self.layers.len();
        let x = self.through(tokens, depth, &mut training, &mut Look::default());
        self.norm.forward(x)
    }

    fn look(&self, tokens: Tensor<2, Int>, look: &mut Look) {
        let depth = look.depth(self.layers.len());
        let x = self.through(tokens, depth, &mut None, look);
        look.at(Layer::FinalNorm, || self.norm.forward(x));
    }

    fn pass(&self, new: &[NewToken], pool: &mut KvPool) -> Tensor<2> {
        self.read(new, pool)
    }
}

impl Llama {
    /// A network whose matrices `values` gives, asked in the order of the network.
    fn build(
        config: LlamaConfig,
        device: &Device,
        values: &mut dyn FnMut([usize; 2]) -> Vec<f32>,
    ) -> Self {
        let (width, inner, heads) = (config.hidden_size, config.intermediate_size, config.heads());
        let mut matrix =
            |shape: [usize; 2]| Param::from_data(TensorData::new(values(shape), shape), device);
        let norm = |width| RmsNorm::new(width, config.rms_norm_eps, device);
        let head_norm = || config.norms_heads().then(|| norm(heads.width));
        let table = [config.vocab_size, width];
        let embed_tokens = Embedding {
            weight: matrix(table),
        };
        let mut projection = |shape, has_bias| Projection::new(matrix(shape), has_bias, device);
        let [qkv_bias, output_bias] = config.attention_biases();
        let layers = (0..config.num_hidden_layers)
            .map(|_| Block {
                input_layernorm: norm(width),
                self_attn: Attention {
                    q_proj: projection([heads.queries(), width], qkv_bias),
                    k_proj: projection([heads.keys(), width], qkv_bias),
                    v_proj: projection([heads.keys(), width], qkv_bias),
                    o_proj: projection([width, heads.queries()], output_bias),
                    q_norm: head_norm(),
                    k_norm: head_norm(),
                },
                post_attention_layernorm: norm(width),
                mlp: FeedForward {
                    gate_proj: projection([inner, width], config.mlp_bias),
                    up_proj: projection([inner, width], config.mlp_bias),
                    down_proj: projection([width, inner], config.mlp_bias),
                },
            })
            .collect();
        Self {
            embed_tokens,
            layers,
            norm: norm(width),
            lm_head: (!config.tie_word_embeddings).then(|| projection(table, false)),
            rotary: Rotary::new(config.rope().steps(heads.width)),
            config,
        }
    }

    /// `tokens` `[batch, time]` through the first `depth` blocks: `[batch, time, D]`.
    fn through(
        &self,
        tokens: Tensor<2, Int>,
        depth: usize,
        training: &mut Option<&mut TrainingPass>,
        look: &mut Look,
    ) -> Tensor<3> {
        let [batch, time] = tokens.dims();
        let rows = self.embed(tokens.reshape([batch * time]));
        let mut x = rows.reshape([batch, time, self.config.hidden_size]);
        look.at(Layer::Embeddings, || x.clone());
        let turns = self.rotary.turns(0..time);
        let mut pass = Pass {
            config: &self.config,
            turns: &turns,
            mix: &mut over_texts(self.config.heads(), self.config.attention_dropout),
        };
        for (index, block) in self.layers.iter().enumerate().take(depth) {
            x = block.forward(x, index, &mut pass, training, look);
        }
        x
    }

    /// The vectors of tokens `[rows]`: `[rows, D]`. Those of the padding token are not trained by what it stands for.
    pub(super) fn embed(&self, tokens: Tensor<1, Int>) -> Tensor<2> {
        let rows = self.embed_tokens.rows(tokens.clone());
        match self.config.pad_token_id {
            Some(pad) if rows.is_autodiff() => {
                let is_pad = tokens.equal_elem(pad as i32).unsqueeze_dim::<2>(1);
                let is_pad = is_pad.expand(rows.dims());
                rows.clone().mask_where(is_pad, rows.detach())
            }
            _ => rows,
        }
    }
}

impl Block {
    /// The block, counted from 0 as `index`, over `x` `[batch, time, D]`.
    pub fn forward(
        &self,
        x: Tensor<3>,
        index: usize,
        pass: &mut Pass,
        training: &mut Option<&mut TrainingPass>,
        look: &mut Look,
    ) -> Tensor<3> {
        let (config, mlp) = (pass.config, &self.mlp);
        let turns = config.turns(index).then_some(pass.turns);
        let normed = self.input_layernorm.forward(x.clone());
        let qkv = self.self_attn.qkv(normed, turns, config, training);
        look.at(Part::AttentionWeights.of(index), || {
            attention_weights(qkv.clone(), config.heads())
        });
        let mixed = (pass.mix)(index, qkv, training);
        let attended = self.self_attn.o_proj.forward(mixed, training);
        look.at(Part::Attention.of(index), || attended.clone());
        let x = residual(x, attended, training, 0.0);
        let normed = self.post_attention_layernorm.forward(x.clone());
        let gate = mlp.gate_proj.forward(normed.clone(), training);
        let up = mlp.up_proj.forward(normed, training);
        let inner = gated(config.nonlinearity(), gate, up);
        look.at(Part::MlpInner.of(index), || inner.clone());
        let fed = mlp.down_proj.forward(inner, training);
        look.at(Part::Mlp.of(index), || fed.clone());
        let x = residual(x, fed, training, 0.0);
        look.at(Part::Output.of(index), || x.clone());
        x
    }
}

impl Attention {
    /// Queries, keys and values of `x` `[batch, time, D]`, queries and keys turned by their positions: `[batch, time, channels]`.
    fn qkv(
        &self,
        x: Tensor<3>,
        turns: Option<&Turns>,
        config: &LlamaConfig,
        training: &mut Option<&mut TrainingPass>,
    ) -> Tensor<3> {
        let [batch, time, _] = x.dims();
        let heads = config.heads();
        let mut normed = |projection: &Projection, norm: &Option<RmsNorm>| {
            let all = projection.forward(x.clone(), training);
            let Some(norm) = norm else {
                return all;
            };
            let [_, _, channels] = all.dims();
            let cut = all.reshape([batch, time, channels / heads.width, heads.width]);
            norm.forward(cut).reshape([batch, time, channels])
        };
        let parts = [
            normed(&self.q_proj, &self.q_norm),
            normed(&self.k_proj, &self.k_norm),
            normed(&self.v_proj, &None),
        ];
        side_by_side(parts, heads, turns)
    }
}
