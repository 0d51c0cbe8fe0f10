//! Tables of vectors, and the tokens that are looked up in them.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};

/// A table of vectors, `[rows, D]`.
#[derive(Module, Debug)]
pub(crate) struct Embedding {
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// The table's rows at `index` `[rows]`: `[rows, D]`.
    pub fn rows(&self, index: Tensor<1, Int>) -> Tensor<2> {
        self.weight.val().select(0, index)
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
