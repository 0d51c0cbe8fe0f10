//! What is made of the logits after hidden states. Where there are no kernels of our own, they stay on the device, and a few numbers a row are
//! read.

use burn::tensor::{FloatDType, Int, Tensor, TensorData};
use rayon::prelude::*;

use super::Network;
use super::kernels::greedy;
use super::layers::{on_flex, slice};
use super::loss::log_sum_exp;
use crate::device::has_kernels;
use crate::readback::{lists, values};

/// Rows of logits held at once.
const ROWS: usize = 128;

impl Network {
    /// The most probable token after each of the hidden states `[rows, D]`; of equal logits the lowest token, as PyTorch has it on the
    /// CPU. None where a logit is not finite.
    pub fn argmax(&self, hidden: Tensor<2>) -> Vec<Option<u32>> {
        let (table, said) = (self.head_table(), self.config().vocab_size);
        let (Some(_), Some(table)) = (on_flex(&hidden), on_flex(&table)) else {
            let found = self.choices(hidden, false).into_iter();
            return found.map(|one| Some(one?.0)).collect();
        };
        let of = |some: Tensor<2>| {
            let [_, width] = some.dims();
            let states = on_flex(&some);
            let states = states.as_ref().map_or(&[][..], slice);
            greedy(states, &slice(&table)[..said * width], width)
        };
        pieces(&hidden).flat_map(of).collect()
    }

    /// The same tokens, each with its probability.
    pub fn likeliest(&self, hidden: Tensor<2>) -> Vec<Option<(u32, f64)>> {
        if !has_kernels(&hidden.device()) {
            return self.choices(hidden, true);
        }
        let tokens = self.argmax(hidden.clone());
        self.map_logits(hidden, &|row, logits| {
            let token = tokens[row]?;
            Some((token, probability(logits, token)))
        })
    }

    /// The same on any device, in one read. The probability is 1 where it is not asked for.
    fn choices(&self, hidden: Tensor<2>, with_probability: bool) -> Vec<Option<(u32, f64)>> {
        if hidden.dims()[0] == 0 {
            return Vec::new();
        }
        let numbers = self.heads(hidden).map(|logits| {
            // Of what is not a number both are none; an infinity is one of them.
            let (highest, token) = logits.clone().max_dim_with_indices(1);
            let lowest = logits.clone().min_dim(1);
            // Exact, since no vocabulary has 2^24 tokens.
            let token = token.cast(FloatDType::F32);
            let mut numbers = vec![token, highest.clone(), lowest];
            if with_probability {
                numbers.push((logits - highest).exp().sum_dim(1));
            }
            Tensor::cat(numbers, 1)
        });
        let numbers = Tensor::cat(numbers.collect(), 0);
        let [_, width] = numbers.dims();
        let numbers = values(numbers);
        let found = numbers.chunks_exact(width).map(|row| {
            let is_finite = row[1].is_finite() && row[2].is_finite();
            // The highest logit's own exponential is 1.
            let probability = row.get(3).map_or(1.0, |&sum| 1.0 / f64::from(sum));
            is_finite.then_some((row[0] as u32, probability))
        });
        found.collect()
    }

    /// Logits after hidden states `[rows, D]`, as many rows as are held at once, `[some, vocab]`.
    pub(crate) fn heads(&self, hidden: Tensor<2>) -> impl Iterator<Item = Tensor<2>> {
        let pieces: Vec<Tensor<2>> = pieces(&hidden).collect();
        pieces.into_iter().map(|some| self.head(some))
    }

    /// Logits after hidden states `[rows, D]`, row by row: `[rows x vocab]`.
    pub fn logits_of(&self, hidden: Tensor<2>) -> Vec<f32> {
        values(self.head(hidden))
    }

