//! Queries, keys and values side by side, the first two turned by their positions (Su et al. 2021, arXiv 2104.09864), with its backward pass.

use rayon::prelude::*;

use super::{Heads, measured};

/// The angles by which the heads of each token of a text are turned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Angles<'a> {
    /// `[time, pairs]`
    pub cosines: &'a [f32],
    /// `[time, pairs]`
    pub sines: &'a [f32],
    /// Pairs of channels of a head that are turned.
    pub pairs: usize,
}

impl Angles<'_> {
    /// The cosines and sines of the token that stands at `row` of texts one after the other.
    fn of(&self, row: usize) -> [&[f32]; 2] {
        let time = self.cosines.len() / self.pairs;
        let from = row % time * self.pairs;
        [self.cosines, self.sines].map(|all| &all[from..from + self.pairs])
    }
}

/// `[rows, channels]` of queries `[rows, heads x width]`, keys and values `[rows, kv_heads x width]` of texts one after the other.
pub(crate) fn side_by_side(
    [query, keys, values]: [&[f32]; 3],
    heads: Heads,
    angles: Option<Angles>,
) -> Vec<f32> {
    let rows = query.len() / heads.queries();
    measured("side by side", 2 * rows * heads.channels(), 0, || {
        let mut out = vec![0.0; rows * heads.channels()];
        let each = out.par_chunks_exact_mut(heads.channels()).enumerate();
        each.with_min_len(16).for_each(|(row, out)| {
            let (queries, rest) = out.split_at_mut(heads.queries());
            let (own_keys, own_values) = rest.split_at_mut(heads.keys());
            let of_row = |width: usize| row * width..(row + 1) * width;
            queries.copy_from_slice(&query[of_row(heads.queries())]);
            own_keys.copy_from_slice(&keys[of_row(heads.keys())]);
            own_values.copy_from_slice(&values[of_row(heads.keys())]);
            if let Some(angles) = angles {
                let [cosines, sines] = angles.of(row);
                let turned = &mut out[..heads.queries() + heads.keys()];
                for head in turned.chunks_exact_mut(heads.width) {
                    turn(head, cosines, sines, 1.0);
                }
            }
        });
        out
    })
}

/// The gradients of queries, keys and values, given that of what [`side_by_side`] makes of them.
pub(crate) fn side_by_side_backward(
    gradient: &[f32],
    heads: Heads,
    angles: Option<Angles>,
) -> [Vec<f32>; 3] {
    let rows = gradient.len() / heads.channels();
    measured("side by side, back", 2 * gradient.len(), 0, || {
        let widths = [heads.queries(), heads.keys(), heads.keys()];
        let mut found = widths.map(|width| vec![0.0; rows * width]);
        let [query, keys, values] = &mut found;
        let out = (query.par_chunks_exact_mut(widths[0]))
            .zip(keys.par_chunks_exact_mut(widths[1]))
            .zip(values.par_chunks_exact_mut(widths[2]));
        let each = out.zip(gradient.par_chunks_exact(heads.channels()));
        let each = each.enumerate().with_min_len(16);
        each.for_each(|(row, (((query, keys), values), gradient))| {
            let (of_query, rest) = gradient.split_at(widths[0]);
            let (of_keys, of_values) = rest.split_at(widths[1]);
            query.copy_from_slice(of_query);
            keys.copy_from_slice(of_keys);
            values.copy_from_slice(of_values);
            if let Some(angles) = angles {
                let [cosines, sines] = angles.of(row);
                for part in [query, keys] {
                    for head in part.chunks_exact_mut(heads.width) {
                        turn(head, cosines, sines, -1.0);
                    }
                }
            }
        });
        found
    })
}

/// Turns a head by its angles, or with `direction` -1 back.
fn turn(head: &mut [f32], cosines: &[f32], sines: &[f32], direction: f32) {
    let pairs = cosines.len();
    let (one, other) = head[..2 * pairs].split_at_mut(pairs);
    let angles = cosines.iter().zip(sines);
    for ((one, other), (cosine, sine)) in one.iter_mut().zip(other).zip(angles) {
        let sine = direction * sine;
        (*one, *other) = (*one * cosine - *other * sine, *other * cosine + *one * sine);
    }
}
