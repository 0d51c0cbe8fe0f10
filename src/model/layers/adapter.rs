//! What a low-rank adapter (LoRA, Hu et al. 2021, arXiv 2106.09685) adds to a layer's product.

// The matrices have the names of PEFT's files, which are those of the paper.
#![allow(non_snake_case)]

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::projection::projected;
use super::{Precision, TrainingPass, drop};

/// The factors of what is added to the weight of a layer: `scale B A`.
#[derive(Module, Debug)]
pub(crate) struct Adapter {
    /// `[rank, in]`
    pub lora_A: Factor,
    /// `[out, rank]`
    pub lora_B: Factor,
    /// What the product is multiplied by.
    #[module(skip)]
    pub scale: f64,
    /// The probability that a value of the input is dropped in training.
    #[module(skip)]
    pub dropout: f64,
}

/// A matrix of an adapter.
#[derive(Module, Debug)]
pub(crate) struct Factor {
    pub weight: Param<Tensor<2>>,
}

impl Adapter {
    /// `scale (x A') B'` of `x` `[.., in]`, which has dropout in training: `[.., out]`. The products have the precision of the pass.
    pub fn forward<const D: usize>(
        &self,
        x: Tensor<D>,
        training: &mut Option<&mut TrainingPass>,
    ) -> Tensor<D> {
        let (a, b) = (self.lora_A.weight.val(), self.lora_B.weight.val());
        let ([_, inner], [outer, _]) = (a.dims(), b.dims());
        let mut shape = x.shape();
        let rows = shape.num_elements() / inner;
        shape[D - 1] = outer;
        let precision = Precision::of(training);
        let x = drop(training, self.dropout, x.reshape([rows, inner]));
        let narrow = projected(x, a, precision) * self.scale;
        projected(narrow, b, precision).reshape(shape)
    }

