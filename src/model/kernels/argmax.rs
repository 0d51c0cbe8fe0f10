//! The most probable token of each row, as the logits come.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::matrix::{Matrix, Store, multiply};
use super::{arch, measured};

/// Tokens whose logits a task makes and looks through while they are in the core's cache.
const TOKENS: usize = 512;

/// The most probable token after each of the hidden states `[rows, width]` through the head `table` `[vocab, width]`; of equal logits the lowest
/// token. None where a logit is not finite.
pub(crate) fn greedy(hidden: &[f32], table: &[f32], width: usize) -> Vec<Option<u32>> {
    let rows = hidden.len() / width;
    let states = Matrix::new(hidden, width).transposed();
    measured("greedy head", table.len(), 2 * rows * table.len(), || {
        let tasks = table.par_chunks(TOKENS * width).enumerate();
        let parts: Vec<RunningArgmax> = tasks
            .map_init(Vec::new, |logits: &mut Vec<f32>, (task, table)| {
                logits.resize(table.len() / width * rows, 0.0);
                multiply(
                    logits,
                    Store::Replace,
                    1.0,
                    Matrix::new(table, width),
                    states,
                );
                let mut running = RunningArgmax::new(rows);
                running.take(logits, (task * TOKENS) as u32);
                running
            })
            .collect();
        let mut whole = RunningArgmax::new(rows);
        for part in &parts {
            whole.merge(part);
        }
        whole.finish().collect()
    })
}

/// The highest value of each column so far, and where it stands.
struct RunningArgmax {
    highest: Vec<f32>,
    index: Vec<u32>,
    /// 0, or NaN once a value was not finite.
    poison: Vec<f32>,
}

impl RunningArgmax {
    fn new(columns: usize) -> Self {
        Self {
            highest: vec![f32::NEG_INFINITY; columns],
            index: vec![0; columns],
            poison: vec![0.0; columns],
        }
    }

    /// Takes more rows, `values` `[rows, columns]`, the first of which has number `first`. Of equal values the first counts.
    fn take(&mut self, values: &[f32], first: u32) {
        arch().dispatch(Take {
            state: self,
            values,
            first,
        });
    }

    /// Takes what later rows gave.
    fn merge(&mut self, later: &Self) {
        for column in 0..self.highest.len() {
            if later.highest[column] > self.highest[column] {
                self.highest[column] = later.highest[column];
                self.index[column] = later.index[column];
            }
            self.poison[column] += later.poison[column];
        }
    }

    /// The indices; None for a column in which a value was not finite.
    fn finish(self) -> impl Iterator<Item = Option<u32>> {
        let columns = self.index.into_iter().zip(self.poison);
        columns.map(|(index, poison)| (poison == 0.0).then_some(index))
    }
}

struct Take<'a> {
    state: &'a mut RunningArgmax,
    values: &'a [f32],
    first: u32,
}

impl WithSimd for Take<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let state = self.state;
        let rows = self.values.chunks_exact(state.highest.len());
        for (row, values) in (self.first..).zip(rows) {
            let columns = state.highest.iter_mut().zip(&mut state.index);
            let columns = columns.zip(&mut state.poison);
            for (((highest, index), poison), &value) in columns.zip(values) {
                let better = value > *highest;
                *highest = if better { value } else { *highest };
                *index = if better { row } else { *index };
                *poison += value * 0.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{RunningArgmax, TOKENS, greedy};

    /// Against a plain search, with the highest logit twice, in two tasks, and with rows that are not finite.
    #[test]
    fn the_greedy_token_is_that_of_a_plain_search() {
        let (rows, width, vocab) = (5, 7, 2 * TOKENS + 3);
        let value = |index: usize| ((index * 7919 + 13) % 101) as f32 / 50.0 - 1.0;
        let mut hidden: Vec<f32> = (0..rows * width).map(value).collect();
        let mut table: Vec<f32> = (0..vocab * width).map(|index| value(index + 5)).collect();
        let plain = |state: &[f32], table: &[f32]| {
            let logits = table.chunks(width).map(|row| {
                let terms = row.iter().zip(state);
                terms
                    .map(|(a, b)| f64::from(*a) * f64::from(*b))
                    .sum::<f64>()
            });
            let logits: Vec<f64> = logits.collect();
            let highest = logits
                .iter()
                .fold(f64::NEG_INFINITY, |high: f64, one| high.max(*one));
            logits
                .iter()
                .position(|one| *one == highest)
                .map(|index| index as u32)
        };
        // The best of the first state stands again in each of the later tasks.
        let best = plain(&hidden[..width], &table[..TOKENS * width]).unwrap() as usize;
        for state in 0..width {
            table[best * width + state] *= 3.0;
        }
        let copy = table[best * width..][..width].to_vec();
        for place in [TOKENS + 1, vocab - 1] {
            table[place * width..][..width].copy_from_slice(&copy);
        }
        let expected: Vec<Option<u32>> = hidden
            .chunks(width)
            .map(|state| plain(state, &table))
            .collect();
        assert_eq!(expected[0], Some(best as u32));
        assert_eq!(greedy(&hidden, &table, width), expected);
        hidden[width] = f32::NAN;
        let found = greedy(&hidden, &table, width);
        assert_eq!(
            (found[0], found[1], found[2]),
            (expected[0], None, expected[2])
        );
    }

    #[test]
    fn the_argmax_is_the_first_of_the_highest_and_refuses_what_is_not_finite() {
        let mut running = RunningArgmax::new(3);
        running.take(&[1.0, 5.0, 0.0, 2.0, 5.0, f32::NAN], 0);
        running.take(&[2.0, 4.0, 1.0], 2);
        let found: Vec<_> = running.finish().collect();
        assert_eq!(found, [Some(1), Some(0), None]);
    }
}
