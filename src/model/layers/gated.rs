//! What a gate lets through.

use burn::tensor::Tensor;

use super::Nonlinearity;
use super::operation::{FlexTensor, Inputs, Operation, shape, slice, tensor};
use crate::model::kernels;

/// The function of `gate`, times `up` (Shazeer 2020, arXiv 2002.05202).
pub(crate) fn gated(nonlinearity: Nonlinearity, gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    let own = match nonlinearity {
        Nonlinearity::Silu => {
            let inputs = Inputs::default().with(gate.clone()).with(up.clone());
            inputs.apply(Gated)
        }
        Nonlinearity::Gelu | Nonlinearity::GeluTanh | Nonlinearity::Relu => None,
    };
    own.unwrap_or_else(|| nonlinearity.of(gate) * up)
}

/// By kernels, with SiLU.
#[derive(Debug, Clone)]
struct Gated;

impl Operation<2> for Gated {
    type Saved = [FlexTensor; 2];

    fn forward(
        &self,
        [gate, up]: [&FlexTensor; 2],
        saves: bool,
    ) -> (FlexTensor, Option<Self::Saved>) {
        let out = kernels::gated(slice(gate), slice(up));
        let saved = saves.then(|| [gate.clone(), up.clone()]);
        (tensor(out, shape(gate)), saved)
    }

    fn backward(
        &self,
        [gate, up]: Self::Saved,
        gradient: FlexTensor,
        _: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let found = kernels::gated_backward(slice(&gate), slice(&up), slice(&gradient));
        found.map(|one| Some(tensor(one, shape(&gate))))
    }
}
