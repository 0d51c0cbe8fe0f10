//! How far a loss lies above those before it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Losses that are needed before one can be told from them.
pub const LEAST: usize = 8;

/// The last losses of a model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LastLosses(VecDeque<f64>);

impl LastLosses {
    /// How many standard deviations (of a sample) `loss` lies above the mean of the last `window` losses before it, which it then joins.
    /// Infinite above losses that are all equal. None where there are fewer than [`LEAST`].
    pub fn deviations(&mut self, loss: f64, window: usize) -> Option<f64> {
        let found = (self.0.len() >= LEAST).then(|| deviations(loss, self.0.make_contiguous()));
        self.0.push_back(loss);
        if self.0.len() > window {
            self.0.pop_front();
        }
        found
    }
}

fn deviations(loss: f64, before: &[f64]) -> f64 {
    let count = before.len() as f64;
    let mean = before.iter().sum::<f64>() / count;
    let squares = before.iter().map(|one| (one - mean) * (one - mean));
    let deviation = (squares.sum::<f64>() / (count - 1.0)).sqrt();
    let above = loss - mean;
    if above == 0.0 { 0.0 } else { above / deviation }
}