    /// What is added to a weight `[out, in]`.
    pub fn product(&self) -> Tensor<2> {
        let (a, b) = (self.lora_A.weight.val(), self.lora_B.weight.val());
        b.matmul(a) * self.scale
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use burn::tensor::Tensor;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::super::tests::{
        backward, differences, gradient, near, numbers, tensor, value, weighted, widened,
    };
    use super::super::{Activation, Linear, Projection, dense};
    use super::{Adapter, Factor, TrainingPass, drop};

    fn adapter(rank: usize, inner: usize, outer: usize, dropout: f64) -> Adapter {
        let factor = |seed, shape: [usize; 2]| Factor {
            weight: Param::from_tensor(tensor(value(seed, shape[0] * shape[1]), shape)),
        };
        Adapter {
            lora_A: factor(5, [rank, inner]),
            lora_B: factor(6, [outer, rank]),
            scale: 1.5,
            dropout,
        }
    }

    fn pass(seed: u64) -> TrainingPass {
        TrainingPass::new(ChaCha8Rng::seed_from_u64(seed))
    }

    /// `1.5 (x A') B'` in double precision, row by row.
    fn plain(x: &[f64], a: &[f64], b: &[f64], rank: usize) -> Vec<f64> {
        let (inner, outer) = (a.len() / rank, b.len() / rank);
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        let rows = x.chunks(inner).flat_map(|x| {
            let narrow: Vec<f64> = a.chunks(inner).map(|a| dot(x, a)).collect();
            let wide = b.chunks(rank).map(|b| 1.5 * dot(&narrow, b));
            wide.collect::<Vec<f64>>()
        });
        let rows: Vec<f64> = rows.collect();
        assert_eq!(rows.len(), x.len() / inner * outer);
        rows
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Against sums in double precision and their differences, with dropout and without.
        #[test]
        fn what_is_added_and_its_gradients_are_sums(rows in 1usize..6, inner in 1usize..9, outer in 1usize..9, rank in 1usize..4, dropped: bool) {
            let layer = adapter(rank, inner, outer, if dropped { 0.4 } else { 0.0 });
            let input = tensor(value(1, rows * inner), [rows, inner]);
            let y = layer.forward(input.clone(), &mut Some(&mut pass(3)));
            let gradients = backward(&y);
            let ones: Tensor<2> = Tensor::ones([rows, inner], &input.device());
            let mask = widened(&numbers(drop(&mut Some(&mut pass(3)), layer.dropout, ones)));
            let masked = |x: &[f64]| x.iter().zip(&mask).map(|(x, mask)| x * mask).collect::<Vec<f64>>();
            let factors = [&layer.lora_A, &layer.lora_B].map(|factor| factor.weight.val());
            let parts = [numbers(input.clone()), numbers(factors[0].clone()), numbers(factors[1].clone())];
            let [x, a, b] = parts.each_ref().map(|values| widened(values));
            near(&numbers(y), &plain(&masked(&x), &a, &b, rank), "output");
            let of_x = differences(&|x| weighted(plain(&masked(x), &a, &b, rank)), &parts[0]);
            near(&gradient(&input, &gradients), &of_x, "x");
            let of_a = differences(&|a| weighted(plain(&masked(&x), a, &b, rank)), &parts[1]);
            near(&gradient(&factors[0], &gradients), &of_a, "A");
            let of_b = differences(&|b| weighted(plain(&masked(&x), &a, b, rank)), &parts[2]);
            near(&gradient(&factors[1], &gradients), &of_b, "B");
        }
    }

    /// The mean over many masks is what is added without dropout.
    #[test]
    fn dropout_has_the_right_mean() {
        let layer = adapter(3, 20, 4, 0.3);
        let input = tensor(value(1, 40), [2, 20]);
        let without = layer.forward(input.clone(), &mut None);
        let (count, expected) = (4000, widened(&numbers(without)));
        let (mut sums, mut squares) = ([0.0; 8], [0.0; 8]);
        for seed in 0..count {
            let y = layer.forward(input.clone(), &mut Some(&mut pass(seed)));
            for (index, value) in widened(&numbers(y)).into_iter().enumerate() {
                sums[index] += value;
                squares[index] += value * value;
            }
        }
        for (index, expected) in expected.iter().enumerate() {
            let mean = sums[index] / count as f64;
            let spread = (squares[index] / count as f64 - mean * mean).sqrt();
            let error = spread / (count as f64).sqrt();
            assert!((mean - expected).abs() < 4.5 * error, "{mean} {expected}");
            // Each value of the input is dropped with this probability, whatever its size.
            assert!(spread > 0.1, "{spread}");
        }
    }

    /// A weight beside an adapter gets no gradient, and what it was multiplied with is not kept for one. The adapter's own stay the same.
    #[test]
    fn a_frozen_weight_changes_no_other_gradient() {
        let x = || tensor(value(1, 3 * 7), [1, 3, 7]);
        let weight = |shape| tensor(value(2, 35), shape);
        let fixed = |frozen: bool, param: Param<Tensor<2>>| param.set_require_grad(!frozen);
        let found = [false, true].map(|frozen| {
            let layer = Projection {
                weight: fixed(frozen, Param::from_tensor(weight([5, 7]))),
                bias: None,
                lora: Some(adapter(2, 7, 5, 0.0)),
            };
            let input = x();
            let y = layer.forward(input.clone(), &mut None);
            let gradients = backward(&y);
            assert_eq!(layer.weight.val().grad(&gradients).is_none(), frozen);
            let own = layer.lora.unwrap();
            let of_a = gradient(&own.lora_A.weight.val(), &gradients);
            (numbers(y), gradient(&input, &gradients), of_a)
        });
        assert_eq!(found[0], found[1]);
        for activation in [Activation::None, Activation::Gelu] {
            let found = [false, true].map(|frozen| {
                let bias = Param::from_tensor(tensor(value(3, 5), [5]));
                let layer = Linear {
                    weight: fixed(frozen, Param::from_tensor(weight([7, 5]))),
                    bias: bias.set_require_grad(!frozen),
                    lora: Some(adapter(2, 7, 5, 0.0)),
                };
                let input = x();
                let y = dense(&layer, input.clone(), activation, &mut None);
                let gradients = backward(&y);
                assert_eq!(layer.weight.val().grad(&gradients).is_none(), frozen);
                assert_eq!(layer.bias.val().grad(&gradients).is_none(), frozen);
                let own = layer.lora.unwrap();
                let of_b = gradient(&own.lora_B.weight.val(), &gradients);
                (numbers(y), gradient(&input, &gradients), of_b)
            });
            assert_eq!(found[0], found[1]);
        }
    }
}
