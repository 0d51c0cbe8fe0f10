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
    /// How far a step moves a weight for each unit of its mean gradient, for the typical weight of each parameter, with the parameter's name:
    /// `learning_rate / (sqrt(m) + epsilon)`, where `m` is the mean of `square / (1 - beta_2^steps)` over the parameter. Empty before the
    /// first step. (The mean of the step sizes of all weights would be that of the few with the smallest gradients.)
    pub fn step_sizes(&self, learning_rate: f64) -> Vec<(String, f64)> {
        let correction = 1.0 - self.beta_2.powf(self.steps as f64);
        let names = self.square.names().filter_map(|name| {
            let squares = self.square.values(name)?;
            let sum: f64 = squares.iter().copied().map(f64::from).sum();
            let mean = sum / squares.len() as f64 / correction;
            Some((
                name.to_owned(),
                learning_rate / (mean.sqrt() + self.epsilon),
            ))
        });
        names.collect()
    }
}
