//! The order in which blocks are trained on.

use rand::seq::SliceRandom;

use crate::random::{Purpose, stream};

/// Returns a permutation of `0..len` that depends on (seed, epoch) alone, so that a resumed run finds its place by counting. It is a
/// Fisher-Yates shuffle with the stream (seed, data order, epoch).
pub fn epoch_order(seed: u64, epoch: u64, len: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    order.shuffle(&mut stream(seed, Purpose::DataOrder, epoch, 0));
    order
}

/// The micro-batches of the step at a place of an epoch, counted in steps from 0: up to `accumulation` of them, each of up to `batch` blocks.
pub fn micro_batches(
    order: &[usize],
    batch: usize,
    accumulation: usize,
    place: usize,
) -> impl Iterator<Item = &[usize]> {
    let all = order.chunks(batch);
    all.skip(place * accumulation).take(accumulation)
}
