//! Causal self-attention over whole texts, with its backward pass. Weights of attention are made a block of rows at a time and never kept: the
//! backward pass makes them again from the logarithm of each row's normaliser (Dao et al. 2022, arXiv 2205.14135), and dropout from its key.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::matrix::{Matrix, Store, multiply};
use super::reduce::{highest, sum, sum_of};
use super::{Heads, Mask, arch, exp, measured};

/// Queries whose weights are made at once.
const QUERIES: usize = 64;

/// How the rows of `qkv` of texts are cut.
#[derive(Debug, Clone, Copy)]
struct Texts {
    heads: Heads,
    /// Tokens of a text.
    time: usize,
}

impl Texts {
    /// The rows from `first` to `last` of a text's head, whose channels begin at `channel`.
    fn rows<'a>(self, qkv: &'a [f32], channel: usize, first: usize, last: usize) -> Matrix<'a> {
        let (width, stride) = (self.heads.width, self.heads.channels());
        Matrix::with_stride(
            &qkv[first * stride + channel..],
            last - first,
            width,
            stride,
        )
    }

    fn query<'a>(self, qkv: &'a [f32], head: usize, first: usize, last: usize) -> Matrix<'a> {
        self.rows(qkv, head * self.heads.width, first, last)
    }

    fn keys<'a>(self, qkv: &'a [f32], kv_head: usize, last: usize) -> Matrix<'a> {
        let Heads { heads, width, .. } = self.heads;
        self.rows(qkv, (heads + kv_head) * width, 0, last)
    }

    fn values<'a>(self, qkv: &'a [f32], kv_head: usize, last: usize) -> Matrix<'a> {
        let Heads {
            heads,
            kv_heads,
            width,
        } = self.heads;
        self.rows(qkv, (heads + kv_heads + kv_head) * width, 0, last)
    }
}

/// The mixed values `[batch * time, heads * width]` of `qkv` `[batch * time, channels]`, and the logarithm of each row's normaliser,
/// `[batch, heads, time]`.
pub(crate) fn causal_attention(
    qkv: &[f32],
    heads: Heads,
    time: usize,
    dropout: Option<Mask>,
) -> (Vec<f32>, Vec<f32>) {
    measured(
        "attention",
        qkv.len() * 4 / 3,
        2 * qkv.len() / 3 * time,
        || {
            let (width, texts) = (heads.width, Texts { heads, time });
            let batch = qkv.len() / (time * heads.channels());
            let mut mixed = vec![0.0; batch * heads.heads * time * width];
            let mut normalisers = vec![0.0; batch * heads.heads * time];
            let tasks = mixed
                .par_chunks_mut(time * width)
                .zip(normalisers.par_chunks_mut(time));
            tasks
                .enumerate()
                .for_each_init(Vec::new, |weights, (task, (mixed, normalisers))| {
                    let (text, head) = (task / heads.heads, task % heads.heads);
                    let qkv = &qkv[text * time * heads.channels()..][..time * heads.channels()];
                    let mask = dropout.map(|mask| mask.part(task as u32));
                    for first in (0..time).step_by(QUERIES) {
                        let last = (first + QUERIES).min(time);
                        weights.resize((last - first) * last, 0.0);
                        let keys = texts.keys(qkv, head / heads.group(), last).transposed();
                        let query = texts.query(qkv, head, first, last);
                        multiply(weights, Store::Replace, heads.scale(), query, keys);
                        arch().dispatch(Softmax {
                            weights,
                            first,
                            normalisers: &mut normalisers[first..last],
                            mask,
                        });
                        let values = texts.values(qkv, head / heads.group(), last);
                        let mixed = &mut mixed[first * width..last * width];
                        multiply(
                            mixed,
                            Store::Replace,
                            1.0,
                            Matrix::new(weights, last),
                            values,
                        );
                    }
                });
            let mut out = vec![0.0; mixed.len()];
            let texts = out
                .par_chunks_mut(time * heads.heads * width)
                .zip(mixed.par_chunks(time * heads.heads * width));
            texts.for_each(|(out, mixed)| {
                for (head, mixed) in mixed.chunks_exact(time * width).enumerate() {
                    scatter(mixed, out, head * width, width, heads.heads * width);
                }
            });
            (out, normalisers)
        },
    )
}

/// The mask of all weights of attention, `[batch * heads, time, time]`, as the kernels draw it.
pub(crate) fn attention_mask(mask: Mask, batch_heads: usize, time: usize) -> Vec<f32> {
    let mut factors = vec![1.0; batch_heads * time * time];
    let rows = factors.par_chunks_mut(time).enumerate();
    rows.for_each(|(index, row)| {
        let (head, query) = (index / time, index % time);
        mask.part(head as u32).part(query as u32).multiply(row);
    });
    factors
}

