//! The head and the cross-entropy of its logits in one, in pieces of rows: the logits of all rows are never there at once, and the gradients are
//! made on the way (as in Liger-Kernel, Hsu et al. 2024, arXiv 2410.10989).

use std::sync::{Mutex, MutexGuard, PoisonError};

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::matrix::{Matrix, Store, multiply_on_all_cores, product_on_all_cores};
use super::reduce::{highest, sum};
use super::{arch, exp, measured};

/// Logits that are there at once, at most: 128 MB of them.
const LOGITS: usize = 32 << 20;

/// What a pass over the head gives.
pub(crate) struct Losses {
    /// The sum over all rows of the cross-entropy, in nats.
    pub sum: f64,
    /// Its gradients by the hidden states `[rows, width]` and by the table `[vocab, width]`, where they are wanted.
    pub gradients: [Option<Vec<f32>>; 2],
}

/// Room for logits, kept from call to call: memory that is new costs as much as the pass over it.
static ROOM: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());

fn room() -> MutexGuard<'static, Vec<Vec<f32>>> {
    ROOM.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The tokens that were to be said.
#[derive(Clone, Copy)]
pub(crate) struct Targets<'a> {
    /// One token for each row.
    pub tokens: &'a [u32],
    /// What each row's cross-entropy is multiplied by; without them 1.
    pub weights: Option<&'a [f32]>,
}

impl<'a> Targets<'a> {
    /// Those of each `rows` rows.
    fn chunks(self, rows: usize) -> impl Iterator<Item = Self> {
        let tokens = self.tokens.chunks(rows).enumerate();
        tokens.map(move |(piece, tokens)| Targets {
            tokens,
            weights: self
                .weights
                .map(|weights| &weights[piece * rows..][..tokens.len()]),
        })
    }

    fn weight(self, row: usize) -> f32 {
        self.weights.map_or(1.0, |weights| weights[row])
    }
}

/// The cross-entropy between each row of `hidden` `[rows, width]`, through the head `table` `[vocab, width]`, and its target.
pub(crate) fn cross_entropy(
    hidden: &[f32],
    table: &[f32],
    width: usize,
    targets: Targets,
    gradients: [bool; 2],
) -> Losses {
    let rows = LOGITS * width / table.len();
    in_pieces(rows.max(1), hidden, table, width, targets, gradients)
}

/// The same, so many rows at a time.
fn in_pieces(
    rows: usize,
    hidden: &[f32],
    table: &[f32],
    width: usize,
    targets: Targets,
    gradients: [bool; 2],
) -> Losses {
    let (vocab, rows) = (table.len() / width, rows.min(targets.tokens.len()).max(1));
    let mut logits = room().pop().unwrap_or_default();
    logits.resize(rows * vocab, 0.0);
    let mut sum = 0.0;
    let [of_states, of_table] = gradients;
    let mut d_hidden = of_states.then(|| vec![0.0; hidden.len()]);
    let mut d_table = of_table.then(Vec::new);
    let head = Matrix::new(table, width);
    let pieces = hidden.chunks(rows * width).zip(targets.chunks(rows));
    for (piece, (hidden, targets)) in pieces.enumerate() {
        let logits = &mut logits[..targets.tokens.len() * vocab];
        let states = Matrix::new(hidden, width);
        multiply_on_all_cores("head", logits, Store::Replace, states, head.transposed());
        sum += losses(logits, targets, of_states || of_table);
        let slopes = Matrix::new(logits, vocab);
        if let Some(d_hidden) = &mut d_hidden {
            let d_hidden = &mut d_hidden[piece * rows * width..][..hidden.len()];
            multiply_on_all_cores("head, of states", d_hidden, Store::Replace, slopes, head);
        }
        if let Some(d_table) = &mut d_table {
            let slopes = slopes.transposed();
            if piece == 0 {
                *d_table = product_on_all_cores("head, of table", slopes, states);
            } else {
                multiply_on_all_cores("head, of table", d_table, Store::Add, slopes, states);
            }
        }
    }
    room().push(logits);
    Losses {
        sum,
        gradients: [d_hidden, d_table],
    }
}

/// The weighted sum of the cross-entropies of rows of logits, `[rows, vocab]`, which become its gradients where these are wanted.
fn losses(logits: &mut [f32], targets: Targets, gradient: bool) -> f64 {
    let vocab = logits.len() / targets.tokens.len();
    measured("cross-entropy", 4 * logits.len(), 0, || {
        let each = logits.par_chunks_mut(vocab).zip(targets.tokens).enumerate();
        let losses = each.map(|(row, (logits, &target))| {
            arch().dispatch(Loss {
                logits,
                target: target as usize,
                weight: targets.weight(row),
                gradient,
            })
        });
        losses.collect::<Vec<f64>>().into_iter().sum()
    })
}

/// The cross-entropy of a row of logits times its weight. The logits become its gradient by them where that is wanted.
struct Loss<'a> {
    logits: &'a mut [f32],
    target: usize,
    weight: f32,
    gradient: bool,
}

