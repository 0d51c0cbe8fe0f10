//! What stands inside a network while it reads a text: the layers that can be asked for, by names that all families share, and their values.

use std::fmt;

use anyhow::{Context as _, ensure};
use burn::tensor::Tensor;

use super::Network;
use super::batches::batches;
use crate::device::room::{allocate, in_parts};
use crate::readback::data;
use crate::thread::in_pool;

/// A place in a network whose values can be asked for. Its name is the same in every family: `embeddings`, `block.3`, `block.3.attention`,
/// `block.3.attention.weights`, `block.3.mlp`, `block.3.mlp.inner`, `final_norm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layer {
    /// What the embeddings give to the first block: `[time, D]`.
    Embeddings,
    /// A part of a block.
    Block {
        /// The block, counted from 0.
        block: usize,
        /// The part of it.
        part: Part,
    },
    /// The residual stream after the last block and the norm that follows it, which the head reads: `[time, D]`.
    FinalNorm,
}

/// A part of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The probabilities of attention, `[head, query, key]`: each query's row is 0 after the query's own place, and adds up to 1.
    AttentionWeights,
    /// What attention adds to the residual stream, after its output projection: `[time, D]`.
    Attention,
    /// What the feed-forward layer's down projection reads, after the activation: `[time, inner]`.
    MlpInner,
    /// What the feed-forward layer adds to the residual stream: `[time, D]`.
    Mlp,
    /// The residual stream after the block: `[time, D]`.
    Output,
}

impl Part {
    /// All parts, in the order of the pass.
    pub const ALL: [Self; 5] = [
        Self::AttentionWeights,
        Self::Attention,
        Self::MlpInner,
        Self::Mlp,
        Self::Output,
    ];

    /// This part of a block, which is counted from 0.
    pub fn of(self, block: usize) -> Layer {
        Layer::Block { block, part: self }
    }

    /// What follows the block's name in that of the layer.
    fn name(self) -> &'static str {
        match self {
            Self::AttentionWeights => ".attention.weights",
            Self::Attention => ".attention",
            Self::MlpInner => ".mlp.inner",
            Self::Mlp => ".mlp",
            Self::Output => "",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Embeddings => f.write_str("embeddings"),
            Self::Block { block, part } => write!(f, "block.{block}{}", part.name()),
            Self::FinalNorm => f.write_str("final_norm"),
        }
    }
}

/// The values of one layer at one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Activations {
    /// The layer.
    pub layer: Layer,
    /// The shape that [`Layer`] and [`Part`] say.
    pub shape: Vec<usize>,
    /// The values, row by row.
    pub values: Vec<f32>,
}

impl Activations {
    /// The rows along the last dimension: one a token, or for the probabilities of attention one a head and query.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = &[f32]> + ExactSizeIterator {
        // No layer has rows of nothing.
        self.values
            .chunks_exact(self.shape.last().copied().unwrap_or(1))
    }
}

/// Takes a text's index and the values of the layers that were asked for, in the order in which they were.
pub type TakeActivations<'a> = dyn FnMut(usize, Vec<Activations>) -> anyhow::Result<()> + 'a;

impl Network {
    /// All layers that can be asked for, in the order of the pass.
    pub fn layers(&self) -> Vec<Layer> {
        let blocks = 0..self.config().layers;
        let parts = blocks.flat_map(|block| Part::ALL.map(|part| part.of(block)));
        let first = std::iter::once(Layer::Embeddings);
        first.chain(parts).chain([Layer::FinalNorm]).collect()
    }

    /// The layers of transformers' `output_hidden_states`: the embeddings and the blocks' outputs, where that of the last block is taken after
    /// the final norm.
    pub fn hidden_layers(&self) -> Vec<Layer> {
        let is_last = |block| block + 1 == self.config().layers;
        let mut layers = self.layers();
        layers.retain(|layer| match *layer {
            Layer::Block { block, part } => part == Part::Output && !is_last(block),
            Layer::Embeddings | Layer::FinalNorm => true,
        });
        layers
    }

