//! Reading on: the model's pass over tokens that follow others it has read, for many sequences at once, and the head over what comes out.

use burn::backend::Flex;
use burn::nn::Linear;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rayon::prelude::*;

use super::gpt2::network::Block;
use super::kernels::{RunningArgmax, attention};
use super::layers::gelu;
use super::{Gpt2, KvPool, kernels};

/// Tokens of one pass: enough for matrix products at full speed, few enough for their results to be small.
const PASS: usize = 512;
/// Rows of logits held at once.
const ROWS: usize = 128;
/// Columns of the head multiplied at once: their product with [`ROWS`] rows stays in the processor's cache.
const COLUMNS: usize = 4096;

/// A token to be read.
#[derive(Debug, Clone, Copy)]
pub struct NewToken<'a> {
    /// The token.
    pub id: u32,
    /// The slots of its sequence up to and including its own; their number is its position plus one.
    pub sequence: &'a [u32],
}

impl<'a> NewToken<'a> {
    /// The tokens of `text`, whose slots are in `sequence`, but for the first `read`.
    pub fn of(
        text: &'a [u32],
        sequence: &'a [u32],
        read: usize,
    ) -> impl Iterator<Item = NewToken<'a>> {
        (read..text.len()).map(move |position| NewToken {
            id: text[position],
            sequence: &sequence[..=position],
        })
    }
}

/// What came of reading whole texts.
#[derive(Debug)]
pub struct TextsRead {
    /// The slots of each text.
    pub sequences: Vec<Vec<u32>>,
    /// The last hidden states of all tokens that were read, `[read, D]`.
    pub hidden: Tensor<2>,
    /// For each text and position, which row of `hidden` belongs to it.
    pub rows: Vec<Vec<u32>>,
}

impl Gpt2 {
    /// Reads texts from their beginning. What a text's beginning has in common with the text before it is read once, so texts in the order
    /// of their tokens are read with every common beginning read once.
    pub fn read_texts(&self, texts: &[&[u32]], pool: &mut KvPool) -> TextsRead {
        let mut sequences: Vec<Vec<u32>> = Vec::with_capacity(texts.len());
        let mut rows: Vec<Vec<u32>> = Vec::with_capacity(texts.len());
        let (mut shared, mut read) = (Vec::with_capacity(texts.len()), 0);
        let mut before: &[u32] = &[];
        for text in texts {
            let both = text.iter().zip(before);
            let common = both.take_while(|(a, b)| a == b).count();
            let theirs = sequences.last().map_or(&[][..], |theirs| &theirs[..common]);
            let mut sequence = pool.share(theirs);
            pool.resize(&mut sequence, text.len());
            let mut own = rows
                .last()
                .map_or(Vec::new(), |rows| rows[..common].to_vec());
            own.extend(read..read + (text.len() - common) as u32);
            read += (text.len() - common) as u32;
            rows.push(own);
            sequences.push(sequence);
            shared.push(common);
            before = text;
        }
        let each = texts.iter().zip(&sequences).zip(shared);
        let new: Vec<NewToken> = each
            .flat_map(|((text, sequence), shared)| NewToken::of(text, sequence, shared))
            .collect();
        let hidden = self.read(&new, pool);
        TextsRead {
            sequences,
            hidden,
            rows,
        }
    }

    /// Reads tokens of any number of sequences and gives the last hidden states, after the final layer norm, of each: `[new, D]`.
    ///
    /// What a token follows must have been read before or stand before it in `new`; its position must be below `n_positions`.
    pub fn read(&self, new: &[NewToken], pool: &mut KvPool) -> Tensor<2> {
        if new.is_empty() {
            return Tensor::zeros([0, self.config().n_embd], &self.device());
        }
        let passes = new.chunks(PASS).map(|new| self.pass(new, pool));
        Tensor::cat(passes.collect(), 0)
    }

    fn pass(&self, new: &[NewToken], pool: &mut KvPool) -> Tensor<2> {
        let device = self.device();
        let ids = |of: &dyn Fn(&NewToken) -> usize| -> Tensor<1, Int> {
            let ids: Vec<i32> = new.iter().map(|token| of(token) as i32).collect();
            Tensor::from_data(TensorData::new(ids, [new.len()]), &device)
        };
        let seen: Vec<&[u32]> = new.iter().map(|token| token.sequence).collect();
        let mut x = self.token_rows(ids(&|token| token.id as usize))
            + self.position_rows(ids(&|token| token.sequence.len() - 1));
        for (index, block) in self.h.iter().enumerate() {
            x = block.read(x, &seen, index, self.config().n_head, pool);
        }
        self.ln_f.forward(x)
    }

