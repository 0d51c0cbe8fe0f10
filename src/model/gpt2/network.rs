//! GPT-2 (Radford et al. 2019): pre-norm transformer decoder with learned positions and a head tied to the token embedding.
//!
//! Field names are those of the Hugging Face checkpoint, so that a parameter's path in the module is its name in the file.

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::nn::{LayerNorm, LayerNormConfig, Linear};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

use super::Gpt2Config;
use crate::model::Dropout;
use crate::model::layers::gelu;

/// Prompts that are read together for their hidden states.
const PROMPTS: usize = 64;

/// A GPT-2 language model.
#[derive(Module, Debug)]
pub struct Gpt2 {
    pub(crate) wte: Embedding,
    pub(crate) wpe: Embedding,
    pub(crate) h: Vec<Block>,
    pub(crate) ln_f: LayerNorm,
    #[module(skip)]
    pub(crate) config: Gpt2Config,
}

/// A table of vectors, `[rows, D]`.
#[derive(Module, Debug)]
pub(crate) struct Embedding {
    weight: Param<Tensor<2>>,
}

/// One transformer block.
#[derive(Module, Debug)]
pub(crate) struct Block {
    pub(crate) ln_1: LayerNorm,
    pub(crate) attn: Attention,
    pub(crate) ln_2: LayerNorm,
    pub(crate) mlp: FeedForward,
}

#[derive(Module, Debug)]
pub(crate) struct Attention {
    pub(crate) c_attn: Linear,
    pub(crate) c_proj: Linear,
}

#[derive(Module, Debug)]
pub(crate) struct FeedForward {
    pub(crate) c_fc: Linear,
    pub(crate) c_proj: Linear,
}

impl Gpt2 {
    /// A fresh network as GPT-2 initialises it: weights N(0, `initializer_range`), the projections into the residual stream divided
    /// by sqrt(2 x layers), biases 0, layer norms 1 and 0.
    pub fn init(config: Gpt2Config, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let std = config.initializer_range;
        let residual = std / (2.0 * config.n_layer as f64).sqrt();
        Self::build(config, device, &mut |shape, part| {
            let std = match part {
                Part::Usual => std,
                Part::IntoResidual => residual,
            };
            normal(shape, std, rng)
        })
    }

    /// A network of zeros, to be filled.
    pub(crate) fn blank(config: Gpt2Config, device: &Device) -> Self {
        Self::build(config, device, &mut |shape, _| {
            vec![0.0; shape[0] * shape[1]]
        })
    }

    /// A network whose matrices `values` gives, asked in the order of the network.
    fn build(
        config: Gpt2Config,
        device: &Device,
        values: &mut dyn FnMut([usize; 2], Part) -> Vec<f32>,
    ) -> Self {
        let width = config.n_embd;
        let mut matrix = |shape: [usize; 2], part| {
            Param::from_data(TensorData::new(values(shape, part), shape), device)
        };
        let wte = Embedding {
            weight: matrix([config.vocab_size, width], Part::Usual),
        };
        let wpe = Embedding {
            weight: matrix([config.n_positions, width], Part::Usual),
        };
        let norm = || {
            LayerNormConfig::new(width)
                .with_epsilon(config.layer_norm_epsilon)
                .init(device)
        };
        let mut linear = |shape: [usize; 2], part| Linear {
            weight: matrix(shape, part),
            bias: Some(Param::from_tensor(Tensor::zeros([shape[1]], device))),
        };
        let h = (0..config.n_layer)
            .map(|_| Block {
                ln_1: norm(),
                attn: Attention {
                    c_attn: linear([width, 3 * width], Part::Usual),
                    c_proj: linear([width, width], Part::IntoResidual),
                },
                ln_2: norm(),
                mlp: FeedForward {
                    c_fc: linear([width, config.inner()], Part::Usual),
                    c_proj: linear([config.inner(), width], Part::IntoResidual),
                },
            })
            .collect();
        let model = Self {
            wte,
            wpe,
            h,
            ln_f: norm(),
            config,
        };
        model.map(&mut Numbering(0))
    }

    /// What the network was built from.
    pub fn config(&self) -> &Gpt2Config {
        &self.config
    }

    /// The same weights with one probability for all three dropouts.
    pub fn with_dropout(mut self, p: f64) -> Self {
        self.config = self.config.with_dropout(p);
        self
    }

    /// The device that the weights are on.
    pub fn device(&self) -> Device {
        self.wte.weight.val().device()
    }

