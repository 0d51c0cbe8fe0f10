//! Live gradients for inline hooks, by the parameter's name in the checkpoint.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use crate::model::{Network, checkpoint_name, square_sums};
use crate::readback;

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
        let (names, tensors): (Vec<_>, Vec<_>) = self.flattened().into_iter().unzip();
        let squares = square_sums(tensors.into_iter()).into_iter();
        let norms = squares.map(|square| square.sqrt() * self.factor);
        names.into_iter().zip(norms).collect()
    }

    /// The gradient of the parameter with this name, flattened row by row. None when there is no such parameter or it has no gradient.
    pub fn values(&self, name: &str) -> Option<Vec<f32>> {
        let mut all = self.flattened().into_iter();
        let (_, wanted) = all.find(|(own, _)| own == name)?;
        let mut found = readback::values(wanted);
        for value in &mut found {
            *value = (f64::from(*value) * self.factor) as f32;
        }
        Some(found)
    }

    /// The L2 norm over all parameters together, the one that clipping limits.
    pub fn global_norm(&self) -> f64 {
        global(self.norms().into_iter().map(|(_, norm)| norm))
    }

    /// The sums of squares by which another device knows [`Gradients::global_norm`], still there.
    pub(crate) fn squares(&self) -> Vec<Tensor<1>> {
        let all = self.flattened().into_iter();
        all.map(|(_, gradient)| gradient.square().sum()).collect()
    }

    /// [`Gradients::global_norm`], of these sums of squares.
    pub(crate) fn norm_of(&self, squares: &[f32]) -> f64 {
        let norms = squares.iter();
        global(norms.map(|square| f64::from(*square).sqrt() * self.factor))
    }

    /// The gradients, not yet multiplied, with the names of their parameters.
    fn flattened(&self) -> Vec<(String, Tensor<1>)> {
        let Some(values) = self.values else {
            return Vec::new();
        };
        let mut flattened = Flattened {
            values,
            path: Vec::new(),
            found: Vec::new(),
        };
        self.model.visit(&mut flattened);
        flattened.found
    }
}

/// The norm of all parameters together, of those of each.
fn global(norms: impl Iterator<Item = f64>) -> f64 {
    norms.map(|norm| norm * norm).sum::<f64>().sqrt()
}

struct Flattened<'a> {
    values: &'a GradientsParams,
    path: Vec<String>,
    found: Vec<(String, Tensor<1>)>,
}

impl ModuleVisitor for Flattened<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.values.get::<D>(param.id) {
            let count = gradient.shape().num_elements();
            let flat = gradient.reshape([count]);
            self.found.push((checkpoint_name(&self.path), flat));
        }
    }
}
