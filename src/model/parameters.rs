//! The parameters of a network: their ids, names and values.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Tensor, TensorData};

use super::kernels;
use super::layers::{on_flex, slice};
use crate::readback::{all_values, data};
use crate::thread::in_pool;

/// `network` with ids from 1 on, in the order of its parameters, and with lazy ones made real: an optimiser's saved moments then fit any
/// network of the same shape, and nothing depends on the order in which parameters are first used.
pub(super) fn numbered<M: Module>(network: M) -> M {
    network.map(&mut Numbering(0))
}

struct Numbering(u64);

impl ModuleMapper for Numbering {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.0 += 1;
        let (_, value, mapper) = param.consume();
        Param::from_mapped_value(ParamId::from(self.0), value, mapper)
    }
}

/// The checkpoint's name of the parameter at a module path. In names the factors of an adapter stand beside the weight of their layer.
pub(crate) fn checkpoint_name(path: &[String]) -> String {
    let parts = path.iter().map(String::as_str);
    parts
        .filter(|part| *part != "lora")
        .collect::<Vec<_>>()
        .join(".")
}

/// Every parameter's checkpoint name, without the prefix of the family, and its values, flattened row by row and without autodiff, in the order
/// of the network. They share the network's memory.
pub(crate) fn flattened_parameters<M: Module>(model: &M) -> Vec<(String, Tensor<1>)> {
    struct Collector {
        path: Vec<String>,
        found: Vec<(String, Tensor<1>)>,
    }
    impl ModuleVisitor for Collector {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            let value = if value.is_autodiff() {
                value.inner()
            } else {
                value
            };
            let count = value.shape().num_elements();
            let flat = value.reshape([count]);
            self.found.push((checkpoint_name(&self.path), flat));
        }
    }
    let mut collector = Collector {
        path: Vec::new(),
        found: Vec::new(),
    };
    model.visit(&mut collector);
    collector.found
}

/// The sum of the squares of each tensor's values, in double precision where there are kernels of our own. Elsewhere all sums are read at once.
pub(crate) fn square_sums(tensors: impl Iterator<Item = Tensor<1>>) -> Vec<f64> {
    let (mut here, mut elsewhere) = (Vec::new(), Vec::new());
    for tensor in tensors {
        match on_flex(&tensor) {
            Some(tensor) => here.push(tensor),
            None => elsewhere.push(tensor.square().sum()),
        }
    }
    let mut found: Vec<f64> = in_pool(|| {
        let sums = here.iter().map(|tensor| kernels::square_sum(slice(tensor)));
        sums.collect()
    });
    found.extend(all_values(elsewhere).into_iter().map(f64::from));
    found
}

/// Every parameter's checkpoint name, without the prefix of the family, and its values, in the order of the network.
pub fn named_parameters<M: Module>(model: &M) -> Vec<(String, TensorData)> {
    parameters_of(model, |_| true)
}

/// Those whose name is `wanted`. Nothing of the others is read.
pub(crate) fn parameters_of<M: Module>(
    model: &M,
    wanted: impl Fn(&str) -> bool,
) -> Vec<(String, TensorData)> {
    struct Collector<W> {
        path: Vec<String>,
        wanted: W,
        found: Vec<(String, TensorData)>,
    }
    impl<W: Fn(&str) -> bool> ModuleVisitor for Collector<W> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let name = checkpoint_name(&self.path);
            if (self.wanted)(&name) {
                self.found.push((name, data(param.val())));
            }
        }
    }
    let mut collector = Collector {
        path: Vec::new(),
        wanted,
        found: Vec::new(),
    };
    model.visit(&mut collector);
    collector.found
}
