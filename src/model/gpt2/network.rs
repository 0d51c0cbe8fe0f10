//! GPT-2 (Radford et al. 2019): pre-norm transformer decoder with learned positions and a head tied to the token embedding.
//!
//! Field names are those of the Hugging Face checkpoint, so that a parameter's path in the module is its name in the file.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;

use super::checkpoint::{TABLE, is_needless, place, settle_head};
use super::config::Gpt2Config;
use crate::model::family::{Adaptable, Family};
use crate::model::initial::normal;
use crate::model::inside::{Layer, Look, Part};
use crate::model::layers::{
    Activation, Embedding, LayerNorm, Linear, TrainingPass, attention_weights, causal_attention,
    dense, drop, residual,
};
use crate::model::place::Place;
use crate::model::tensors::Tensors;
use crate::model::{KvPool, NewToken};

/// A GPT-2 language model.
#[derive(Module, Debug)]
pub struct Gpt2 {
    pub(super) wte: Embedding,
    pub(super) wpe: Embedding,
    pub(super) h: Vec<Block>,
    pub(super) ln_f: LayerNorm,
    #[module(skip)]
    pub(super) config: Gpt2Config,
}

/// One transformer block.
#[derive(Module, Debug)]
pub(super) struct Block {
    pub(super) ln_1: LayerNorm,
    pub(super) attn: Attention,
    pub(super) ln_2: LayerNorm,
    pub(super) mlp: FeedForward,
}

#[derive(Module, Debug)]
pub(super) struct Attention {
    pub(super) c_attn: Linear,
    pub(super) c_proj: Linear,
}

#[derive(Module, Debug)]
pub(super) struct FeedForward {
    pub(super) c_fc: Linear,
    pub(super) c_proj: Linear,
}

impl Family for Gpt2 {
    type Config = Gpt2Config;

    const PREFIX: &'static str = "transformer.";

    fn head_name(&self) -> &'static str {
        TABLE
    }

    fn settle_head(config: &mut Gpt2Config, tensors: &mut Tensors) -> Result<(), String> {
        settle_head(config, tensors)
    }

    fn is_needless(name: &str) -> bool {
        is_needless(name)
    }

    fn place(&self, name: &str) -> Place {
        place(name)
    }

    /// A fresh network as GPT-2 initialises it: weights N(0, `initializer_range`), the projections into the residual stream divided
    /// by sqrt(2 x layers), biases 0, layer norms 1 and 0.
    fn init(config: Gpt2Config, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let std = config.initializer_range;
        let residual = std / (2.0 * config.n_layer as f64).sqrt();
        Self::build(config, device, &mut |shape, part| {
            let std = match part {
                Init::Usual => std,
                Init::IntoResidual => residual,
            };
            normal(shape, std, rng)
        })
    }

    fn blank(config: Gpt2Config, device: &Device) -> Self {
        Self::build(config, device, &mut |shape, _| {
            vec![0.0; shape[0] * shape[1]]
        })
    }

    fn config(&self) -> &Gpt2Config {
        &self.config
    }

    fn with_dropout(mut self, p: f64) -> Self {
        self.config = self.config.with_dropout(p);
        self
    }

    fn head_table(&self) -> Tensor<2> {
        self.wte.weight.val()
    }

    fn dense_layers(&mut self) -> Vec<Adaptable<'_>> {
        let blocks = self.h.iter_mut().enumerate();
        let layers = blocks.flat_map(|(index, block)| {
            let name = |layer| Self::saved_name(&format!("h.{index}.{layer}"));
            [
                block.attn.c_attn.adaptable(name("attn.c_attn")),
                block.attn.c_proj.adaptable(name("attn.c_proj")),
                block.mlp.c_fc.adaptable(name("mlp.c_fc")),
                block.mlp.c_proj.adaptable(name("mlp.c_proj")),
            ]
        });
        layers.collect()
    }

    fn hollow(&self) -> Self {
        let device = self.device();
        let table = || Embedding {
            weight: Param::from_tensor(Tensor::zeros([0, 0], &device)),
        };
        Self {
            wte: table(),
            wpe: table(),
            h: Vec::new(),
            ln_f: LayerNorm::new(0, self.config.layer_norm_epsilon, &device),
            config: self.config.clone(),
        }
    }

    /// The last hidden states of `tokens` `[batch, time]`, after the final layer norm: `[batch, time, D]`.
    ///
    /// `time` must not exceed `n_positions`.
    fn hidden(&self, tokens: Tensor<2, Int>, mut training: Option<&mut TrainingPass>) -> Tensor<3> {
        let x = self.embed(tokens);
        let mut x = drop(&mut training, self.config.embd_pdrop, x);
        for (index, block) in self.h.iter().enumerate() {
            x = block.forward(x, index, &self.config, &mut training, &mut Look::default());
        }
        self.ln_f.forward(x)
    }

    fn look(&self, tokens: Tensor<2, Int>, look: &mut Look) {
        let mut x = self.embed(tokens);
        look.at(Layer::Embeddings, || x.clone());
        let depth = look.depth(self.h.len());
        for (index, block) in self.h.iter().enumerate().take(depth) {
            x = block.forward(x, index, &self.config, &mut None, look);
        }
        look.at(Layer::FinalNorm, || self.ln_f.forward(x));
    }

    fn pass(&self, new: &[NewToken], pool: &mut KvPool) -> Tensor<2> {
        self.read(new, pool)
    }
}

