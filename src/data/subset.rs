//! A random subset of the documents to train on. All documents are read, but only the predictions of tokens in the subset's count in the loss.

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::random::{Purpose, stream};

/// `data.subset`. Blocks, their order, dropout and the number of steps stay what they are without it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subset {
    /// The seed of the draw. It is not the experiment's, so that several subsets can be drawn for one experiment.
    pub seed: u64,
    /// The share of the documents that count: above 0, at most 1.
    pub share: f64,
}

impl Subset {
    /// Which of `count` documents count: `share` of them, rounded to a whole number, and at least one.
    pub fn of(self, count: usize) -> Vec<bool> {
        let chosen = (self.share * count as f64).round() as usize;
        let mut order: Vec<usize> = (0..count).collect();
        order.shuffle(&mut stream(self.seed, Purpose::Subset, 0, 0));
        let mut counts = vec![false; count];
        for &document in order.iter().take(chosen.max(1)) {
            counts[document] = true;
        }
        counts
    }
}
