//! The order in which blocks are trained on.

use rand::seq::SliceRandom;

use crate::random::{Purpose, stream};

/// A permutation of `0..len` that is a function of (seed, epoch) alone, so that a resumed run finds its place by counting.
/// A Fisher-Yates shuffle by the stream (seed, data order, epoch).
pub fn epoch_order(seed: u64, epoch: u64, len: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    order.shuffle(&mut stream(seed, Purpose::DataOrder, epoch, 0));
    order
}
