//! Rotary positions (Su et al. 2021, arXiv 2104.09864): pairs of channels of queries and keys are turned by angles that grow with the position.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};

use super::operation::{FlexTensor, Inputs, Operation, shape_with_width, slice, tensor};
use crate::model::kernels::{self, Angles, Heads};

/// How far each pair of channels turns from one position to the next.
#[derive(Debug, Clone)]
pub(crate) struct Rotary {
    /// In radians, a number for each pair of channels.
    steps: Vec<f32>,
}

/// The cosines and sines of the angles of some positions. They are made on the host, so that they are the same on every device.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
    /// `[time, pairs]`
    cosines: Arc<[f32]>,
    /// `[time, pairs]`
    sines: Arc<[f32]>,
    pairs: usize,
}

impl Rotary {
    /// Of these angles in radians.
    pub fn new(steps: Vec<f32>) -> Self {
        Self { steps }
    }

    /// The turns at `positions`.
    pub fn turns(&self, positions: impl Iterator<Item = usize>) -> Turns {
        let angles = positions.flat_map(|position| {
            let steps = self.steps.iter();
            steps.map(move |step| position as f32 * step)
        });
        let angles: Vec<f32> = angles.collect();
        let of = |of: fn(f32) -> f32| angles.iter().map(|angle| of(*angle)).collect();
        Turns {
            cosines: of(f32::cos),
            sines: of(f32::sin),
            pairs: self.steps.len(),
        }
    }
}

impl Turns {
    fn angles(&self) -> Angles<'_> {
        Angles {
            cosines: &self.cosines,
            sines: &self.sines,
            pairs: self.pairs,
        }
    }

    /// Turns heads `x` `[batch, time, heads, width]`, of burn's operations. Channel i of the first half of those that are turned makes a pair with
    /// channel i of their second half, as in GPT-NeoX. Channels after twice the pairs stay.
    pub(super) fn turn(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, time, _, width] = x.dims();
        let pairs = self.pairs;
        let [cosines, sines] = [&self.cosines, &self.sines].map(|values| -> Tensor<4> {
            let values = TensorData::new(values.to_vec(), [1, time, 1, pairs]);
            Tensor::from_data(values, &x.device())
        });
        let part = |first: usize, count: usize| x.clone().narrow(3, first, count);
        let (one, other) = (part(0, pairs), part(pairs, pairs));
        let turned = |a: Tensor<4>, b: Tensor<4>| a * cosines.clone() + b * sines.clone();
        let mut parts = vec![turned(one.clone(), other.clone().neg()), turned(other, one)];
        if 2 * pairs < width {
            parts.push(part(2 * pairs, width - 2 * pairs));
        }
        Tensor::cat(parts, 3)
    }
}

/// Queries, keys and values `[batch, time, heads x width]` side by side, the first two turned where there are `turns`: `[batch, time, channels]`.
pub(crate) fn side_by_side(
    parts: [Tensor<3>; 3],
    heads: Heads,
    turns: Option<&Turns>,
) -> Tensor<3> {
    let mut inputs = Inputs::default();
    for part in &parts {
        inputs = inputs.with(part.clone());
    }
    let own = inputs.apply(SideBySide {
        heads,
        turns: turns.cloned(),
    });
    own.unwrap_or_else(|| composed(parts, heads, turns))
}

/// The same of burn's operations.
pub(super) fn composed(parts: [Tensor<3>; 3], heads: Heads, turns: Option<&Turns>) -> Tensor<3> {
    let [query, keys, values] = parts;
    let turned = |part: Tensor<3>| match turns {
        Some(turns) => {
            let [batch, time, channels] = part.dims();
            let cut = [batch, time, channels / heads.width, heads.width];
            turns
                .turn(part.reshape(cut))
                .reshape([batch, time, channels])
        }
        None => part,
    };
    Tensor::cat(vec![turned(query), turned(keys), values], 2)
}