    /// The most probable token after each of the hidden states `[rows, D]`; of equal logits the lowest token, as PyTorch has it on the
    /// CPU. None where a logit is not finite.
    pub fn argmax(&self, hidden: Tensor<2>) -> Vec<Option<u32>> {
        let [rows, _] = hidden.dims();
        let table = self.token_table();
        let [vocab, _] = table.dims();
        let mut found = Vec::with_capacity(rows);
        for first in (0..rows).step_by(ROWS) {
            let some = hidden.clone().narrow(0, first, ROWS.min(rows - first));
            let [columns, _] = some.dims();
            let mut running = RunningArgmax::new(columns);
            for first in (0..vocab).step_by(COLUMNS) {
                let part = table.clone().narrow(0, first, COLUMNS.min(vocab - first));
                let logits = part.matmul(some.clone().transpose());
                running.take(&values(logits), first as u32);
            }
            found.extend(running.finish());
        }
        found
    }

    /// Logits after hidden states `[rows, D]`, row by row: `[rows x vocab]`.
    pub fn logits_of(&self, hidden: Tensor<2>) -> Vec<f32> {
        values(self.head(hidden))
    }

    /// What `of` makes of the logits `[vocab]` after each of the hidden states `[rows, D]`, in their order; it is called from several threads.
    pub fn map_logits<T: Send>(
        &self,
        hidden: Tensor<2>,
        of: &(dyn Fn(usize, &[f32]) -> T + Sync),
    ) -> Vec<T> {
        let [rows, _] = hidden.dims();
        let mut found = Vec::with_capacity(rows);
        for first in (0..rows).step_by(ROWS) {
            let some = hidden.clone().narrow(0, first, ROWS.min(rows - first));
            let logits = self.logits_of(some);
            let each = logits.par_chunks_exact(self.config().vocab_size);
            found.par_extend(
                each.enumerate()
                    .map(|(row, logits)| of(first + row, logits)),
            );
        }
        found
    }
}

impl Block {
    /// `x` `[new, D]` through the block, each token attending to `seen`.
    fn read(
        &self,
        x: Tensor<2>,
        seen: &[&[u32]],
        index: usize,
        heads: usize,
        pool: &mut KvPool,
    ) -> Tensor<2> {
        let [new, width] = x.dims();
        let normed = self.ln_1.forward(x.clone());
        let qkv = values(linear(&self.attn.c_attn, normed, false));
        for (qkv, seen) in qkv.chunks_exact(3 * width).zip(seen) {
            if let Some(&slot) = seen.last() {
                pool.fill(index, slot, &qkv[width..2 * width], &qkv[2 * width..]);
            }
        }
        let mixed = attention(&qkv, seen, pool, index, heads);
        let mixed = Tensor::from_data(TensorData::new(mixed, [new, width]), &x.device());
        let x = x + linear(&self.attn.c_proj, mixed, false);
        let fed = linear(&self.mlp.c_fc, self.ln_2.forward(x.clone()), true);
        x + linear(&self.mlp.c_proj, fed, false)
    }
}

/// `x W + b` of a layer, and GELU of it if so wanted: by our own kernel where the rows are few and their values at hand.
fn linear(layer: &Linear, x: Tensor<2>, with_gelu: bool) -> Tensor<2> {
    let [rows, _] = x.dims();
    let own = if rows <= kernels::MOST_ROWS {
        few_rows(layer, x.clone(), with_gelu)
    } else {
        None
    };
    own.unwrap_or_else(|| {
        let y = layer.forward(x);
        if with_gelu { gelu(y) } else { y }
    })
}

/// None on another device than flex.
fn few_rows(layer: &Linear, x: Tensor<2>, with_gelu: bool) -> Option<Tensor<2>> {
    let of = |tensor: Tensor<2>| tensor.try_into_primitive::<Flex>().ok();
    let (weight, bias) = (of(layer.weight.val())?, layer.bias.as_ref()?.val());
    let (bias, x) = (of(bias.unsqueeze())?, of(x)?);
    let finish: &(dyn Fn(&mut [f32]) + Sync) = if with_gelu { &kernels::gelu } else { &|_| {} };
    let bias = bias.as_slice::<f32>()?;
    let y = kernels::product(x.as_slice()?, weight.as_slice()?, bias, finish);
    let shape = [y.len() / bias.len(), bias.len()];
    Some(Tensor::from_data(
        TensorData::new(y, shape),
        &Device::flex(),
    ))
}

/// A tensor's values, row by row.
pub(super) fn values(tensor: Tensor<2>) -> Vec<f32> {
    let data = tensor.into_data();
    // All weights are f32 from loading on, and so is everything that is computed from them.
    data.try_into_vec::<f32>().expect("a tensor of f32")
}
