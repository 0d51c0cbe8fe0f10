//! The mask by which a token attends to no later one.

use burn::tensor::{Bool, Device, Tensor, TensorData};

/// True where row i must not look: at columns after i. None when nothing is hidden.
pub(crate) fn causal_mask(time: usize, device: &Device) -> Option<Tensor<4, Bool>> {
    if time == 1 {
        return None;
    }
    let hidden: Vec<bool> = (0..time)
        .flat_map(|row| (0..time).map(move |column| column > row))
        .collect();
    Some(Tensor::from_data(
        TensorData::new(hidden, [1, 1, time, time]),
        device,
    ))
}
