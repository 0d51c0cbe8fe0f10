//! RoBERTa (Liu et al. 2019) as a sequence classifier, for inference: a post-norm transformer encoder whose first position is read by a
//! two-layer head. Weights in Hugging Face layout.

mod config;

use std::path::Path;

use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::activation::{gelu, softmax};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use super::WeightsError;
use super::layers::LayerNorm;
use super::tensors::Tensors;
use crate::readback::values;
use crate::thread::in_pool;

pub use config::RobertaConfig;

/// Tokens of texts that are read together, padding included.
const AT_ONCE: usize = 2048;

/// A RoBERTa that classifies texts.
#[derive(Debug)]
pub struct Roberta {
    config: RobertaConfig,
    words: Tensor<2>,
    positions: Tensor<2>,
    /// The segment table's first row: text has no second segment.
    segment: Tensor<1>,
    norm: LayerNorm,
    layers: Vec<Layer>,
    dense: Linear,
    out: Linear,
    device: Device,
}

#[derive(Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attended: Linear,
    attended_norm: LayerNorm,
    inner: Linear,
    outer: Linear,
    outer_norm: LayerNorm,
}

/// Takes the network's parts out of a checkpoint.
struct Parts<'a> {
    tensors: Tensors<'a>,
    epsilon: f64,
    device: Device,
}

impl Parts<'_> {
    fn tensor<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
    ) -> Result<Tensor<D>, String> {
        let values = self.tensors.take(name, &shape)?;
        Ok(Tensor::from_data(
            TensorData::new(values, shape),
            &self.device,
        ))
    }

    /// PyTorch keeps a layer's weight as `[out, in]`, burn as `[in, out]`.
    fn linear(&mut self, name: &str, [from, to]: [usize; 2]) -> Result<Linear, String> {
        let weight: Tensor<2> = self.tensor(&format!("{name}.weight"), [to, from])?;
        let bias: Tensor<1> = self.tensor(&format!("{name}.bias"), [to])?;
        Ok(Linear {
            weight: Param::from_tensor(weight.transpose()),
            bias: Some(Param::from_tensor(bias)),
        })
    }

    fn norm(&mut self, name: &str, width: usize) -> Result<LayerNorm, String> {
        let weight = self.tensor(&format!("{name}.weight"), [width])?;
        let bias = self.tensor(&format!("{name}.bias"), [width])?;
        Ok(LayerNorm::of(weight, bias, self.epsilon))
    }
}

impl Roberta {
    /// Reads a classifier's directory in Hugging Face layout onto `device`.
    ///
    /// # Errors
    /// When a file is missing or unreadable, the config is not supported, or a tensor is missing or of the wrong shape or type.
    pub fn load(directory: &Path, device: &Device) -> Result<Self, WeightsError> {
        let path = directory.join("config.json");
        let text = std::fs::read_to_string(&path).map_err(|source| WeightsError::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        let config =
            RobertaConfig::parse(&text).map_err(|source| WeightsError::Config { path, source })?;
        let mut parts = Parts {
            tensors: Tensors::open(directory, "")?,
            epsilon: config.layer_norm_eps,
            device: device.clone(),
        };
        let built = Self::build(config, &mut parts).and_then(|model| {
            // transformers' classifier has no pooler, and its positions are counted, not stored.
            let needless = |name: &str| {
                name.starts_with("roberta.pooler.")
                    || ["position_ids", "token_type_ids"]
                        .iter()
                        .any(|buffer| name == format!("roberta.embeddings.{buffer}"))
            };
            parts.tensors.finish(needless).map(|()| model)
        });
        built.map_err(|message| WeightsError::Content {
            path: parts.tensors.origin,
            message,
        })
    }

    fn build(config: RobertaConfig, parts: &mut Parts) -> Result<Self, String> {
        let width = config.hidden_size;
        let table = |name: &str| format!("roberta.embeddings.{name}.weight");
        let segments: Tensor<2> = parts.tensor(
            &table("token_type_embeddings"),
            [config.type_vocab_size, width],
        )?;
        let labels = config.id2label.len();
        Ok(Self {
            words: parts.tensor(&table("word_embeddings"), [config.vocab_size, width])?,
            positions: parts.tensor(
                &table("position_embeddings"),
                [config.max_position_embeddings, width],
            )?,
            segment: segments.narrow(0, 0, 1).reshape([width]),
            norm: parts.norm("roberta.embeddings.LayerNorm", width)?,
            layers: (0..config.num_hidden_layers)
                .map(|index| Layer::build(index, &config, parts))
                .collect::<Result<_, _>>()?,
            dense: parts.linear("classifier.dense", [width, width])?,
            out: parts.linear("classifier.out_proj", [width, labels])?,
            device: parts.device.clone(),
            config,
        })
    }

    /// What the network was built from.
    pub fn config(&self) -> &RobertaConfig {
        &self.config
    }

    /// The logits `[texts][labels]` of texts of token ids, between the tokens that begin and end a text, no longer than
    /// [`RobertaConfig::longest`]. Texts of like length are read together; `go_on` is asked before each batch with the number of texts done.
    ///
    /// # Errors
    /// Those of `go_on`.
    pub fn logits(
        &self,
        texts: &[Vec<u32>],
        go_on: &dyn Fn(usize) -> anyhow::Result<()>,
    ) -> anyhow::Result<Vec<Vec<f32>>> {
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&index| texts[index].len());
        let mut found = vec![Vec::new(); texts.len()];
        let mut done = 0;
        while done < order.len() {
            go_on(done)?;
            // As many as fit, padded to the last and longest of them.
            let fits = |&count: &usize| {
                count * texts[order[done + count - 1]].len() <= AT_ONCE || count == 1
            };
            let count = (1..=order.len() - done)
                .take_while(fits)
                .last()
                .unwrap_or(1);
            let batch = &order[done..done + count];
            let rows: Vec<&[u32]> = batch.iter().map(|&index| &texts[index][..]).collect();
            let labels = self.config.id2label.len();
            let logits = in_pool(|| values(self.batch(&rows)));
            for (&index, logits) in batch.iter().zip(logits.chunks_exact(labels)) {
                found[index] = logits.to_vec();
            }
            done += count;
        }
        Ok(found)
    }