    /// The last hidden states of `tokens` `[batch, time]`, after the final layer norm: `[batch, time, D]`.
    ///
    /// With `dropout` the pass is a training pass. `time` must not exceed `n_positions`.
    pub fn hidden(&self, tokens: Tensor<2, Int>, mut dropout: Option<&mut Dropout>) -> Tensor<3> {
        let [_, time] = tokens.dims();
        let x = self.embed(tokens);
        let mut x = drop(&mut dropout, self.config.embd_pdrop, x);
        let mask = causal_mask(time, &x.device());
        for block in &self.h {
            x = block.forward(x, &mask, &self.config, &mut dropout);
        }
        self.ln_f.forward(x)
    }

    /// What every layer makes of the last token of each prompt, without dropout: for each of the `n_layer` + 1 layers `[prompts, D]`, row by row.
    /// The first is what the embeddings give, the last what the final layer norm does, as transformers' `output_hidden_states` has them.
    pub fn hidden_states(&self, prompts: &[Vec<u32>]) -> Vec<Vec<f32>> {
        let width = self.config.n_embd;
        let mut found = vec![vec![0.0; prompts.len() * width]; self.h.len() + 1];
        let mut order: Vec<usize> = (0..prompts.len()).collect();
        order.sort_by_key(|&index| prompts[index].len());
        // Prompts of one length at a time, so that there is no padding.
        for same in order.chunk_by(|&a, &b| prompts[a].len() == prompts[b].len()) {
            for batch in same.chunks(PROMPTS) {
                let rows: Vec<&[u32]> = batch.iter().map(|&index| &prompts[index][..]).collect();
                let layers = rayon::scope(|_| self.last_states(&rows));
                for (layer, found) in layers.into_iter().zip(&mut found) {
                    let values: Vec<f32> = layer.into_data().iter::<f32>().collect();
                    for (&index, row) in batch.iter().zip(values.chunks_exact(width)) {
                        found[index * width..(index + 1) * width].copy_from_slice(row);
                    }
                }
            }
        }
        found
    }

    /// Every layer's states `[batch, D]` at the last of equally many tokens.
    fn last_states(&self, rows: &[&[u32]]) -> Vec<Tensor<2>> {
        let (batch, time) = (rows.len(), rows[0].len());
        let last = |x: &Tensor<3>| {
            let last = x.clone().narrow(1, time - 1, 1);
            last.reshape([batch, self.config.n_embd])
        };
        let mut x = self.embed(token_tensor(rows, &self.device()));
        let mask = causal_mask(time, &x.device());
        let mut states = vec![last(&x)];
        for block in &self.h {
            x = block.forward(x, &mask, &self.config, &mut None);
            states.push(last(&x));
        }
        if let Some(state) = states.last_mut() {
            *state = self.ln_f.forward(state.clone());
        }
        states
    }

    /// Logits of hidden states `[rows, D]`, by the tied head: `[rows, vocab]`.
    pub fn head(&self, hidden: Tensor<2>) -> Tensor<2> {
        let [rows, _] = hidden.dims();
        if rows <= 8 {
            // A row or two against the whole table: reading the table as the left operand is many times faster on the CPU than
            // multiplying by its transpose.
            return self.wte.weight.val().matmul(hidden.transpose()).transpose();
        }
        hidden.matmul(self.wte.weight.val().transpose())
    }

    /// Logits at every position of `tokens` `[batch, time]`, without dropout: `[batch, time, vocab]`.
    pub fn logits(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let hidden = self.hidden(tokens, None);
        let [batch, time, width] = hidden.dims();
        self.head(hidden.reshape([batch * time, width])).reshape([
            batch,
            time,
            self.config.vocab_size,
        ])
    }

    /// The token table `[vocab, D]`, which is the head, too.
    pub(crate) fn token_table(&self) -> Tensor<2> {
        self.wte.weight.val()
    }

    /// The position table's rows for `positions` `[rows]`: `[rows, D]`.
    pub(crate) fn position_rows(&self, positions: Tensor<1, Int>) -> Tensor<2> {
        self.wpe.weight.val().select(0, positions)
    }

    /// The token table's rows for `tokens` `[rows]`: `[rows, D]`.
    pub(crate) fn token_rows(&self, tokens: Tensor<1, Int>) -> Tensor<2> {
        self.wte.weight.val().select(0, tokens)
    }