    /// The values of `layers` at every text, `[texts][layers]`, without dropout. What is not asked for is not kept, and blocks above the asked
    /// ones are not computed. `go_on` is called before each batch.
    ///
    /// The values of all texts are in memory together; where that is too much, see [`Network::look_into_each`].
    ///
    /// # Errors
    /// Those of `go_on`. When the network has no such layer. When a text is empty, is longer than the model's positions, or has a token that is
    /// not in the vocabulary.
    pub fn look_into(
        &self,
        texts: &[impl AsRef<[u32]>],
        layers: &[Layer],
        go_on: &dyn Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<Vec<Vec<Activations>>> {
        let mut found = vec![Vec::new(); texts.len()];
        self.look_into_each(texts, layers, go_on, &mut |text, activations| {
            found[text] = activations;
            Ok(())
        })?;
        Ok(found)
    }

    /// As [`Network::look_into`], but the values of each text are handed to `take`, with the text's index; not in the order of the texts. No
    /// more than those of a batch are in memory together.
    ///
    /// # Errors
    /// As [`Network::look_into`], and those of `take`.
    pub fn look_into_each(
        &self,
        texts: &[impl AsRef<[u32]>],
        layers: &[Layer],
        go_on: &dyn Fn() -> anyhow::Result<()>,
        take: &mut TakeActivations,
    ) -> anyhow::Result<()> {
        let blocks = self.config().layers;
        for layer in layers {
            let there = !matches!(layer, Layer::Block { block, .. } if *block >= blocks);
            ensure!(
                there,
                "there is no layer `{layer}`: the model has {blocks} blocks, counted from 0"
            );
        }
        for batch in batches(texts, self.config())? {
            in_parts(
                &batch,
                &mut |part| {
                    go_on()?;
                    allocate(part.len());
                    let rows: Vec<&[u32]> = part.iter().map(|&one| texts[one].as_ref()).collect();
                    let mut look = Look::at_these(layers);
                    in_pool(|| self.look(&rows, &mut look));
                    look.by_text(part.len())
                },
                &mut |part, found| {
                    (part.iter().zip(found)).try_for_each(|(&text, found)| take(text, found))
                },
            )?;
        }
        Ok(())
    }

    /// What every one of [`Network::hidden_layers`] has at the last token of each prompt: for each layer `[prompts, D]`, row by row. `go_on` is
    /// called before each batch.
    ///
    /// # Errors
    /// As [`Network::look_into`].
    pub fn hidden_states(
        &self,
        prompts: &[Vec<u32>],
        go_on: &dyn Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<Vec<Vec<f32>>> {
        let (layers, width) = (self.hidden_layers(), self.config().width);
        let mut found = vec![vec![0.0; prompts.len() * width]; layers.len()];
        self.look_into_each(prompts, &layers, go_on, &mut |prompt, activations| {
            for (found, layer) in found.iter_mut().zip(activations) {
                let last = &layer.values[layer.values.len() - width..];
                found[prompt * width..][..width].copy_from_slice(last);
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// A pass shows what it makes to a look, which keeps what was asked for. The default one keeps nothing.
#[derive(Default)]
pub struct Look<'a> {
    asked: &'a [Layer],
    /// What was asked for and seen, of all texts of the pass.
    seen: Vec<Activations>,
}

impl<'a> Look<'a> {
    fn at_these(layers: &'a [Layer]) -> Self {
        Self {
            asked: layers,
            seen: Vec::new(),
        }
    }

    /// How many blocks must be computed for what is asked, at most `blocks`.
    pub fn depth(&self, blocks: usize) -> usize {
        let needed = self.asked.iter().map(|layer| match layer {
            Layer::Embeddings => 0,
            Layer::Block { block, .. } => block + 1,
            Layer::FinalNorm => blocks,
        });
        needed.max().unwrap_or(0)
    }

    /// Shows a layer's values, `[batch, ..]`. They are made only where they are asked for.
    pub fn at<const D: usize>(&mut self, layer: Layer, values: impl FnOnce() -> Tensor<D>) {
        if self.asked.contains(&layer) {
            let data = data(values());
            self.seen.push(Activations {
                layer,
                shape: data.shape().to_vec(),
                values: data.iter::<f32>().collect(),
            });
        }
    }

    /// What was seen at each text, in the order in which it was asked for.
    fn by_text(self, texts: usize) -> anyhow::Result<Vec<Vec<Activations>>> {
        let of = |layer: &Layer| {
            let all = self.seen.iter().find(|seen| seen.layer == *layer);
            all.with_context(|| format!("this family of networks does not show `{layer}`"))
        };
        let asked: Vec<&Activations> = self.asked.iter().map(of).collect::<Result<_, _>>()?;
        let at = |text: usize, all: &Activations| {
            let size = all.values.len() / texts;
            Activations {
                layer: all.layer,
                shape: all.shape[1..].to_vec(),
                values: all.values[text * size..][..size].to_vec(),
            }
        };
        let texts = (0..texts).map(|text| asked.iter().map(|all| at(text, all)).collect());
        Ok(texts.collect())
    }
}
