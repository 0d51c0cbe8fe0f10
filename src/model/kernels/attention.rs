//! Attention of some tokens to keys and values that lie scattered.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::super::kv_pages::KvPages;
use super::{Heads, arch, exp, measured};

/// Products of a query's and a key's values that make a task worth its while.
const TASK: usize = 1 << 18;

/// Attention of new tokens to what they see. `qkv` is `[new, channels]`; `seen` gives for each new token the slots in `pages` of all tokens up to
/// and including itself. The result is `[new, heads x width]`.
pub(crate) fn attention(
    qkv: &[f32],
    seen: &[&[u32]],
    pages: &KvPages,
    block: usize,
    heads: Heads,
) -> Vec<f32> {
    let width = heads.queries();
    let keys: usize = seen.iter().map(|seen| seen.len()).sum();
    measured(
        "attention to slots",
        2 * keys * width,
        4 * keys * width,
        || {
            let mut mixed = vec![0.0; seen.len() * width];
            let tokens = mixed
                .par_chunks_mut(width)
                .zip(qkv.par_chunks(heads.channels()));
            let longest = seen.iter().map(|seen| seen.len()).max().unwrap_or(1);
            let each = tokens
                .zip(seen)
                .with_min_len((TASK / (width * longest)).max(1));
            each.for_each_init(Vec::new, |scores, ((mixed, qkv), seen)| {
                arch().dispatch(Attend {
                    query: &qkv[..width],
                    seen,
                    pages,
                    block,
                    heads,
                    scores,
                    mixed,
                });
            });
            mixed
        },
    )
}

/// One token's attention; `scores` is room to work in.
struct Attend<'a> {
    query: &'a [f32],
    seen: &'a [u32],
    pages: &'a KvPages,
    block: usize,
    heads: Heads,
    scores: &'a mut Vec<f32>,
    mixed: &'a mut [f32],
}

impl WithSimd for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            query,
            seen,
            pages,
            block,
            heads,
            scores,
            mixed,
        } = self;
        let (head_width, group) = (heads.width, heads.group());
        let (scale, count) = (heads.scale(), seen.len());
        scores.clear();
        scores.resize(heads.heads * count, 0.0);
        for (column, &slot) in seen.iter().enumerate() {
            let keys = pages.key(block, slot).chunks_exact(head_width);
            for (kv_head, key) in keys.enumerate() {
                for head in kv_head * group..(kv_head + 1) * group {
                    let query = &query[head * head_width..][..head_width];
                    scores[head * count + column] = scale * dot(simd, query, key);
                }
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
            let values = pages.value(block, slot).chunks_exact(head_width);
            for (kv_head, value) in values.enumerate() {
                for head in kv_head * group..(kv_head + 1) * group {
                    let mixed = &mut mixed[head * head_width..][..head_width];
                    let weight = scores[head * count + column];
                    add_scaled(simd, weight, value, mixed);
                }
            }
        }
    }
}

/// The inner product.
#[inline(always)]
fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = S::as_simd_f32s(a);
    let (b, b_rest) = S::as_simd_f32s(b);
    let mut sums = simd.splat_f32s(0.0);
    for (a, b) in a.iter().zip(b) {
        sums = simd.mul_add_f32s(*a, *b, sums);
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    simd.reduce_sum_f32s(sums) + rest
}

/// `sums += weight * values`.
#[inline(always)]
fn add_scaled<S: Simd>(simd: S, weight: f32, values: &[f32], sums: &mut [f32]) {
    let (values, values_rest) = S::as_simd_f32s(values);
    let (sums, sums_rest) = S::as_mut_simd_f32s(sums);
    let weights = simd.splat_f32s(weight);
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum = simd.mul_add_f32s(weights, *value, *sum);
    }
    for (sum, value) in sums_rest.iter_mut().zip(values_rest) {
        *sum += weight * value;
    }
}