impl Gpt2 {
    /// A network whose matrices `values` gives, asked in the order of the network.
    fn build(
        config: Gpt2Config,
        device: &Device,
        values: &mut dyn FnMut([usize; 2], Init) -> Vec<f32>,
    ) -> Self {
        let width = config.n_embd;
        let mut matrix = |shape: [usize; 2], part| {
            Param::from_data(TensorData::new(values(shape, part), shape), device)
        };
        let wte = Embedding {
            weight: matrix([config.vocab_size, width], Init::Usual),
        };
        let wpe = Embedding {
            weight: matrix([config.n_positions, width], Init::Usual),
        };
        let norm = || LayerNorm::new(width, config.layer_norm_epsilon, device);
        let mut linear = |shape: [usize; 2], part| Linear {
            weight: matrix(shape, part),
            bias: Param::from_tensor(Tensor::zeros([shape[1]], device)),
            lora: None,
        };
        let h = (0..config.n_layer)
            .map(|_| Block {
                ln_1: norm(),
                attn: Attention {
                    c_attn: linear([width, 3 * width], Init::Usual),
                    c_proj: linear([width, width], Init::IntoResidual),
                },
                ln_2: norm(),
                mlp: FeedForward {
                    c_fc: linear([width, config.inner()], Init::Usual),
                    c_proj: linear([config.inner(), width], Init::IntoResidual),
                },
            })
            .collect();
        Self {
            wte,
            wpe,
            h,
            ln_f: norm(),
            config,
        }
    }

    /// Token plus position embedding of `tokens` `[batch, time]`.
    fn embed(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let [batch, time] = tokens.dims();
        let rows = self.wte.rows(tokens.reshape([batch * time]));
        let positions = self.wpe.weight.val().narrow(0, 0, time);
        rows.reshape([batch, time, self.config.n_embd]) + positions.unsqueeze::<3>()
    }
}

/// What a matrix does, which decides how it is initialised.
#[derive(Clone, Copy)]
enum Init {
    Usual,
    /// Its product is added to the residual stream.
    IntoResidual,
}

impl Block {
    /// The block, counted from 0 as `index`, over `x` `[batch, time, D]`.
    fn forward(
        &self,
        x: Tensor<3>,
        index: usize,
        config: &Gpt2Config,
        training: &mut Option<&mut TrainingPass>,
        look: &mut Look,
    ) -> Tensor<3> {
        let (attn, mlp) = (&self.attn, &self.mlp);
        let qkv = dense(
            &attn.c_attn,
            self.ln_1.forward(x.clone()),
            Activation::None,
            training,
        );
        look.at(Part::AttentionWeights.of(index), || {
            attention_weights(qkv.clone(), config.heads())
        });
        let mixed = causal_attention(qkv, config.heads(), training, config.attn_pdrop);
        let attended = dense(&attn.c_proj, mixed, Activation::None, training);
        look.at(Part::Attention.of(index), || attended.clone());
        let x = residual(x, attended, training, config.resid_pdrop);
        let inner = dense(
            &mlp.c_fc,
            self.ln_2.forward(x.clone()),
            Activation::Gelu,
            training,
        );
        look.at(Part::MlpInner.of(index), || inner.clone());
        let fed = dense(&mlp.c_proj, inner, Activation::None, training);
        look.at(Part::Mlp.of(index), || fed.clone());
        let x = residual(x, fed, training, config.resid_pdrop);
        look.at(Part::Output.of(index), || x.clone());
        x
    }
}
