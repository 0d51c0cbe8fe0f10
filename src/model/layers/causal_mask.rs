//! The mask by which a token attends to no later one.

use burn::tensor::{Bool, Device, Int, Tensor};

/// True where row i must not look: at columns after i. None when nothing is hidden. It is made on the device: to send it there would be to wait
/// for what the device has still to do.
pub(crate) fn causal_mask(time: usize, device: &Device) -> Option<Tensor<4, Bool>> {
    if time == 1 {
        return None;
    }
    let places = Tensor::<1, Int>::arange(0..time as i64, device);
    let rows = places.clone().reshape([1, 1, time, 1]);
    Some(places.reshape([1, 1, 1, time]).greater(rows))
}
