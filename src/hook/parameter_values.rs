//! One number for each weight of a model: the weights themselves, the update of a step, the moments of an optimiser.

use burn::tensor::Tensor;

use crate::model::{Network, flattened_parameters, square_sums};
use crate::readback;

/// A value for each weight of a model, by the parameter's name in the checkpoint, in the order of the network. Nothing is computed or copied
/// before it is asked for.
#[derive(Debug, Clone, Default)]
pub struct ParameterValues {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
struct Part {
    name: String,
    value: Tensor<1>,
    /// What is taken from `value`.
    less: Option<Tensor<1>>,
}

impl ParameterValues {
    /// The weights of a model.
    pub fn of(model: &Network) -> Self {
        Self::named(flattened_parameters(model))
    }

    /// Flattened tensors with the names of their parameters, on a device without autodiff.
    pub(crate) fn named(tensors: Vec<(String, Tensor<1>)>) -> Self {
        let parts = tensors.into_iter().map(|(name, value)| Part {
            name,
            value,
            less: None,
        });
        Self {
            parts: parts.collect(),
        }
    }

    /// What was added to each weight between two states of a model: `after - before`.
    pub fn difference(after: &Network, before: &Network) -> Self {
        let both = flattened_parameters(after).into_iter();
        let both = both.zip(flattened_parameters(before));
        let parts = both.map(|((name, value), (_, less))| Part {
            name,
            value,
            less: Some(less),
        });
        Self {
            parts: parts.collect(),
        }
    }

    /// The names of the parameters.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|part| part.name.as_str())
    }

    /// The values of one parameter, flattened row by row. None when the model has no such parameter.
    pub fn values(&self, name: &str) -> Option<Vec<f32>> {
        let part = self.parts.iter().find(|part| part.name == name)?;
        Some(readback::values(part.tensor()))
    }

    /// The L2 norm of each parameter's values, with the parameter's name.
    pub fn norms(&self) -> Vec<(String, f64)> {
        let names = self.parts.iter().map(|part| part.name.clone());
        names
            .zip(self.square_sums().into_iter().map(f64::sqrt))
            .collect()
    }

    /// The L2 norm of all values together.
    pub fn global_norm(&self) -> f64 {
        self.square_sums().iter().sum::<f64>().sqrt()
    }

    fn square_sums(&self) -> Vec<f64> {
        square_sums(self.parts.iter().map(Part::tensor))
    }
}

impl Part {
    fn tensor(&self) -> Tensor<1> {
        match &self.less {
            Some(less) => self.value.clone() - less.clone(),
            None => self.value.clone(),
        }
    }
}
