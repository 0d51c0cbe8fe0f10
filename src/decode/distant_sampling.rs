//! Sampling where the logits are, by the rules of `sampling.rs` in single precision. Uniform numbers go there, tokens and probabilities come back;
//! no distribution does.

use std::collections::BTreeMap;

use burn::tensor::{FloatDType, Int, Tensor, TensorData};

use super::Sampling;
use super::row::{Choice, Place, Row};
use crate::model::Network;
use crate::readback::values;

/// Halvings by which the nucleus is found: what is left between its bounds is less than a probability's rounding.
const HALVINGS: usize = 32;

/// The distributions that the tokens of current drafts were drawn from, by the turn that drew them: `[rows, vocab]` each.
#[derive(Default)]
pub(super) struct DrawnFrom {
    turns: BTreeMap<usize, Tensor<2>>,
    next: usize,
}

impl DrawnFrom {
    /// Draws the token after each of the hidden states `[rows, D]`, each by its uniform number, and keeps what it was drawn from. None where a
    /// logit is not finite.
    pub fn draw(
        &mut self,
        model: &Network,
        sampling: &Sampling,
        hidden: Tensor<2>,
        uniforms: &[f64],
    ) -> Option<Vec<Choice>> {
        let uniforms = column(uniforms, &hidden);
        let ([highest, lowest], q) = processed(model, sampling, hidden);
        let token = drawn(q.clone(), uniforms);
        let probability = q.clone().gather(1, token.clone());
        let turn = self.next;
        self.next += 1;
        self.turns.insert(turn, q);
        let read = rows([token.cast(FloatDType::F32), probability, highest, lowest])?;
        let drawn = read.into_iter().enumerate();
        let choices = drawn.map(|(row, [token, probability])| Choice::Drawn {
            token: token as u32,
            probability: f64::from(probability),
            from: (turn, row),
        });
        Some(choices.collect())
    }

    /// What the main model makes of each place, given the hidden states before them `[places, D]`. None where a logit is not finite.
    pub fn weigh(
        &self,
        model: &Network,
        sampling: &Sampling,
        hidden: Tensor<2>,
        places: &[Place],
    ) -> Option<Vec<Choice>> {
        let device = hidden.device();
        let uniforms: Vec<f64> = places.iter().map(|place| place.uniform).collect();
        let uniforms = column(&uniforms, &hidden);
        // The rows of all turns one after the other, and one of zeros for places without a draft.
        let (mut firsts, mut count) = (BTreeMap::new(), 0);
        for (turn, rows) in &self.turns {
            firsts.insert(*turn, count);
            count += rows.dims()[0];
        }
        let numbers = |of: &dyn Fn(&Place) -> usize| -> Tensor<1, Int> {
            let numbers: Vec<i32> = places.iter().map(|place| of(place) as i32).collect();
            Tensor::from_data(TensorData::new(numbers, [places.len()]), &device)
        };
        let from = numbers(&|place| {
            let first = place.drafted.map(|(_, (turn, row))| firsts[&turn] + row);
            first.unwrap_or(count)
        });
        let token = numbers(&|place| place.drafted.map_or(0, |(token, _)| token as usize));
        let zeros = Tensor::zeros([1, model.config().vocab_size], &device);
        let all = self.turns.values().cloned().chain([zeros]);
        let q = Tensor::cat(all.collect(), 0).select(0, from);
        let ([highest, lowest], p) = processed(model, sampling, hidden);
        let probability = p.clone().gather(1, token.reshape([places.len(), 1]));
        // Where nothing was drafted, q is 0, and the token is drawn from p.
        let otherwise = drawn((p - q).clamp_min(0.0), uniforms);
        let read = rows([
            probability,
            otherwise.cast(FloatDType::F32),
            highest,
            lowest,
        ])?;
        let weighed = read.into_iter();
        let choices = weighed.map(|[probability, otherwise]| Choice::Weighed {
            probability: f64::from(probability),
            otherwise: otherwise as u32,
        });
        Some(choices.collect())
    }

