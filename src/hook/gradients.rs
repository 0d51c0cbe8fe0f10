//! Live gradients for inline hooks, by the parameter's name in the checkpoint.

use burn::backend::Flex;
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use crate::model::Network;

/// The gradients of one model at one step, read-only.
pub struct Gradients<'a> {
    model: &'a Network,
    values: Option<&'a GradientsParams>,
    factor: f64,
}

impl<'a> Gradients<'a> {
    /// Wraps the gradients of `model`'s parameters: `values` times `factor`, or none.
    pub fn new(model: &'a Network, values: Option<&'a GradientsParams>, factor: f64) -> Self {
        Self {
            model,
            values,
            factor,
        }
    }

    /// The L2 norm of each parameter's gradient, with the parameter's name, in the order of the network.
    pub fn norms(&self) -> Vec<(String, f64)> {
        let Some(values) = self.values else {
            return Vec::new();
        };
        let mut norms = Norms {
            values,
            factor: self.factor,
            path: Vec::new(),
            found: Vec::new(),
        };
        self.model.visit(&mut norms);
        norms.found
    }

    /// The gradient of the parameter with this name, flattened row by row. None when there is no such parameter or it has no gradient.
    pub fn values(&self, name: &str) -> Option<Vec<f32>> {
        let mut wanted = Wanted {
            name,
            values: self.values?,
            path: Vec::new(),
            found: None,
        };
        self.model.visit(&mut wanted);
        let mut found = wanted.found?;
        for value in &mut found {
            *value = (f64::from(*value) * self.factor) as f32;
        }
        Some(found)
    }

    /// The L2 norm over all parameters together, the one that clipping limits.
    pub fn global_norm(&self) -> f64 {
        let squares = self.norms().into_iter().map(|(_, norm)| norm * norm);
        squares.sum::<f64>().sqrt()
    }
}

struct Norms<'a> {
    values: &'a GradientsParams,
    factor: f64,
    path: Vec<String>,
    found: Vec<(String, f64)>,
}

impl ModuleVisitor for Norms<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(square) = square_sum::<D>(self.values, param.id) {
            self.found.push((
                crate::model::checkpoint_name(&self.path),
                square.sqrt() * self.factor,
            ));
        }
    }
}

struct Wanted<'a> {
    name: &'a str,
    values: &'a GradientsParams,
    path: Vec<String>,
    found: Option<Vec<f32>>,
}

impl ModuleVisitor for Wanted<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if crate::model::checkpoint_name(&self.path) == self.name {
            let gradient = self.values.get::<D>(param.id);
            self.found = gradient.and_then(|one| one.into_data().try_into_vec::<f32>().ok());
        }
    }
}

/// The sum of squares of one parameter's gradient. None when it has no gradient.
fn square_sum<const D: usize>(values: &GradientsParams, id: ParamId) -> Option<f64> {
    let gradient = values.get::<D>(id)?;
    if let Ok(gradient) = gradient.clone().try_into_primitive::<Flex>() {
        let gradient = gradient.to_contiguous();
        return gradient.as_slice::<f32>().map(crate::model::square_sum);
    }
    Some(f64::from(gradient.square().sum().into_scalar::<f32>()))
}
