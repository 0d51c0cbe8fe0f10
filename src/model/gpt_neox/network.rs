//! GPT-NeoX (Black et al. 2022, arXiv 2204.06745): pre-norm transformer decoder with rotary positions, in whose blocks attention and feed-forward
//! network stand side by side.
//!
//! Field names are those of the Hugging Face checkpoint, so that a parameter's path in the module is its name in the file.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;

use super::checkpoint::{self, HEAD, TABLE};
use super::config::GptNeoxConfig;
use crate::model::family::{Adaptable, Family};
use crate::model::initial::normal;
use crate::model::inside::{Layer, Look, Part};
use crate::model::layers::{
    Embedding, LayerNorm, Mix, Projection, Rotary, TrainingPass, Turns, attention_weights, drop,
    over_texts, residual, side_by_side,
};
use crate::model::place::Place;
use crate::model::tensors::Tensors;
use crate::model::{KvPool, NewToken};

/// A GPT-NeoX language model.
#[derive(Module, Debug)]
pub struct GptNeox {
    pub(super) embed_in: Embedding,
    pub(super) layers: Vec<Block>,
    pub(super) final_layer_norm: LayerNorm,
    /// Absent where the token table is the head.
    embed_out: Option<Projection>,
    #[module(skip)]
    pub(super) config: GptNeoxConfig,
    #[module(skip)]
    pub(super) rotary: Rotary,
}

/// One transformer block.
#[derive(Module, Debug)]
pub(super) struct Block {
    input_layernorm: LayerNorm,
    attention: Attention,
    post_attention_layernorm: LayerNorm,
    mlp: FeedForward,
}

#[derive(Module, Debug)]
struct Attention {
    query_key_value: Projection,
    dense: Projection,
}

#[derive(Module, Debug)]
struct FeedForward {
    dense_h_to_4h: Projection,
    dense_4h_to_h: Projection,
}

/// What the blocks of a pass have in common.
pub(super) struct Pass<'a, 'b> {
    pub config: &'a GptNeoxConfig,
    pub turns: &'a Turns,
    pub mix: &'a mut Mix<'b>,
}

impl Family for GptNeox {
    type Config = GptNeoxConfig;

    const PREFIX: &'static str = checkpoint::PREFIX;

    fn saved_name(name: &str) -> String {
        checkpoint::saved_name(name)
    }

    fn head_name(&self) -> &'static str {
        match self.embed_out {
            Some(_) => HEAD,
            None => TABLE,
        }
    }

    fn settle_head(config: &mut GptNeoxConfig, tensors: &mut Tensors) -> Result<(), String> {
        checkpoint::settle_head(config, tensors)
    }

    fn is_needless(name: &str) -> bool {
        checkpoint::is_needless(name)
    }

    fn place(&self, name: &str) -> Place {
        checkpoint::place(name)
    }

    /// A fresh network as transformers initialises it: weights N(0, `initializer_range`), biases 0, norms 1 and 0.
    fn init(config: GptNeoxConfig, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let std = config.initializer_range;
        Self::build(config, device, &mut |shape| normal(shape, std, rng))
    }

    fn blank(config: GptNeoxConfig, device: &Device) -> Self {
        Self::build(config, device, &mut |shape| vec![0.0; shape[0] * shape[1]])
    }

    fn config(&self) -> &GptNeoxConfig {
        &self.config
    }

    fn with_dropout(mut self, p: f64) -> Self {
        (self.config.attention_dropout, self.config.hidden_dropout) = (p, p);
        self
    }

    fn head_table(&self) -> Tensor<2> {
        match &self.embed_out {
            Some(head) => head.weight.val(),
            None => self.embed_in.weight.val(),
        }
    }

    fn dense_layers(&mut self) -> Vec<Adaptable<'_>> {
        let blocks = self.layers.iter_mut().enumerate();
        let layers = blocks.flat_map(|(index, block)| {
            let name = |layer| Self::saved_name(&format!("layers.{index}.{layer}"));
            let (attention, mlp) = (&mut block.attention, &mut block.mlp);
            [
                attention
                    .query_key_value
                    .adaptable(name("attention.query_key_value")),
                attention.dense.adaptable(name("attention.dense")),
                mlp.dense_h_to_4h.adaptable(name("mlp.dense_h_to_4h")),
                mlp.dense_4h_to_h.adaptable(name("mlp.dense_4h_to_h")),
            ]
        });
        layers.collect()
    }

    fn hollow(&self) -> Self {
        let device = self.device();
        Self {
            embed_in: Embedding {
                weight: Param::from_tensor(Tensor::zeros([0, 0], &device)),
            },
            layers: Vec::new(),
            final_layer_norm: LayerNorm::new(0, self.config.layer_norm_eps, &device),
            embed_out: None,
            config: self.config.clone(),
            rotary: self.rotary.clone(),
        }
    }

    /// The last hidden states of `tokens` `[batch, time]`, after the final layer norm: `[batch, time, D]`.
    ///
    /// `time` must not exceed `max_position_embeddings`.
    fn hidden(&self, tokens: Tensor<2, Int>, mut training: Option<&mut TrainingPass>) -> Tensor<3> {
        let depth = self.layers.len();
        let x = self.through(tokens, depth, &mut training, &mut Look::default());
        self.final_layer_norm.forward(x)
    }

    fn look(&self, tokens: Tensor<2, Int>, look: &mut Look) {
        let depth = look.depth(self.layers.len());
        let x = self.through(tokens, depth, &mut None, look);
        look.at(Layer::FinalNorm, || self.final_layer_norm.forward(x));
    }

    fn pass(&self, new: &[NewToken], pool: &mut KvPool) -> Tensor<2> {
        self.read(new, pool)
    }
}

