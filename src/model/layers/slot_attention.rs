//! Attention of new tokens to keys and values that lie in slots.

use std::ops::Range;

use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use crate::device::has_kernels;
use crate::model::kernels::{self, Heads};
use crate::model::{KvPool, NewToken};
use crate::readback::values;

/// Keys and values, each counted as often as it is seen, that are gathered at once: at gpt2's width 200 MB.
const GATHERED: usize = 1 << 15;

/// The new tokens of a pass, where the model is.
pub(crate) struct NewTokens<'a> {
    /// `[new]`
    pub ids: Tensor<1, Int>,
    /// `[new]`
    pub positions: Tensor<1, Int>,
    seen: Seen<'a>,
}

/// What each new token sees, itself included.
enum Seen<'a> {
    /// Its slots.
    Slots(Vec<&'a [u32]>),
    /// Rows of the log on the device; the new tokens have those of the range.
    Rows(Range<usize>, Vec<Part>),
}

/// New tokens one after the other that are attended to together.
struct Part {
    tokens: Range<usize>,
    /// The rows that each of them sees, filled up to the longest list with its own: `[tokens x longest]`.
    rows: Tensor<1, Int>,
    /// Which of them are filling: `[tokens, 1, 1, longest]`.
    filling: Tensor<4, Bool>,
}

impl<'a> NewTokens<'a> {
    /// Their slots are in `pool`, and are filled by [`slot_attention`], block by block.
    pub fn new(new: &[NewToken<'a>], pool: &mut KvPool, device: &Device) -> Self {
        let ids = new.iter().map(|token| token.id as i32);
        let positions = new.iter().map(|token| token.sequence.len() as i32 - 1);
        if has_kernels(device) {
            let tensor =
                |values: Vec<i32>| Tensor::from_data(TensorData::new(values, [new.len()]), device);
            return Self {
                ids: tensor(ids.collect()),
                positions: tensor(positions.collect()),
                seen: Seen::Slots(new.iter().map(|token| token.sequence).collect()),
            };
        }
        let slots: Vec<u32> = new
            .iter()
            .filter_map(|token| token.sequence.last().copied())
            .collect();
        let rows = pool.append(&slots, &device.clone().inner());
        // All that the pass needs goes to the device at once.
        let mut numbers: Vec<i32> = ids.chain(positions).collect();
        let parts = parts(new);
        let lists = parts.iter().map(|(tokens, longest)| {
            let first = numbers.len();
            for token in &new[tokens.clone()] {
                let seen = token.sequence.iter().map(|&slot| pool.log.row(slot) as i32);
                numbers.extend(seen);
                let own = *numbers.last().unwrap_or(&0);
                numbers.extend(vec![own; longest - token.sequence.len()]);
            }
            (first, tokens.len() * longest)
        });
        let lists: Vec<(usize, usize)> = lists.collect();
        let count = numbers.len();
        let numbers: Tensor<1, Int> = Tensor::from_data(TensorData::new(numbers, [count]), device);
        let cut = |first, count| numbers.clone().narrow(0, first, count);
        let positions = cut(new.len(), new.len());
        let part = |((tokens, longest), (first, count)): ((Range<usize>, usize), _)| {
            let last = positions.clone().narrow(0, tokens.start, tokens.len());
            let columns = Tensor::<1, Int>::arange(0..longest as i64, (device, last.dtype()));
            let columns = columns.reshape([1, 1, 1, longest]);
            Part {
                filling: columns
                    .greater(last.reshape([tokens.len(), 1, 1, 1]))
                    .inner(),
                rows: cut(first, count).inner(),
                tokens,
            }
        };
        Self {
            ids: cut(0, new.len()),
            seen: Seen::Rows(rows, parts.into_iter().zip(lists).map(part).collect()),
            positions,
        }
    }
}

/// The tokens of each part, and the longest list of slots among them.
fn parts(new: &[NewToken]) -> Vec<(Range<usize>, usize)> {
    let mut parts: Vec<(Range<usize>, usize)> = Vec::new();
    for (index, token) in new.iter().enumerate() {
        let seen = token.sequence.len();
        match parts.last_mut() {
            Some((tokens, longest)) if (tokens.len() + 1) * seen.max(*longest) <= GATHERED => {
                tokens.end = index + 1;
                *longest = seen.max(*longest);
            }
            _ => parts.push((index..index + 1, seen)),
        }
    }
    parts
}

/// Fills the slots of the new tokens in a block from `qkv` `[new, channels]`, queries first, then keys, then values, and gives the attention of
/// each token to all that it sees: `[new, heads x width]`.
pub(crate) fn slot_attention(
    qkv: Tensor<2>,
    new: &NewTokens,
    block: usize,
    heads: Heads,
    pool: &mut KvPool,
) -> Tensor<2> {
    let [count, channels] = qkv.dims();
    let (width, keys) = (heads.queries(), heads.keys());
    match &new.seen {
        Seen::Slots(seen) => {
            let device = qkv.device();
            let qkv = values(qkv);
            for (qkv, seen) in qkv.chunks_exact(channels).zip(seen) {
                if let Some(&slot) = seen.last() {
                    let (key, value) = qkv[width..].split_at(keys);
                    pool.pages.fill(block, slot, key, value);
                }
            }
            let mixed = kernels::attention(&qkv, seen, &pool.pages, block, heads);
            Tensor::from_data(TensorData::new(mixed, [count, width]), &device)
        }
        Seen::Rows(rows, parts) => {
            let (qkv, is_autodiff) = (qkv.clone().inner(), qkv.is_autodiff());
            let keys_and_values = qkv.clone().narrow(1, width, 2 * keys);
            pool.log.fill(block, rows.clone(), keys_and_values);
            let mixed = parts.iter().map(|part| {
                let seen = pool.log.rows(block, part.rows.clone());
                let query = qkv.clone().narrow(0, part.tokens.start, part.tokens.len());
                attend(query.narrow(1, 0, width), seen, &part.filling, heads)
            });
            let mixed = Tensor::cat(mixed.collect(), 0);
            if is_autodiff {
                Tensor::from_inner(mixed)
            } else {
                mixed
            }
        }
    }
}

/// Attention of queries `[tokens, heads x width]` to what each sees, `[tokens x longest, 2 kv_heads x width]`: `[tokens, heads x width]`.
fn attend(query: Tensor<2>, seen: Tensor<2>, filling: &Tensor<4, Bool>, heads: Heads) -> Tensor<2> {
    let [tokens, _, _, longest] = filling.dims();
    let Heads {
        kv_heads, width, ..
    } = heads;
    let part = |index: usize| {
        let part = seen.clone().narrow(1, index * heads.keys(), heads.keys());
        part.reshape([tokens, longest, kv_heads, width])
            .swap_dims(1, 2)
    };
    let query = query * (1.0 / (width as f64).sqrt());
    let query = query.reshape([tokens, kv_heads, heads.group(), width]);
    let scores = query.matmul(part(0).swap_dims(2, 3));
    let weights = softmax(scores.mask_fill(filling.clone(), f32::MIN), 3);
    weights.matmul(part(1)).reshape([tokens, heads.queries()])
}