/// By kernels.
#[derive(Debug, Clone)]
struct SideBySide {
    heads: Heads,
    turns: Option<Turns>,
}

impl Operation<3> for SideBySide {
    type Saved = ();

    fn forward(
        &self,
        parts: [&FlexTensor; 3],
        wanted: [bool; 3],
    ) -> (FlexTensor, Option<Self::Saved>) {
        let angles = self.turns.as_ref().map(Turns::angles);
        let out = kernels::side_by_side(parts.map(slice), self.heads, angles);
        let shape = shape_with_width(parts[0], self.heads.channels());
        (tensor(out, shape), wanted.contains(&true).then_some(()))
    }

    fn backward(&self, (): (), gradient: FlexTensor, _: [bool; 3]) -> [Option<FlexTensor>; 3] {
        let angles = self.turns.as_ref().map(Turns::angles);
        let [query, keys, values] =
            kernels::side_by_side_backward(slice(&gradient), self.heads, angles);
        let part = |values, width| Some(tensor(values, shape_with_width(&gradient, width)));
        [
            part(query, self.heads.queries()),
            part(keys, self.heads.keys()),
            part(values, self.heads.keys()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{backward, gradient, near, numbers, tensor, value, widened};
    use super::{Heads, Rotary, composed, side_by_side};

    /// The angles of so many pairs.
    fn rotary(pairs: usize) -> Rotary {
        Rotary::new((0..pairs).map(|pair| 0.9 / (1.0 + pair as f32)).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_heads_are_burns(batch in 1usize..4, time in 1usize..40, kv_heads in 1usize..4, group in 1usize..4, half in 1usize..6, pairs in 1usize..6, turned: bool) {
            let heads = Heads { heads: kv_heads * group, kv_heads, width: 2 * half };
            let turns = rotary(pairs.min(half)).turns(3..3 + time);
            let turns = turned.then_some(&turns);
            let make = |seed, width| tensor(value(seed, batch * time * width), [batch, time, width]);
            let parts = || [make(1, heads.queries()), make(2, heads.keys()), make(3, heads.keys())];
            let (own, its) = (parts(), parts());
            let found = side_by_side(own.clone(), heads, turns);
            let expected = composed(its.clone(), heads, turns);
            let (g, its_g) = (backward(&found), backward(&expected));
            near(&numbers(found), &widened(&numbers(expected)), "side by side");
            for (own, its) in own.iter().zip(&its) {
                near(&gradient(own, &g), &widened(&gradient(its, &its_g)), "gradient");
            }
        }
    }

    /// A pair of channels (a, b) at position p turns as the number a + bi times e^(ip step). Channels behind the pairs stay.
    #[test]
    fn pairs_turn_as_complex_numbers() {
        let (time, heads) = (4, Heads::own(2, 6));
        let steps = [0.7f32, 0.2];
        let turns = Rotary::new(steps.to_vec()).turns(5..5 + time);
        let parts = [1, 2, 3].map(|seed| tensor(value(seed, time * 12), [1, time, 12]));
        let found = numbers(side_by_side(parts, heads, Some(&turns)));
        for (token, found) in found.chunks(36).enumerate() {
            for (seed, found) in (1..).zip(found.chunks(12)) {
                let values = value(seed, time * 12);
                let heads = values[12 * token..][..12].chunks(6);
                let expected = heads.flat_map(|head| {
                    let mut head = widened(head);
                    for (pair, step) in steps.iter().enumerate().filter(|_| seed < 3) {
                        let (sine, cosine) = ((5 + token) as f64 * f64::from(*step)).sin_cos();
                        let (a, b) = (head[pair], head[pair + 2]);
                        (head[pair], head[pair + 2]) =
                            (a * cosine - b * sine, a * sine + b * cosine);
                    }
                    head
                });
                near(found, &expected.collect::<Vec<f64>>(), "turned");
            }
        }
    }
}