    /// Forgets the distributions that no row needs any more.
    pub fn forget(&mut self, rows: &[Row]) {
        self.turns
            .retain(|turn, _| rows.iter().any(|row| row.drew_in(*turn)));
    }
}

/// Numbers as `[rows, 1]`, below 1 in single precision too.
fn column(uniforms: &[f64], hidden: &Tensor<2>) -> Tensor<2> {
    let below_one = |one: &f64| (*one as f32).min(1.0 - f32::EPSILON);
    let uniforms: Vec<f32> = uniforms.iter().map(below_one).collect();
    let shape = [uniforms.len(), 1];
    Tensor::from_data(TensorData::new(uniforms, shape), &hidden.device())
}

/// Reads the first two of four columns `[rows, 1]`. None where the last two, a row's highest and lowest logit, are not finite.
fn rows(columns: [Tensor<2>; 4]) -> Option<Vec<[f32; 2]>> {
    let read = values(Tensor::cat(columns.into(), 1));
    let rows = read.as_chunks::<4>().0.iter();
    rows.map(|&[first, second, highest, lowest]| {
        (highest.is_finite() && lowest.is_finite()).then_some([first, second])
    })
    .collect()
}

/// Each row's highest and lowest logit `[rows, 1]`, and the processed distributions `[rows, vocab]`.
fn processed(
    model: &Network,
    sampling: &Sampling,
    hidden: Tensor<2>,
) -> ([Tensor<2>; 2], Tensor<2>) {
    let mut all = [Vec::new(), Vec::new(), Vec::new()];
    for logits in model.heads(hidden) {
        let highest = logits.clone().max_dim(1);
        let lowest = logits.clone().min_dim(1);
        let distribution = distribution(sampling, logits, highest.clone());
        for (all, one) in all.iter_mut().zip([highest, lowest, distribution]) {
            all.push(one);
        }
    }
    let [highest, lowest, distribution] = all.map(|all| Tensor::cat(all, 0));
    ([highest, lowest], distribution)
}

/// [`Sampling::distribution`] of each row of `logits` `[rows, vocab]`.
fn distribution(sampling: &Sampling, logits: Tensor<2>, highest: Tensor<2>) -> Tensor<2> {
    let [_, vocab] = logits.dims();
    let mut weights = ((logits.clone() - highest) / sampling.temperature).exp();
    if sampling.top_k > 0 && sampling.top_k < vocab {
        let floor = logits.clone().topk(sampling.top_k, 1).min_dim(1);
        weights = weights.mask_fill(logits.lower(floor), 0.0);
    }
    let distribution = normalised(weights);
    if sampling.top_p < 1.0 {
        return normalised(nucleus(distribution, sampling.top_p));
    }
    distribution
}

fn normalised(weights: Tensor<2>) -> Tensor<2> {
    weights.clone() / weights.sum_dim(1)
}

/// The smallest set of most probable tokens that together have at least the probability `top_p`; the others are 0. Its least probability is found
/// by halving, since not every device can sort.
fn nucleus(p: Tensor<2>, top_p: f64) -> Tensor<2> {
    let above = |bound: &Tensor<2>| {
        let low = p.clone().lower_equal(bound.clone());
        p.clone().mask_fill(low, 0.0).sum_dim(1)
    };
    // What is above `high` is too little, and what is above `low` is enough.
    let mut high = p.clone().max_dim(1);
    let mut low = high.zeros_like();
    for _ in 0..HALVINGS {
        let middle = (low.clone() + high.clone()) * 0.5;
        let too_little = above(&middle).lower_elem(top_p);
        high = high.mask_where(too_little.clone(), middle.clone());
        low = middle.mask_where(too_little, low);
    }
    // Of equally probable tokens between the two the first are kept, as long as those before them are too little.
    let is_above = p.clone().greater(high.clone());
    let last = p.clone().mask_fill(is_above.clone(), 0.0);
    let last = last.mask_fill(p.clone().lower_equal(low), 0.0);
    let before = last.clone().cumsum(1) - last.clone() + above(&high);
    let last = last.mask_fill(before.greater_equal_elem(top_p), 0.0);
    last.mask_where(is_above, p)
}

