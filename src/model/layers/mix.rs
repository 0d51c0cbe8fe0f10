//! The attention of all blocks of a pass: over whole texts, or of new tokens to what is kept.

use burn::tensor::Tensor;

use super::{NewTokens, TrainingPass, causal_attention, slot_attention};
use crate::model::KvPool;
use crate::model::kernels::Heads;

/// Makes of a block, counted from 0, its `qkv` `[batch, time, channels]` and the pass in training, if it is one, what the attention of the block
/// mixes: `[batch, time, heads x width]`.
pub(crate) type Mix<'a> =
    dyn FnMut(usize, Tensor<3>, &mut Option<&mut TrainingPass>) -> Tensor<3> + 'a;

/// Over whole texts. Weights have dropout of probability `p` in training.
pub(crate) fn over_texts(
    heads: Heads,
    p: f64,
) -> impl FnMut(usize, Tensor<3>, &mut Option<&mut TrainingPass>) -> Tensor<3> {
    move |_, qkv, training| causal_attention(qkv, heads, training, p)
}

/// Of new tokens, which stand as one text, to all that each follows. It fills their slots.
pub(crate) fn over_slots<'a>(
    heads: Heads,
    new: &'a NewTokens,
    pool: &'a mut KvPool,
) -> impl FnMut(usize, Tensor<3>, &mut Option<&mut TrainingPass>) -> Tensor<3> + 'a {
    move |block, qkv, _| {
        let [_, count, channels] = qkv.dims();
        let qkv = qkv.reshape([count, channels]);
        let mixed = slot_attention(qkv, new, block, heads, pool);
        mixed.reshape([1, count, heads.queries()])
    }
}
