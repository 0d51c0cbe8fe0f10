//! The state of a model's optimiser, for hooks.

use std::collections::BTreeMap;

use super::ParameterValues;

/// AdamW of one model as it stands, read-only.
#[derive(Debug, Clone)]
pub struct Optimiser {
    /// The steps that it has taken.
    pub steps: u64,
    /// The steps of each parameter that has taken fewer, because it was frozen.
    pub(crate) steps_of: BTreeMap<String, u64>,
    /// The running mean of the gradients, as it is kept: not yet divided by `1 - beta_1^steps`. Empty before the first step.
    pub mean: ParameterValues,
    /// The running mean of their squares, not yet divided by `1 - beta_2^steps`. Empty before the first step.
    pub square: ParameterValues,
    pub(crate) beta_2: f64,
    pub(crate) epsilon: f64,
}

impl Optimiser {
    /// The steps in which a parameter was moved: fewer than `steps` where it was frozen.
    pub fn steps_of(&self, parameter: &str) -> u64 {
        self.steps_of.get(parameter).copied().unwrap_or(self.steps)
    }

    /// How far a step moves a weight for each unit of its mean gradient, for the typical weight of each parameter, with the parameter's name:
    /// `learning_rate / (sqrt(m) + epsilon)`, where `m` is the mean of `square / (1 - beta_2^steps)` over the parameter, and `steps` is that of
    /// [`Optimiser::steps_of`]. Empty before the first step. (The mean of the step sizes of all weights would be that of the few with the smallest gradients.)
    pub fn step_sizes(&self, learning_rate: f64) -> Vec<(String, f64)> {
        let names = self.square.names().filter_map(|name| {
            let squares = self.square.values(name)?;
            let correction = 1.0 - self.beta_2.powf(self.steps_of(name) as f64);
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
