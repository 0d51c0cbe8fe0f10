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
        wanted: [bool; 2],
    ) -> (FlexTensor, Option<Self::Saved>) {
        let out = kernels::gated(slice(gate), slice(up));
        let saved = wanted.contains(&true).then(|| [gate.clone(), up.clone()]);
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

#[cfg(test)]
mod tests {
    use super::super::tests::{
        backward, differences, gradient, near, numbers, tensor, value, weighted, widened,
    };
    use super::{Nonlinearity, gated};

    /// The functions as they are defined, in double precision. None has a closed form of the error function; its series does.
    fn plain(nonlinearity: Nonlinearity, x: f64) -> f64 {
        match nonlinearity {
            Nonlinearity::Silu => x / (1.0 + (-x).exp()),
            Nonlinearity::Relu => x.max(0.0),
            Nonlinearity::GeluTanh => {
                let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                0.5 * x * (1.0 + u.tanh())
            }
            Nonlinearity::Gelu => {
                // erf z = 2/sqrt(pi) times the sum of (-1)^n z^(2n+1) / (n! (2n+1)).
                let z = x / 2f64.sqrt();
                let (mut sum, mut term) = (0.0, z);
                for n in 0..60 {
                    sum += term / f64::from(2 * n + 1);
                    term *= -z * z / f64::from(n + 1);
                }
                x * 0.5 * (1.0 + sum * 2.0 / std::f64::consts::PI.sqrt())
            }
        }
    }

    #[test]
    fn what_is_let_through_and_its_gradients_are_those_of_the_definition() {
        let shape = [2, 5, 7];
        let gate: Vec<f32> = value(1, 70).iter().map(|one| 4.0 * one).collect();
        let up = value(2, 70);
        for nonlinearity in [
            Nonlinearity::Silu,
            Nonlinearity::Gelu,
            Nonlinearity::GeluTanh,
            Nonlinearity::Relu,
        ] {
            let out = |gate: &[f64], up: &[f64]| -> Vec<f64> {
                let both = gate.iter().zip(up);
                both.map(|(gate, up)| plain(nonlinearity, *gate) * up)
                    .collect()
            };
            let inputs = [tensor(gate.clone(), shape), tensor(up.clone(), shape)];
            let found = gated(nonlinearity, inputs[0].clone(), inputs[1].clone());
            let gradients = backward(&found);
            let [wide_gate, wide_up] = [&gate, &up].map(|values| widened(values));
            near(&numbers(found), &out(&wide_gate, &wide_up), "output");
            let of_gate = differences(&|gate| weighted(out(gate, &wide_up)), &gate);
            near(&gradient(&inputs[0], &gradients), &of_gate, "gate");
            let of_up = differences(&|up| weighted(out(&wide_gate, up)), &up);
            near(&gradient(&inputs[1], &gradients), &of_up, "up");
        }
    }

    #[test]
    fn many_values_are_burns() {
        let (rows, width) = (300, 130);
        let make = |seed| tensor(value(seed, rows * width), [1, rows, width]);
        let [gate, up, its_gate, its_up] = [1, 2, 1, 2].map(make);
        let found = gated(Nonlinearity::Silu, gate.clone(), up.clone());
        let its = Nonlinearity::Silu.of(its_gate.clone()) * its_up.clone();
        let (g, its_g) = (backward(&found), backward(&its));
        near(&numbers(found), &widened(&numbers(its)), "output");
        for (own, other) in [(gate, its_gate), (up, its_up)] {
            let expected = widened(&gradient(&other, &its_g));
            near(&gradient(&own, &g), &expected, "gradient");
        }
    }
}
