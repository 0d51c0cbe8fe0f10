//! Sums and maxima of a row, in an order that depends on its length alone.

/// Sums in flight at once, so that a vector unit is kept busy.
const LANES: usize = 32;

/// The sum of `of` each value.
#[inline(always)]
pub(super) fn sum(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += of(chunk[lane]);
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += of(*value);
    }
    fold(sums)
}

/// The sum of `of` each index below `count`.
#[inline(always)]
pub(super) fn sum_of(count: usize, of: impl Fn(usize) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    let whole = count / LANES * LANES;
    let mut first = 0;
    while first < whole {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += of(first + lane);
        }
        first += LANES;
    }
    for index in whole..count {
        sums[index - whole] += of(index);
    }
    fold(sums)
}

/// The sum of all lanes, by halves.
#[inline(always)]
fn fold(mut sums: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0]
}

/// The highest value; NaN is passed over, and minus infinity is the highest of none.
#[inline(always)]
pub(super) fn highest(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut found = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            found[lane] = if chunk[lane] > found[lane] {
                chunk[lane]
            } else {
                found[lane]
            };
        }
    }
    for (found, value) in found.iter_mut().zip(rest) {
        *found = if *value > *found { *value } else { *found };
    }
    found.into_iter().fold(f32::NEG_INFINITY, f32::max)
}