/// The token at which the sum of each row's weights `[rows, vocab]` passes its uniform number's share of their total: `[rows, 1]`.
fn drawn(weights: Tensor<2>, uniforms: Tensor<2>) -> Tensor<2, Int> {
    let is_nothing = weights.clone().lower_equal_elem(0.0);
    // A token without weight is never drawn, whatever rounding makes of the sums.
    let sums = weights.cumsum(1).mask_fill(is_nothing, -1.0);
    let total = sums.clone().max_dim(1);
    let passed = sums.greater(total * uniforms).float();
    // Of all that have passed it the first.
    passed.max_dim_with_indices(1).1
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use rand::Rng;

    use super::*;
    use crate::device::of_tests;
    use crate::random::{Purpose, stream};

    fn tensor(values: &[f32], rows: usize, device: &Device) -> Tensor<2> {
        let shape = [rows, values.len() / rows];
        Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
    }

    fn settings() -> Vec<Sampling> {
        let mut all = Vec::new();
        for temperature in [0.5, 1.0, 3.0] {
            for top_k in [0, 1, 40, 1000] {
                for top_p in [0.05, 0.5, 0.9, 1.0] {
                    all.push(Sampling {
                        temperature,
                        top_k,
                        top_p,
                    });
                }
            }
        }
        all
    }

    /// Against the distributions and draws in double precision, of rows with equal logits among them.
    #[test]
    fn distributions_and_draws_are_those_of_the_host() {
        let (rows, vocab) = (6, 307);
        let mut rng = stream(1, Purpose::Decoding, 0, 0);
        let logits: Vec<f32> = (0..rows * vocab)
            .map(|at| match at / vocab {
                // Many of a few values, and all of one.
                4 => (at % 7) as f32,
                5 => 1.0,
                row => (rng.random::<f32>() - 0.5) * 4.0 * (row + 1) as f32,
            })
            .collect();
        let settings = || (0..).zip(settings());
        let all = of_tests()
            .into_iter()
            .flat_map(|device| settings().map(move |one| (device.clone(), one)));
        for (device, (draws, sampling)) in all {
            let all = tensor(&logits, rows, &device);
            let found = distribution(&sampling, all.clone(), all.max_dim(1));
            let expected: Vec<_> = logits
                .chunks(vocab)
                .map(|logits| sampling.distribution(logits).unwrap())
                .collect();
            let read = values(found.clone());
            for (place, found) in read.iter().enumerate() {
                let expected = expected[place / vocab].probability((place % vocab) as u32);
                assert!(
                    (f64::from(*found) - expected).abs() <= 2e-6 * expected.max(0.01),
                    "{sampling:?}, row {}, token {}: {found} is not {expected}",
                    place / vocab,
                    place % vocab
                );
            }
            let mut rngs: Vec<_> = (0..rows as u64)
                .map(|row| stream(row, Purpose::Decoding, draws, 0))
                .collect();
            let uniforms: Vec<f64> = rngs.iter().map(|rng| rng.clone().random()).collect();
            let own = drawn(found.clone(), column(&uniforms, &found));
            let own = values(own.cast(FloatDType::F32));
            for ((own, expected), rng) in own.iter().zip(&expected).zip(&mut rngs) {
                assert_eq!(*own as u32, expected.draw(rng), "{sampling:?}");
            }
        }
    }

    #[test]
    fn a_token_without_weight_is_never_drawn() {
        for device in of_tests() {
            let weights = tensor(&[0.0, 1.0, 0.0, 2.0, 0.0], 1, &device);
            for (uniform, token) in [(0.0, 1.0), (0.3, 1.0), (0.34, 3.0), (0.9999999999, 3.0)] {
                let found = drawn(weights.clone(), column(&[uniform], &weights));
                assert_eq!(values(found.cast(FloatDType::F32)), [token], "{uniform}");
            }
        }
    }
}