/// Puts rows of `width` values at `place` of each row of `out`, which has `stride` values.
fn scatter(rows: &[f32], out: &mut [f32], place: usize, width: usize, stride: usize) {
    for (row, out) in rows.chunks_exact(width).zip(out.chunks_exact_mut(stride)) {
        out[place..place + width].copy_from_slice(row);
    }
}

/// The gradient of `qkv`, given that of the mixed values `[batch * time, heads * width]`.
pub(crate) fn causal_attention_backward(
    qkv: &[f32],
    normalisers: &[f32],
    gradient: &[f32],
    heads: Heads,
    time: usize,
    dropout: Option<Mask>,
) -> Vec<f32> {
    measured(
        "attention, back",
        qkv.len() * 7 / 3,
        5 * qkv.len() / 3 * time,
        || {
            let width = heads.width;
            let batch = qkv.len() / (time * heads.channels());
            // A task has a head of keys and values, and the heads of queries that share it: queries, then keys, then values.
            let each = (heads.group() + 2) * time * width;
            let mut found = vec![0.0; batch * heads.kv_heads * each];
            let tasks = found.par_chunks_mut(each).enumerate();
            tasks.for_each_init(<[Vec<f32>; 2]>::default, |room, (task, found)| {
                let (text, kv_head) = (task / heads.kv_heads, task % heads.kv_heads);
                let backward = Backward {
                    qkv: &qkv[text * time * heads.channels()..][..time * heads.channels()],
                    gradient: &gradient[text * time * heads.heads * width..],
                    normalisers: &normalisers[text * heads.heads * time..],
                    texts: Texts { heads, time },
                    kv_head,
                };
                let (queries, kv) = found.split_at_mut(heads.group() * time * width);
                for (index, d_query) in queries.chunks_exact_mut(time * width).enumerate() {
                    let head = kv_head * heads.group() + index;
                    let mask = dropout.map(|mask| mask.part((text * heads.heads + head) as u32));
                    backward.head(head, mask, d_query, kv, room);
                }
            });
            let mut out = vec![0.0; qkv.len()];
            let texts = out
                .par_chunks_mut(time * heads.channels())
                .zip(found.par_chunks(heads.kv_heads * each));
            texts.for_each(|(out, found)| {
                for (kv_head, found) in found.chunks_exact(each).enumerate() {
                    for (index, part) in found.chunks_exact(time * width).enumerate() {
                        let group = heads.group();
                        let head = match index.checked_sub(group) {
                            None => kv_head * group + index,
                            Some(0) => heads.heads + kv_head,
                            Some(_) => heads.heads + heads.kv_heads + kv_head,
                        };
                        scatter(part, out, head * width, width, heads.channels());
                    }
                }
            });
            out
        },
    )
}

/// The backward pass of a text's head of keys and values.
struct Backward<'a> {
    /// Of the text.
    qkv: &'a [f32],
    /// From the text on.
    gradient: &'a [f32],
    /// From the text on.
    normalisers: &'a [f32],
    texts: Texts,
    kv_head: usize,
}

impl Backward<'_> {
    /// Puts the gradient of a head of queries into `d_query` `[time, width]`, and adds those of keys and values to `kv` `[2, time, width]`.
    fn head(
        &self,
        head: usize,
        mask: Option<Mask>,
        d_query: &mut [f32],
        kv: &mut [f32],
        room: &mut [Vec<f32>; 2],
    ) {
        let Self {
            qkv,
            texts,
            kv_head,
            ..
        } = *self;
        let Texts { heads, time } = texts;
        let width = heads.width;
        let (d_keys, d_values) = kv.split_at_mut(time * width);
        let [weights, slopes] = room;
        for first in (0..time).step_by(QUERIES) {
            let last = (first + QUERIES).min(time);
            let (rows, stride) = (last - first, heads.heads * width);
            weights.resize(rows * last, 0.0);
            slopes.resize(rows * last, 0.0);
            let (query, keys) = (
                texts.query(qkv, head, first, last),
                texts.keys(qkv, kv_head, last),
            );
            let values = texts.values(qkv, kv_head, last);
            let gradient = &self.gradient[first * stride + head * width..];
            let gradient = Matrix::with_stride(gradient, rows, width, stride);
            multiply(
                weights,
                Store::Replace,
                heads.scale(),
                query,
                keys.transposed(),
            );
            multiply(slopes, Store::Replace, 1.0, gradient, values.transposed());
            let normalisers = &self.normalisers[head * time + first..head * time + last];
            arch().dispatch(Slopes {
                weights,
                slopes,
                first,
                normalisers,
                mask,
            });
            // `weights` now has them behind dropout, `slopes` the gradient of the scores.
            let (weights, slopes) = (Matrix::new(weights, last), Matrix::new(slopes, last));
            let d_values = &mut d_values[..last * width];
            multiply(d_values, Store::Add, 1.0, weights.transposed(), gradient);
            let d_query = &mut d_query[first * width..last * width];
            multiply(d_query, Store::Replace, heads.scale(), slopes, keys);
            let d_keys = &mut d_keys[..last * width];
            multiply(
                d_keys,
                Store::Add,
                heads.scale(),
                slopes.transposed(),
                query,
            );
        }
    }
}

