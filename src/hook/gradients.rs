//! Live gradients for inline hooks, by the parameter's name in the checkpoint.

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use crate::model::Network;

/// The gradients of one model at one step, read-only.
pub struct Gradients<'a> {
    model: &'a Network,
    values: &'a GradientsParams,
}

impl<'a> Gradients<'a> {
    /// Wraps the gradients `values` of `model`'s parameters.
    pub fn new(model: &'a Network, values: &'a GradientsParams) -> Self {
        Self { model, values }
    }

    /// The L2 norm of each parameter's gradient, with the parameter's name, in the order of the network.
    pub fn norms(&self) -> Vec<(String, f64)> {
        let mut norms = Norms {
            values: self.values,
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
            values: self.values,
            path: Vec::new(),
            found: None,
        };
        self.model.visit(&mut wanted);
        wanted.found
    }

    /// The L2 norm over all parameters together, the one that clipping limits.
    pub fn global_norm(&self) -> f64 {
        let squares = self.norms().into_iter().map(|(_, norm)| norm * norm);
        squares.sum::<f64>().sqrt()
    }
}

struct Norms<'a> {
    values: &'a GradientsParams,
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
            self.found
                .push((crate::model::checkpoint_name(&self.path), square.sqrt()));
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
pub(crate) fn square_sum<const D: usize>(values: &GradientsParams, id: ParamId) -> Option<f64> {
    let gradient = values.get::<D>(id)?;
    Some(f64::from(gradient.square().sum().into_scalar::<f32>()))
}