    /// Token plus position embedding of `tokens` `[batch, time]`.
    fn embed(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let [batch, time] = tokens.dims();
        let rows = self.token_rows(tokens.reshape([batch * time]));
        let positions = self.wpe.weight.val().narrow(0, 0, time);
        rows.reshape([batch, time, self.config.n_embd]) + positions.unsqueeze::<3>()
    }
}

/// Gives the parameters ids in the order of the network, and makes lazy ones real: an optimiser's saved moments then fit any model
/// of the same shape, and nothing depends on the order in which parameters are first used.
struct Numbering(u64);

impl ModuleMapper for Numbering {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.0 += 1;
        let (_, value, mapper) = param.consume();
        Param::from_mapped_value(ParamId::from(self.0), value, mapper)
    }
}

/// What a matrix does, which decides how it is initialised.
#[derive(Clone, Copy)]
enum Part {
    Usual,
    /// Its product is added to the residual stream.
    IntoResidual,
}

impl Block {
    /// One block over `x` `[batch, time, D]`.
    fn forward(
        &self,
        x: Tensor<3>,
        mask: &Option<Tensor<4, Bool>>,
        config: &Gpt2Config,
        dropout: &mut Option<&mut Dropout>,
    ) -> Tensor<3> {
        let normed = self.ln_1.forward(x.clone());
        let attended = self.attn.forward(normed, mask, config, dropout);
        let x = x + drop(dropout, config.resid_pdrop, attended);
        let fed = self.mlp.forward(self.ln_2.forward(x.clone()));
        x + drop(dropout, config.resid_pdrop, fed)
    }
}

impl Attention {
    /// Causal self-attention of `x` `[batch, time, D]`.
    fn forward(
        &self,
        x: Tensor<3>,
        mask: &Option<Tensor<4, Bool>>,
        config: &Gpt2Config,
        dropout: &mut Option<&mut Dropout>,
    ) -> Tensor<3> {
        let [batch, time, width] = x.dims();
        let (heads, head_width) = (config.n_head, width / config.n_head);
        let qkv = self.c_attn.forward(x);
        let split = |index: usize| {
            qkv.clone()
                .narrow(2, index * width, width)
                .reshape([batch, time, heads, head_width])
                .swap_dims(1, 2)
        };
        let (keys, values) = (split(1), split(2));
        let query = split(0) * (1.0 / (head_width as f64).sqrt());
        let mut scores = query.matmul(keys.swap_dims(2, 3));
        if let Some(mask) = mask {
            scores = scores.mask_fill(mask.clone(), f32::MIN);
        }
        let weights = drop(dropout, config.attn_pdrop, softmax(scores, 3));
        let mixed = weights
            .matmul(values)
            .swap_dims(1, 2)
            .reshape([batch, time, width]);
        self.c_proj.forward(mixed)
    }
}

impl FeedForward {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.c_proj.forward(gelu(self.c_fc.forward(x)))
    }
}

fn drop<const D: usize>(
    dropout: &mut Option<&mut Dropout>,
    p: f64,
    tensor: Tensor<D>,
) -> Tensor<D> {
    match dropout {
        Some(dropout) => dropout.apply(p, tensor),
        None => tensor,
    }
}

/// True where row i must not look: at columns after i. None when nothing is hidden.
fn causal_mask(time: usize, device: &Device) -> Option<Tensor<4, Bool>> {
    if time == 1 {
        return None;
    }
    let hidden: Vec<bool> = (0..time)
        .flat_map(|row| (0..time).map(move |column| column > row))
        .collect();
    Some(Tensor::from_data(
        TensorData::new(hidden, [1, 1, time, time]),
        device,
    ))
}

/// Token ids of equal-length `rows` as a tensor `[batch, time]`.
pub(crate) fn token_tensor(rows: &[&[u32]], device: &Device) -> Tensor<2, Int> {
    let time = rows.first().map_or(0, |row| row.len());
    let ids: Vec<i32> = rows
        .iter()
        .flat_map(|row| row.iter().map(|&id| id as i32))
        .collect();
    Tensor::from_data(TensorData::new(ids, [rows.len(), time]), device)
}

fn normal(shape: [usize; 2], std: f64, rng: &mut ChaCha8Rng) -> Vec<f32> {
    // `std` comes from a validated config; a bad one gives constant weights rather than a panic.
    match Normal::new(0.0, std) {
        Ok(normal) => (0..shape[0] * shape[1])
            .map(|_| normal.sample(rng) as f32)
            .collect(),
        Err(_) => vec![0.0; shape[0] * shape[1]],
    }
}
