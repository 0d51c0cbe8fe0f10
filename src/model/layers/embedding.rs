//! Tables of vectors, and the tokens that are looked up in them.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Flex};
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::operation::{Tracked, shape, slice, tensor, width};
use crate::model::kernels;
use crate::readback::is_rehearsed;

/// A table of vectors, `[rows, D]`.
#[derive(Module, Debug)]
pub(crate) struct Embedding {
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// The table's rows at `index` `[rows]`: `[rows, D]`.
    pub fn rows(&self, index: Tensor<1, Int>) -> Tensor<2> {
        let table = self.weight.val();
        match table.clone().try_into_primitive::<Autodiff<Flex>>() {
            Ok(table) if !is_rehearsed() => {
                let ids: Vec<u32> = index.into_data().iter::<u32>().collect();
                let rows = in_training(table, ids.into());
                Tensor::from_primitive::<Autodiff<Flex>>(rows)
            }
            _ => table.select(0, index),
        }
    }
}

/// The rows of a table in training, whose backward pass adds to the gradient that the table has already: where a head shares the table, its whole
/// gradient would otherwise be made twice and added.
fn in_training(table: Tracked, ids: Arc<[u32]>) -> Tracked {
    let values = table.primitive().to_contiguous();
    let columns = width(&values);
    let rows = tensor(
        kernels::gather(slice(&values), columns, &ids),
        [ids.len(), columns],
    );
    let prepared = LookUp
        .prepare::<NoCheckpointing>([table.node()])
        .compute_bound();
    match prepared.stateful() {
        OpsKind::Tracked(prepared) => prepared.finish((table, ids), rows),
        OpsKind::UnTracked(prepared) => prepared.finish(rows),
    }
}

/// Keeps the table, a leaf, to find its gradient by, and the rows that were looked up.
#[derive(Debug)]
struct LookUp;

impl Backward<Flex, 1> for LookUp {
    type State = (Tracked, Arc<[u32]>);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let [Some(parent)] = ops.parents else { return };
        let (table, ids) = ops.state;
        let before = gradients.remove::<Flex>(&table);
        // A head of burn's operations gives it transposed.
        let mut sum = match before {
            Some(before) => before.to_contiguous(),
            None => {
                let shape = shape(table.primitive());
                tensor(vec![0.0; shape.num_elements()], shape)
            }
        };
        let columns = width(&sum);
        kernels::scatter_add(sum.storage_mut::<f32>(), columns, &ids, slice(&gradient));
        gradients.register::<Flex>(parent.id, sum);
    }
}

/// Token ids of equal-length `rows` as a tensor `[batch, time]`.
pub(crate) fn token_tensor(rows: &[&[u32]], device: &Device) -> Tensor<2, Int> {
    let time = rows.first().map_or(0, |row| row.len());
    let ids: Vec<i32> = rows
        .iter()
        .flat_map(|row| row.iter().map(|&id| id as i32))
        .collect();
    Tensor::from_data(TensorData::new(ids, [rows.len(), time]), device)
}
