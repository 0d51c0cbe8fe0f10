//! The state of a model's optimiser, for hooks.

use super::ParameterValues;

/// AdamW of one model as it stands, read-only.
#[derive(Debug, Clone)]
pub struct Optimiser {
    /// The steps that it has taken.
    pub steps: u64,
    /// The running mean of the gradients, as it is kept: not yet divided by `1 - beta_1^steps`. Empty before the first step.
    pub mean: ParameterValues,
    /// The running mean of their squares, not yet divided by `1 - beta_2^steps`. Empty before the first step.
    pub square: ParameterValues,
    pub(crate) beta_2: f64,
    pub(crate) epsilon: f64,
}

impl Optimiser {
    /// How far a step moves a weight for each unit of the mean gradient, averaged over each parameter: the mean of
    /// `learning_rate / (sqrt(square / (1 - beta_2^steps)) + epsilon)`, with the parameter's name. Empty before the first step.
    pub fn step_sizes(&self, learning_rate: f64) -> Vec<(String, f64)> {
        let correction = 1.0 - self.beta_2.powf(self.steps as f64);
        let names = self.square.names().filter_map(|name| {
            let squares = self.square.values(name)?;
            let sizes = squares.iter().map(|square| {
                let root = (f64::from(*square) / correction).sqrt();
                learning_rate / (root + self.epsilon)
            });
            Some((name.to_owned(), sizes.sum::<f64>() / squares.len() as f64))
        });
        names.collect()
    }
}
