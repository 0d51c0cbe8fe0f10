//! Attention of some tokens to keys and values that lie scattered.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::super::KvPool;
use super::{arch, exp};

/// Attention of new tokens to what they see. `qkv` is `[new, 3 D]`, query first; `seen` gives for each new token the places in `pool` of all
/// tokens up to and including itself. The result is `[new, D]`.
pub(crate) fn attention(
    qkv: &[f32],
    seen: &[&[u32]],
    pool: &KvPool,
    block: usize,
    heads: usize,
) -> Vec<f32> {
    let width = qkv.len() / seen.len() / 3;
    let mut mixed = vec![0.0; seen.len() * width];
    let tokens = mixed.par_chunks_mut(width).zip(qkv.par_chunks(3 * width));
    let each = tokens.zip(seen).with_min_len(4);
    each.for_each_init(Vec::new, |scores, ((mixed, qkv), seen)| {
        arch().dispatch(Attend {
            query: &qkv[..width],
            seen,
            pool,
            block,
            heads,
            scores,
            mixed,
        });
    });
    mixed
}

/// One token's attention; `scores` is room to work in.
struct Attend<'a> {
    query: &'a [f32],
    seen: &'a [u32],
    pool: &'a KvPool,
    block: usize,
    heads: usize,
    scores: &'a mut Vec<f32>,
    mixed: &'a mut [f32],
}

impl WithSimd for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self {
            query,
            seen,
            pool,
            block,
            heads,
            scores,
            mixed,
        } = self;
        let head_width = query.len() / heads;
        let scale = 1.0 / (head_width as f32).sqrt();
        let count = seen.len();
        scores.clear();
        scores.resize(heads * count, 0.0);
        for (column, &slot) in seen.iter().enumerate() {
            let key = pool.key(block, slot);
            let parts = query
                .chunks_exact(head_width)
                .zip(key.chunks_exact(head_width));
            for (head, (query, key)) in parts.enumerate() {
                scores[head * count + column] = scale * dot(query, key);
            }
        }
        for row in scores.chunks_exact_mut(count) {
            let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0;
            for score in &mut *row {
                *score = exp(*score - highest);
                sum += *score;
            }
            let scale = 1.0 / sum;
            for score in row {
                *score *= scale;
            }
        }
        for (column, &slot) in seen.iter().enumerate() {
            let value = pool.value(block, slot);
            let parts = mixed
                .chunks_exact_mut(head_width)
                .zip(value.chunks_exact(head_width));
            for (head, (mixed, value)) in parts.enumerate() {
                let weight = scores[head * count + column];
                for (sum, value) in mixed.iter_mut().zip(value) {
                    *sum += weight * value;
                }
            }
        }
    }
}

/// The inner product, summed in 16 lanes so that it is vectorised.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    let (a_chunks, b_chunks) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest = a_chunks.remainder().iter().zip(b_chunks.remainder());
    let rest: f32 = rest.map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..16 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
    }
    lanes[0] + rest
}