impl WithSimd for Loss<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let Self {
            logits,
            target,
            weight,
            gradient,
        } = self;
        let wanted = logits[target];
        let highest = highest(logits);
        for logit in logits.iter_mut() {
            *logit = exp(*logit - highest);
        }
        let sum = sum(logits, |value| value);
        if gradient {
            let share = weight / sum;
            for logit in logits.iter_mut() {
                *logit *= share;
            }
            logits[target] -= weight;
        }
        f64::from(weight) * (f64::from(highest - wanted) + f64::from(sum).ln())
    }
}

#[cfg(test)]
mod tests {
    use super::{Targets, in_pieces};

    fn value(index: usize) -> f32 {
        ((index * 7919 + 13) % 101) as f32 / 50.0 - 1.0
    }

    /// However many rows a piece has, and with one column more than a product makes at once.
    #[test]
    fn pieces_add_up_to_the_whole() {
        let (count, width, vocab) = (7, 3, 4097);
        let hidden: Vec<f32> = (0..count * width).map(value).collect();
        let table: Vec<f32> = (0..vocab * width).map(|index| value(index + 5)).collect();
        let tokens: Vec<u32> = (0..count as u32).map(|row| row * 682).collect();
        let targets = Targets {
            tokens: &tokens,
            weights: None,
        };
        let of = |rows: usize| in_pieces(rows, &hidden, &table, width, targets, [true; 2]);
        let whole = of(count);
        for wanted in [[false, false], [true, false], [false, true]] {
            let some = in_pieces(3, &hidden, &table, width, targets, wanted);
            assert!((some.sum - whole.sum).abs() < 1e-6);
            for (index, found) in some.gradients.iter().enumerate() {
                let expected = wanted[index]
                    .then(|| of(3).gradients[index].clone())
                    .flatten();
                assert_eq!(found, &expected, "{wanted:?}");
            }
        }
        for rows in [1, 2, 3, 6] {
            let pieces = of(rows);
            assert!((pieces.sum - whole.sum).abs() < 1e-6 * whole.sum);
            let both = pieces
                .gradients
                .iter()
                .flatten()
                .zip(whole.gradients.iter().flatten());
            // Sums in another order: of as many terms as there are tokens, whose sizes add up to at most 2, and of seven terms of at most 1.
            let bounds = [2.0 * vocab as f32, 7.0 * 7.0];
            for ((found, expected), bound) in both.zip(bounds) {
                assert_eq!(found.len(), expected.len());
                let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
                assert!(apart.fold(0.0, f32::max) < bound * 2f32.powi(-24), "{rows}");
            }
        }
        // The slow way: the loss of the last row in double precision.
        let state = &hidden[(count - 1) * width..];
        let logits = table.chunks(width).map(|row| {
            let terms = row.iter().zip(state);
            terms
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum::<f64>()
        });
        let logits: Vec<f64> = logits.collect();
        let expected = logits.iter().map(|one| one.exp()).sum::<f64>().ln() - logits[6 * 682];
        let last = Targets {
            tokens: &tokens[count - 1..],
            weights: None,
        };
        let last = in_pieces(1, state, &table, width, last, [false; 2]);
        assert!((last.sum - expected).abs() < 1e-5);
    }

    /// Rows with weights are the sum of rows alone, each times its weight, whatever the size of a piece.
    #[test]
    fn weights_weigh_rows() {
        let (count, width, vocab) = (5, 3, 40);
        let hidden: Vec<f32> = (0..count * width).map(value).collect();
        let table: Vec<f32> = (0..vocab * width).map(|index| value(index + 5)).collect();
        let tokens: Vec<u32> = (0..count as u32).map(|row| row * 7).collect();
        let weights = [0.5, 1.0, 2.0, 0.25, 3.0];
        let mut expected = (0.0, vec![0.0; hidden.len()], vec![0.0; table.len()]);
        for row in 0..count {
            let alone = Targets {
                tokens: &tokens[row..=row],
                weights: None,
            };
            let state = &hidden[row * width..][..width];
            let alone = in_pieces(1, state, &table, width, alone, [true; 2]);
            let [d_state, d_table] = alone.gradients.map(Option::unwrap);
            expected.0 += alone.sum * f64::from(weights[row]);
            for (sum, slope) in expected.1[row * width..].iter_mut().zip(d_state) {
                *sum = slope * weights[row];
            }
            for (sum, slope) in expected.2.iter_mut().zip(d_table) {
                *sum += slope * weights[row];
            }
        }
        for rows in 1..=count {
            let targets = Targets {
                tokens: &tokens,
                weights: Some(&weights),
            };
            let found = in_pieces(rows, &hidden, &table, width, targets, [true; 2]);
            assert!((found.sum - expected.0).abs() < 1e-5);
            let [d_hidden, d_table] = found.gradients.map(Option::unwrap);
            for (found, expected) in [(d_hidden, &expected.1), (d_table, &expected.2)] {
                let mut both = found.iter().zip(expected);
                assert!(both.all(|(a, b)| (a - b).abs() < 1e-5), "{rows}");
            }
        }
    }
}