    /// What `of` makes of the logits `[vocab]` after each of the hidden states `[rows, D]`, in their order; it is called from several threads.
    /// The logits of all rows are read at once where they are on another device.
    pub fn map_logits<T: Send>(
        &self,
        hidden: Tensor<2>,
        of: &(dyn Fn(usize, &[f32]) -> T + Sync),
    ) -> Vec<T> {
        let [rows, _] = hidden.dims();
        let at_once = if has_kernels(&hidden.device()) {
            ROWS
        } else {
            rows.max(1)
        };
        let mut found = Vec::with_capacity(rows);
        for first in (0..rows).step_by(at_once) {
            let some = hidden.clone().narrow(0, first, at_once.min(rows - first));
            let logits = self.logits_of(some);
            let each = logits.par_chunks_exact(self.config().vocab_size);
            found.par_extend(
                each.enumerate()
                    .map(|(row, logits)| of(first + row, logits)),
            );
        }
        found
    }

    /// For each of `wanted`, a row of the hidden states `[rows, D]` and a token: the logarithm of the sum of the row's exponentials, and the
    /// token's logit. Their difference is the logarithm of the token's probability, where the rows of the head that are padding count, as in the
    /// loss. Rows are in order.
    pub(crate) fn normalised(&self, hidden: Tensor<2>, wanted: &[(usize, u32)]) -> Vec<[f64; 2]> {
        if let Some(whole) = self.whole() {
            return whole.normalised(hidden, wanted);
        }
        let of_row = |row: usize| {
            let from = wanted.partition_point(|(other, _)| *other < row);
            let to = wanted.partition_point(|(other, _)| *other <= row);
            wanted[from..to].iter().map(|(_, token)| *token as usize)
        };
        if has_kernels(&hidden.device()) {
            let found = self.map_logits(hidden, &|row, logits| {
                let normaliser = log_sum_exp(logits);
                let each = of_row(row).map(|token| [normaliser, f64::from(logits[token])]);
                each.collect::<Vec<_>>()
            });
            return found.into_iter().flatten().collect();
        }
        self.normalised_elsewhere(hidden, wanted)
    }

    /// The same on any device, in one read.
    fn normalised_elsewhere(&self, hidden: Tensor<2>, wanted: &[(usize, u32)]) -> Vec<[f64; 2]> {
        let (device, vocab) = (hidden.device(), self.config().vocab_size);
        // Each logit's place among those of its piece.
        let place = |&(row, token): &(usize, u32)| (row % ROWS * vocab + token as usize) as i32;
        let places: Vec<i32> = wanted.iter().map(place).collect();
        let places: Tensor<1, Int> =
            Tensor::from_data(TensorData::new(places, [wanted.len()]), &device);
        let (mut highest, mut sums, mut logits) = (Vec::new(), Vec::new(), Vec::new());
        for (piece, all) in self.heads(hidden).enumerate() {
            let [count, _] = all.dims();
            let top = all.clone().max_dim(1);
            let sum = (all.clone() - top.clone()).exp().sum_dim(1);
            highest.push(top.reshape([count]));
            sums.push(sum.reshape([count]));
            let [from, to] = [piece, piece + 1]
                .map(|piece| wanted.partition_point(|(row, _)| *row < piece * ROWS));
            if from < to {
                let places = places.clone().narrow(0, from, to - from);
                logits.push(all.reshape([count * vocab]).select(0, places));
            }
        }
        let [highest, sums, logits] = &lists(vec![highest, sums, logits])[..] else {
            return Vec::new();
        };
        let each = wanted.iter().zip(logits);
        let each = each.map(|(&(row, _), &logit)| {
            let normaliser = f64::from(highest[row]) + f64::from(sums[row]).ln();
            [normaliser, f64::from(logit)]
        });
        each.collect()
    }
}

/// Rows that belong together, as many as are held at once.
fn pieces(hidden: &Tensor<2>) -> impl Iterator<Item = Tensor<2>> {
    let [rows, _] = hidden.dims();
    let firsts = (0..rows).step_by(ROWS);
    firsts.map(move |first| hidden.clone().narrow(0, first, ROWS.min(rows - first)))
}

/// The softmax probability of a token, given the logits `[vocab]`.
fn probability(logits: &[f32], token: u32) -> f64 {
    let own = f64::from(logits[token as usize]);
    let sum: f64 = logits
        .iter()
        .map(|&logit| (f64::from(logit) - own).exp())
        .sum();
    1.0 / sum
}