    /// Logits `[batch, labels]` of texts that are padded to the longest.
    fn batch(&self, rows: &[&[u32]]) -> Tensor<2> {
        let time = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let (batch, pad) = (rows.len(), self.config.pad_token_id as u32);
        let mut tokens = vec![pad as i32; batch * time];
        let mut positions = vec![pad as i32; batch * time];
        let mut hidden = vec![true; batch * time];
        for (index, row) in rows.iter().enumerate() {
            // Positions count the tokens that are no padding, from behind the padding token's id on.
            let mut position = pad as i32;
            for (place, &token) in row.iter().enumerate() {
                let place = index * time + place;
                tokens[place] = token as i32;
                hidden[place] = token == pad;
                if token != pad {
                    position += 1;
                    positions[place] = position;
                }
            }
        }
        let look_up = |table: &Tensor<2>, index: Vec<i32>| -> Tensor<3> {
            let index: Tensor<1, Int> =
                Tensor::from_data(TensorData::new(index, [batch * time]), &self.device);
            let rows = table.clone().select(0, index);
            rows.reshape([batch, time, self.config.hidden_size])
        };
        let mask: Tensor<4, Bool> =
            Tensor::from_data(TensorData::new(hidden, [batch, 1, 1, time]), &self.device);
        let embedded = look_up(&self.words, tokens)
            + look_up(&self.positions, positions)
            + self.segment.clone().unsqueeze::<3>();
        let mut x = self.norm.forward(embedded);
        for layer in &self.layers {
            x = layer.forward(x, &mask, self.config.num_attention_heads);
        }
        let first = x.narrow(1, 0, 1).reshape([batch, self.config.hidden_size]);
        self.out.forward(self.dense.forward(first).tanh())
    }
}

impl Layer {
    fn build(index: usize, config: &RobertaConfig, parts: &mut Parts) -> Result<Self, String> {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let name = |part: &str| format!("roberta.encoder.layer.{index}.{part}");
        Ok(Self {
            query: parts.linear(&name("attention.self.query"), [width, width])?,
            key: parts.linear(&name("attention.self.key"), [width, width])?,
            value: parts.linear(&name("attention.self.value"), [width, width])?,
            attended: parts.linear(&name("attention.output.dense"), [width, width])?,
            attended_norm: parts.norm(&name("attention.output.LayerNorm"), width)?,
            inner: parts.linear(&name("intermediate.dense"), [width, inner])?,
            outer: parts.linear(&name("output.dense"), [inner, width])?,
            outer_norm: parts.norm(&name("output.LayerNorm"), width)?,
        })
    }

    /// One layer over `x` `[batch, time, D]`; `mask` `[batch, 1, 1, time]` is true where there is padding.
    fn forward(&self, x: Tensor<3>, mask: &Tensor<4, Bool>, heads: usize) -> Tensor<3> {
        let [batch, time, width] = x.dims();
        let head_width = width / heads;
        let split = |part: &Linear| {
            let all = part.forward(x.clone());
            all.reshape([batch, time, heads, head_width])
                .swap_dims(1, 2)
        };
        let query = split(&self.query) * (1.0 / (head_width as f64).sqrt());
        let scores = query.matmul(split(&self.key).swap_dims(2, 3));
        let mask = mask.clone().expand([batch, heads, time, time]);
        let weights = softmax(scores.mask_fill(mask, f32::MIN), 3);
        let mixed = weights.matmul(split(&self.value)).swap_dims(1, 2);
        let mixed = mixed.reshape([batch, time, width]);
        let x = self.attended_norm.forward(self.attended.forward(mixed) + x);
        let fed = self.outer.forward(gelu(self.inner.forward(x.clone())));
        self.outer_norm.forward(fed + x)
    }
}
