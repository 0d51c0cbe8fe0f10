//! Dropout masks that are made where the tensor is, from the same integers as the kernels': a mask that is made on the host has to be sent, and
//! a graphics card would wait for it.

use burn::tensor::{DType, Device, Int, Tensor};

use crate::model::kernels::{MASK_CHUNK, Mask};

/// The factors of a mask over `count` values, as [`Mask::apply`] takes them: 0, or what a value that stays is multiplied by.
pub(super) fn flat(mask: Mask, count: usize, device: &Device) -> Tensor<1> {
    let keys = Keys::of(mask, device).parts(count.div_ceil(MASK_CHUNK));
    let factors = keys.factors(mask, count.min(MASK_CHUNK));
    let [chunks, chunk] = factors.dims();
    factors.reshape([chunks * chunk]).narrow(0, 0, count)
}

/// The factors of a mask of the weights of attention `[batch, heads, time, time]`, as the kernels draw them.
pub(super) fn of_attention(
    mask: Mask,
    [batch, heads, time]: [usize; 3],
    device: &Device,
) -> Tensor<4> {
    let keys = Keys::of(mask, device).parts(batch * heads).parts(time);
    let factors = keys.factors(mask, time);
    factors.reshape([batch, heads, time, time])
}

/// The two keys of each of some masks, `[masks, 1]`.
struct Keys {
    first: Tensor<2, Int>,
    second: Tensor<2, Int>,
}

impl Keys {
    fn of(mask: Mask, device: &Device) -> Self {
        let zero = places(1, device);
        let [first, second] = mask.key().map(|key| {
            let key = scalar(key, &zero);
            zero.clone() + key
        });
        Self { first, second }
    }

    /// The keys of the first `count` parts of each mask, part by part: [`Mask::part`].
    fn parts(self, count: usize) -> Self {
        let [masks, _] = self.first.dims();
        let places = places(count, &self.first.device());
        let first = mixed(self.first.bitwise_xor(spread(places.clone())));
        let second = mixed(wrapped(self.second + places));
        Self {
            first: first.reshape([masks * count, 1]),
            second: second.reshape([masks * count, 1]),
        }
    }

    /// The first `count` factors of each mask, `[masks, count]`: [`Mask::at`].
    fn factors(self, mask: Mask, count: usize) -> Tensor<2> {
        let places = spread(places(count, &self.first.device()));
        let draws = mixed(self.first.bitwise_xor(places));
        let draws = mixed(wrapped(draws + self.second));
        // Signed integers of 32 bits are in the order of unsigned ones when the highest bit is turned.
        let kept = if is_wide(&draws) {
            draws.greater_equal_elem(i64::from(mask.threshold()))
        } else {
            let threshold = mask.threshold() as i32 ^ i32::MIN;
            (draws.bitwise_xor_scalar(i32::MIN)).greater_equal_elem(threshold)
        };
        kept.float() * mask.keep()
    }
}

/// Whether the device's integers have 64 bits. Then the kernels' `u32` are their lower half, and the upper half is 0. Integers of 32 bits have
/// the bits of the `u32`, and their sums and products wrap. libtorch has no other than the former in burn, wgpu no other than the latter.
fn is_wide(x: &Tensor<2, Int>) -> bool {
    x.dtype() == DType::I64
}

/// The integer of the device for a `u32`.
fn scalar(value: u32, like: &Tensor<2, Int>) -> i64 {
    if is_wide(like) {
        i64::from(value)
    } else {
        i64::from(value as i32)
    }
}

/// What is left of sums and products in 32 bits.
fn wrapped(x: Tensor<2, Int>) -> Tensor<2, Int> {
    if is_wide(&x) {
        x.bitwise_and_scalar(i64::from(u32::MAX))
    } else {
        x
    }
}

/// `[1, count]`: 0, 1, 2 and so on.
fn places(count: usize, device: &Device) -> Tensor<2, Int> {
    Tensor::<1, Int>::arange(0..count as i64, device).reshape([1, count])
}

fn spread(places: Tensor<2, Int>) -> Tensor<2, Int> {
    times(places, Mask::SPREAD)
}

/// A product that wraps. No product of two `u32` of which one is below 2^31 leaves 64 bits, nor does one of a place.
fn times(x: Tensor<2, Int>, by: u32) -> Tensor<2, Int> {
    let by = scalar(by, &x);
    wrapped(x * by)
}

/// The bijection of the kernels.
fn mixed(x: Tensor<2, Int>) -> Tensor<2, Int> {
    let [first, second] = Mask::MULTIPLIERS;
    let x = times(turned(x, 16), first);
    let x = times(turned(x, 15), second);
    turned(x, 15)
}

/// `x ^ (x >> by)`. A shift of signed integers repeats the highest bit, which is cut off.
fn turned(x: Tensor<2, Int>, by: u32) -> Tensor<2, Int> {
    let shifted = x.clone().bitwise_right_shift_scalar(i64::from(by));
    x.bitwise_xor(shifted.bitwise_and_scalar(i64::from(u32::MAX >> by)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{flat, of_attention};
    use crate::device::of_tests;
    use crate::model::kernels::{MASK_CHUNK, Mask, attention_mask};
    use crate::readback::values;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn masks_of_the_device_are_the_kernels(key: u64, p in 0.0..1.0f64, count in 1..3 * MASK_CHUNK, batch in 1..4usize, heads in 1..5usize, time in 1..60usize) {
            let mask = Mask::new(key, p);
            let mut factors = vec![1.0; count];
            mask.apply(&mut factors);
            let weights = attention_mask(mask, batch * heads, time);
            for device in of_tests() {
                prop_assert_eq!(&values(flat(mask, count, &device)), &factors);
                prop_assert_eq!(&values(of_attention(mask, [batch, heads, time], &device)), &weights);
            }
        }
    }
}
