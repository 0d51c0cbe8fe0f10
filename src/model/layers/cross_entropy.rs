//! The head and its cross-entropy in one.

use std::sync::Arc;

use burn::tensor::{Int, Tensor, TensorData};

use super::Precision;
use super::operation::{FlexTensor, Inputs, Operation, shape, slice, tensor, width};
use crate::model::kernels;

/// The sum over all rows, in nats, of the cross-entropy between `hidden` `[rows, D]` through the head `table` `[vocab, D]` and the tokens that
/// were to be said, each row times its weight where there are weights. The logits have this precision. Those of all rows are never there at once on
/// flex in single precision.
pub(crate) fn cross_entropy(
    hidden: Tensor<2>,
    table: Tensor<2>,
    targets: Vec<u32>,
    weights: Option<&[f32]>,
    precision: Precision,
) -> Tensor<1> {
    if precision != Precision::F32 {
        return composed(hidden, table, &targets, weights, precision);
    }
    let inputs = Inputs::default().with(hidden.clone()).with(table.clone());
    let own = inputs.apply(CrossEntropy {
        targets: targets.clone().into(),
        weights: weights.map(Into::into),
    });
    own.unwrap_or_else(|| composed(hidden, table, &targets, weights, precision))
}

/// The same of burn's operations, as `logsumexp(logits) - logit of the target`. The target's logit is taken from the logits, so that its
/// gradient, a probability less 1, is made in single precision before it goes into a product. As two products, each rounded, the little that
/// a sure model's probability lacks of 1 would be lost.
pub(super) fn composed(
    hidden: Tensor<2>,
    table: Tensor<2>,
    targets: &[u32],
    weights: Option<&[f32]>,
    precision: Precision,
) -> Tensor<1> {
    let ids: Vec<i32> = targets.iter().map(|&id| id as i32).collect();
    let ids = TensorData::new(ids, [targets.len(), 1]);
    let ids: Tensor<2, Int> = Tensor::from_data(ids, &hidden.device());
    let logits = precision.product(hidden, table.transpose());
    let wanted = logits.clone().gather(1, ids);
    // Shifted by the row's maximum, so that it cannot overflow.
    let maximum = logits.clone().detach().max_dim(1);
    let normalisers = (logits - maximum.clone()).exp().sum_dim(1).log() + maximum;
    let Some(weights) = weights else {
        return normalisers.sum() - wanted.sum();
    };
    let weights = TensorData::new(weights.to_vec(), [weights.len(), 1]);
    let weights: Tensor<2> = Tensor::from_data(weights, &normalisers.device());
    ((normalisers - wanted) * weights).sum()
}

#[derive(Debug, Clone)]
struct CrossEntropy {
    targets: Arc<[u32]>,
    weights: Option<Arc<[f32]>>,
}

impl Operation<2> for CrossEntropy {
    /// The gradients of the sum by the hidden states and by the table, those that are wanted.
    type Saved = [Option<FlexTensor>; 2];

    fn forward(
        &self,
        [hidden, table]: [&FlexTensor; 2],
        wanted: [bool; 2],
    ) -> (FlexTensor, Option<Self::Saved>) {
        let losses = kernels::cross_entropy(
            slice(hidden),
            slice(table),
            width(table),
            kernels::Targets {
                tokens: &self.targets,
                weights: self.weights.as_deref(),
            },
            wanted,
        );
        let [d_hidden, d_table] = losses.gradients;
        let saved = [
            d_hidden.map(|values| tensor(values, shape(hidden))),
            d_table.map(|values| tensor(values, shape(table))),
        ];
        let sum = tensor(vec![losses.sum as f32], [1]);
        (sum, wanted.contains(&true).then_some(saved))
    }

    fn backward(
        &self,
        saved: Self::Saved,
        gradient: FlexTensor,
        _: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let factor = slice(&gradient).first().copied().unwrap_or(1.0);
        saved.map(|found| {
            let mut found = found?;
            // The training loop goes back from the sum itself.
            if factor != 1.0 {
                kernels::scale(found.storage_mut::<f32>(), factor);
            }
            Some(found)
        })
    }
}
