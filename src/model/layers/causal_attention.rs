//! Causal self-attention over whole texts.

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};

use super::operation::{FlexTensor, Inputs, Operation, shape, shape_with_width, slice, tensor};
use super::{Precision, TrainingPass, causal_mask, device_mask};
use crate::device::is_host;
use crate::model::kernels::{self, Heads, Mask};

/// Causal self-attention of `qkv` `[batch, time, channels]`, queries first, then keys, then values: `[batch, time, heads x width]`. Its weights
/// have dropout of probability `p` where the pass is a training pass.
pub(crate) fn causal_attention(
    qkv: Tensor<3>,
    heads: Heads,
    training: &mut Option<&mut TrainingPass>,
    p: f64,
) -> Tensor<3> {
    let precision = Precision::of(training);
    let mask = training.as_mut().and_then(|pass| pass.mask(p));
    match precision {
        Precision::F32 => attend(qkv, heads, mask),
        Precision::Bf16 | Precision::F16 => composed(qkv, heads, mask, precision),
    }
}

/// The same in single precision, with a mask of the weights that is given.
pub(super) fn attend(qkv: Tensor<3>, heads: Heads, mask: Option<Mask>) -> Tensor<3> {
    let [_, time, _] = qkv.dims();
    let inputs = Inputs::default().with(qkv.clone());
    let mixed = inputs.apply(Attend { heads, time, mask });
    mixed.unwrap_or_else(|| composed(qkv, heads, mask, Precision::F32))
}

/// The weights by which attention over `qkv` mixes values, without dropout: `[batch, heads, time, time]`. They are made of burn's operations on
/// every device, since the kernels keep none.
pub(crate) fn attention_weights(qkv: Tensor<3>, heads: Heads) -> Tensor<4> {
    weights(&qkv, heads, Precision::F32)
}

/// Some heads of `qkv`, from a channel on: `[batch, count, time, width]`.
fn part(qkv: &Tensor<3>, channel: usize, count: usize, width: usize) -> Tensor<4> {
    let [batch, time, _] = qkv.dims();
    let part = (qkv.clone()).narrow(2, channel, count * width);
    part.reshape([batch, time, count, width]).swap_dims(1, 2)
}

/// Keys or values, from a channel on, each as often as heads of queries share it: `[batch, heads, time, width]`.
fn shared(qkv: &Tensor<3>, channel: usize, heads: Heads) -> Tensor<4> {
    let part = part(qkv, channel, heads.kv_heads, heads.width);
    if heads.group() == 1 {
        return part;
    }
    let [batch, _, time, width] = part.dims();
    let repeated = part.unsqueeze_dim::<5>(2).repeat_dim(2, heads.group());
    repeated.reshape([batch, heads.heads, time, width])
}

fn weights(qkv: &Tensor<3>, heads: Heads, precision: Precision) -> Tensor<4> {
    let query = part(qkv, 0, heads.heads, heads.width) * (1.0 / (heads.width as f64).sqrt());
    let keys = shared(qkv, heads.queries(), heads);
    let mut scores = precision.product(query, keys.swap_dims(2, 3));
    if let Some(hidden) = causal_mask(qkv.dims()[1], &qkv.device()) {
        scores = scores.mask_fill(hidden, f32::MIN);
    }
    softmax(scores, 3)
}

/// The same as [`attend`] of burn's operations.
pub(super) fn composed(
    qkv: Tensor<3>,
    heads: Heads,
    mask: Option<Mask>,
    precision: Precision,
) -> Tensor<3> {
    let [batch, time, _] = qkv.dims();
    let mut weights = weights(&qkv, heads, precision);
    if let Some(mask) = mask {
        weights = weights * factors(mask, [batch, heads.heads, time], &qkv.device());
    }
    let values = shared(&qkv, heads.queries() + heads.keys(), heads);
    let mixed = precision.product(weights, values).swap_dims(1, 2);
    mixed.reshape([batch, time, heads.queries()])
}

/// The factors of a mask of weights, `[batch, heads, time, time]`.
fn factors(mask: Mask, [batch, heads, time]: [usize; 3], device: &Device) -> Tensor<4> {
    if !is_host(device) {
        return device_mask::of_attention(mask, [batch, heads, time], device);
    }
    let factors = kernels::attention_mask(mask, batch * heads, time);
    Tensor::from_data(TensorData::new(factors, [batch, heads, time, time]), device)
}

#[derive(Debug, Clone)]
struct Attend {
    heads: Heads,
    time: usize,
    mask: Option<Mask>,
}

impl Operation<1> for Attend {
    /// The input, and the logarithm of each row's normaliser.
    type Saved = (FlexTensor, Vec<f32>);

    fn forward(
        &self,
        [qkv]: [&FlexTensor; 1],
        [wanted]: [bool; 1],
    ) -> (FlexTensor, Option<Self::Saved>) {
        let (mixed, normalisers) =
            kernels::causal_attention(slice(qkv), self.heads, self.time, self.mask);
        let shape = shape_with_width(qkv, self.heads.queries());
        let saved = wanted.then(|| (qkv.clone(), normalisers));
        (tensor(mixed, shape), saved)
    }

    fn backward(
        &self,
        (qkv, normalisers): Self::Saved,
        gradient: FlexTensor,
        _: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let found = kernels::causal_attention_backward(
            slice(&qkv),
            &normalisers,
            slice(&gradient),
            self.heads,
            self.time,
            self.mask,
        );
        [Some(tensor(found, shape(&qkv)))]
    }
}