impl GptNeox {
    /// A network whose matrices `values` gives, asked in the order of the network.
    fn build(
        config: GptNeoxConfig,
        device: &Device,
        values: &mut dyn FnMut([usize; 2]) -> Vec<f32>,
    ) -> Self {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let mut matrix =
            |shape: [usize; 2]| Param::from_data(TensorData::new(values(shape), shape), device);
        let norm = || LayerNorm::new(width, config.layer_norm_eps, device);
        let table = [config.vocab_size, width];
        let embed_in = Embedding {
            weight: matrix(table),
        };
        let mut projection = |shape, has_bias| Projection::new(matrix(shape), has_bias, device);
        let layers = (0..config.num_hidden_layers)
            .map(|_| Block {
                input_layernorm: norm(),
                attention: Attention {
                    query_key_value: projection([3 * width, width], config.attention_bias),
                    dense: projection([width, width], config.attention_bias),
                },
                post_attention_layernorm: norm(),
                mlp: FeedForward {
                    dense_h_to_4h: projection([inner, width], true),
                    dense_4h_to_h: projection([width, inner], true),
                },
            })
            .collect();
        Self {
            embed_in,
            layers,
            final_layer_norm: norm(),
            embed_out: (!config.tie_word_embeddings).then(|| projection(table, false)),
            rotary: Rotary::new(config.rope().steps(config.heads().width)),
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
        let rows = self.embed_in.rows(tokens.reshape([batch * time]));
        let x = rows.reshape([batch, time, self.config.hidden_size]);
        look.at(Layer::Embeddings, || x.clone());
        let mut x = drop(training, self.config.hidden_dropout, x);
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
        let normed = self.input_layernorm.forward(x.clone());
        let qkv = self.attention.qkv(normed, pass.turns, config, training);
        look.at(Part::AttentionWeights.of(index), || {
            attention_weights(qkv.clone(), config.heads())
        });
        let mixed = (pass.mix)(index, qkv, training);
        let attended = self.attention.dense.forward(mixed, training);
        look.at(Part::Attention.of(index), || attended.clone());
        let with_attention = residual(x.clone(), attended, training, config.hidden_dropout);
        let read = if config.use_parallel_residual {
            x
        } else {
            with_attention.clone()
        };
        let normed = self.post_attention_layernorm.forward(read);
        let inner = config
            .nonlinearity()
            .of(mlp.dense_h_to_4h.forward(normed, training));
        look.at(Part::MlpInner.of(index), || inner.clone());
        let fed = mlp.dense_4h_to_h.forward(inner, training);
        look.at(Part::Mlp.of(index), || fed.clone());
        let x = residual(with_attention, fed, training, config.hidden_dropout);
        look.at(Part::Output.of(index), || x.clone());
        x
    }
}

impl Attention {
    /// Queries, keys and values of `x` `[batch, time, D]`, queries and keys turned by their positions: `[batch, time, 3 D]`. The projection gives
    /// those of each head side by side.
    fn qkv(
        &self,
        x: Tensor<3>,
        turns: &Turns,
        config: &GptNeoxConfig,
        training: &mut Option<&mut TrainingPass>,
    ) -> Tensor<3> {
        let [batch, time, channels] = x.dims();
        let heads = config.heads();
        let all = self.query_key_value.forward(x, training);
        let all = all.reshape([batch, time, heads.heads, 3 * heads.width]);
        let part = |index: usize| all.clone().narrow(3, index * heads.width, heads.width);
        let parts = [0, 1, 2].map(|index| part(index).reshape([batch, time, channels]));
        side_by_side(parts, heads, Some(turns))
    }
}