/// Makes weights of scores `[rows, columns]`, row by row: row i sees the columns up to `first` + i.
struct Softmax<'a> {
    weights: &'a mut [f32],
    first: usize,
    normalisers: &'a mut [f32],
    mask: Option<Mask>,
}

impl WithSimd for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let columns = self.weights.len() / self.normalisers.len();
        let rows = self.weights.chunks_exact_mut(columns).zip(self.normalisers);
        for (row, (weights, normaliser)) in (self.first..).zip(rows) {
            let (seen, hidden) = weights.split_at_mut(row + 1);
            let highest = highest(seen);
            for value in seen.iter_mut() {
                *value = exp(*value - highest);
            }
            let sum = sum(seen, |value| value);
            *normaliser = highest + sum.ln();
            let share = 1.0 / sum;
            for value in seen.iter_mut() {
                *value *= share;
            }
            if let Some(mask) = self.mask {
                mask.part(row as u32).multiply(seen);
            }
            hidden.fill(0.0);
        }
    }
}

/// Makes of scores, `weights`, the weights behind dropout, and of the gradient of these, `slopes`, that of the scores. Both are `[rows, columns]`.
struct Slopes<'a> {
    weights: &'a mut [f32],
    slopes: &'a mut [f32],
    first: usize,
    normalisers: &'a [f32],
    mask: Option<Mask>,
}

impl WithSimd for Slopes<'_> {
    type Output = ();

    /// With weights w, their mask m and the gradient g behind it: the scores' gradient is w (g m - sum of w g m).
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let columns = self.weights.len() / self.normalisers.len();
        let rows = self.weights.chunks_exact_mut(columns);
        let rows = rows
            .zip(self.slopes.chunks_exact_mut(columns))
            .zip(self.normalisers);
        for (row, ((weights, slopes), normaliser)) in (self.first..).zip(rows) {
            let (seen, hidden) = weights.split_at_mut(row + 1);
            let (slopes, hidden_slopes) = slopes.split_at_mut(row + 1);
            for value in seen.iter_mut() {
                *value = exp(*value - normaliser);
            }
            let mask = self.mask.map(|mask| mask.part(row as u32));
            if let Some(mask) = mask {
                mask.multiply(slopes);
            }
            let mean = sum_of(seen.len(), |index| seen[index] * slopes[index]);
            for (slope, weight) in slopes.iter_mut().zip(seen.iter()) {
                *slope = weight * (*slope - mean);
            }
            if let Some(mask) = mask {
                mask.multiply(seen);
            }
            hidden.fill(0.0);
            hidden_slopes.fill(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Heads, causal_attention, causal_attention_backward};

    fn value(index: usize) -> f32 {
        ((index * 7919 + 13) % 101) as f32 / 50.0 - 1.0
    }

    /// Heads of queries that share keys and values give what they give with keys and values of their own that are the same; the shared ones'
    /// gradient is the sum of those.
    #[test]
    fn shared_keys_and_values_are_repeated_ones() {
        let (batch, time, width) = (2, 70, 3);
        for (heads, kv_heads) in [(2, 1), (4, 2), (6, 2)] {
            let group = heads / kv_heads;
            let shared = Heads {
                heads,
                kv_heads,
                width,
            };
            let repeated = Heads {
                kv_heads: heads,
                ..shared
            };
            let [few, many] = [shared.channels(), repeated.channels()];
            let qkv: Vec<f32> = (0..batch * time * few).map(value).collect();
            // Which channel of the few stands at each of the many.
            let place = |channel: usize| match (channel / width).checked_sub(heads) {
                None => channel,
                Some(kv) => {
                    let (part, head) = (kv / heads, kv % heads);
                    (heads + part * kv_heads + head / group) * width + channel % width
                }
            };
            let rows = qkv
                .chunks(few)
                .flat_map(|row| (0..many).map(|channel| row[place(channel)]));
            let wide: Vec<f32> = rows.collect();
            let (mixed, normalisers) = causal_attention(&qkv, shared, time, None);
            assert_eq!(mixed, causal_attention(&wide, repeated, time, None).0);
            let gradient: Vec<f32> = (0..mixed.len()).map(|index| value(index + 3)).collect();
            let found =
                causal_attention_backward(&qkv, &normalisers, &gradient, shared, time, None);
            let own =
                causal_attention_backward(&wide, &normalisers, &gradient, repeated, time, None);
            let mut expected = vec![0.0; found.len()];
            for (sum, row) in expected.chunks_mut(few).zip(own.chunks(many)) {
                for (channel, value) in row.iter().enumerate() {
                    sum[place(channel)] += value;
                }
            }
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-5 * expected.abs().max(1.0));
            }
        }
    }
}
