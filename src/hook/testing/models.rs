//! Models whose weights are changed by a rule, and gradients of models.

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};

use crate::data::blocks::Blocks;
use crate::model::{Network, checkpoint_name, next_token_loss};
use crate::readback::values;

/// Returns `model` with each weight replaced by the result of `rule`. The rule gets the parameter's name in the checkpoint
/// (`h.0.ln_1.bias`), the weight's index in the flattened parameter, and its value.
pub fn changed(model: &Network, rule: impl FnMut(&str, usize, f32) -> f32) -> Network {
    model.clone().map(&mut Changing {
        path: Vec::new(),
        rule,
    })
}

struct Changing<F> {
    path: Vec<String>,
    rule: F,
}

impl<F: FnMut(&str, usize, f32) -> f32> ModuleMapper for Changing<F> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = checkpoint_name(&self.path);
        param.map(|tensor| {
            let (shape, device) = (tensor.shape(), tensor.device());
            let values = values(tensor).into_iter().enumerate();
            let values = values.map(|(index, value)| (self.rule)(&name, index, value));
            let values: Vec<f32> = values.collect();
            Tensor::from_data(TensorData::new(values, shape), &device)
        })
    }
}

/// Returns `model` with `amount * sin(i + 1)` added to weight i (from 0) of every parameter.
pub(super) fn moved(model: &Network, amount: f64) -> Network {
    if amount == 0.0 {
        return model.clone();
    }
    changed(model, |_, index, weight| {
        (f64::from(weight) + amount * (index as f64 + 1.0).sin()) as f32
    })
}

/// Returns `model` on an autodiff device, and the gradients of its mean next-token loss over all blocks, without dropout.
pub(super) fn gradients(model: &Network, blocks: &Blocks) -> (Network, GradientsParams) {
    let model = model.clone().train();
    let rows: Vec<&[u32]> = (0..blocks.len()).map(|index| blocks.get(index)).collect();
    let (sum, count) = next_token_loss(&model, &rows, None);
    let mean = sum * (1.0 / count as f64);
    let gradients = GradientsParams::from_grads(mean.backward(), &model);
    (model, gradients)
}
