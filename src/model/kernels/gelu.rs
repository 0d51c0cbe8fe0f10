//! GELU, at the speed of memory.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{arch, exp};

/// Values that one task takes: large enough to be worth a task, small enough to stay in a core's cache.
const CHUNK: usize = 16 * 1024;

/// GELU in its tanh form, in place: `x / (1 + e^(-2u))` with `u = sqrt(2/pi) (x + 0.044715 x^3)`.
pub(crate) fn gelu(values: &mut [f32]) {
    arch().dispatch(Gelu(values));
}

/// The same of many values, on all cores.
pub(crate) fn gelu_all(values: &mut [f32]) {
    values.par_chunks_mut(CHUNK).for_each(gelu);
}

struct Gelu<'a>(&'a mut [f32]);

impl WithSimd for Gelu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let scale = -2.0 * (2.0 / std::f32::consts::PI).sqrt();
        let cubic = 0.044_715 * scale;
        for x in self.0 {
            let minus_2u = *x * (scale + cubic * (*x * *x));
            *x /= 1.0 + exp(minus_2u);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::gelu;

    #[test]
    fn gelu_is_its_tanh_form() {
        let xs: Vec<f32> = (-1200..=1200).map(|step| step as f32 * 0.01).collect();
        let mut found = xs.clone();
        gelu(&mut found);
        for (x, found) in xs.into_iter().zip(found) {
            let x = f64::from(x);
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            let expected = 0.5 * x * (1.0 + u.tanh());
            assert!((f64::from(found) - expected).abs() < 5e-7 * x.abs().max(1.0));
        }
    }
}
