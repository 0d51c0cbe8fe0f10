//! GELU, at the speed of memory.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{arch, exp, measured};

/// Values that one task takes: large enough to be worth a task, small enough to stay in a core's cache.
const CHUNK: usize = 16 * 1024;

/// GELU in its tanh form, in place: `x / (1 + e^(-2u))` with `u = sqrt(2/pi) (x + 0.044715 x^3)`.
pub(crate) fn gelu(values: &mut [f32]) {
    arch().dispatch(Gelu(values));
}

/// Multiplies each of `gradient` by GELU's derivative at the value of `x` that it belongs to.
pub(crate) fn gelu_slope_all(x: &[f32], gradient: &mut [f32]) {
    measured("GELU, back", 3 * x.len(), 0, || {
        let chunks = x.par_chunks(CHUNK).zip(gradient.par_chunks_mut(CHUNK));
        chunks.for_each(|(x, gradient)| arch().dispatch(Slope { x, gradient }));
    })
}

/// -2 sqrt(2/pi), and 0.044715 times that: the coefficients of -2u.
const LINEAR: f32 = -1.595_769_2;
const CUBIC: f32 = 0.044_715 * LINEAR;

struct Gelu<'a>(&'a mut [f32]);

impl WithSimd for Gelu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for x in self.0 {
            let minus_2u = *x * (LINEAR + CUBIC * (*x * *x));
            *x /= 1.0 + exp(minus_2u);
        }
    }
}

struct Slope<'a> {
    x: &'a [f32],
    gradient: &'a mut [f32],
}

impl WithSimd for Slope<'_> {
    type Output = ();

    /// With s = 1 / (1 + e^(-2u)), `x s` has the derivative `s + x s (1 - s) (2u)'`.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (gradient, x) in self.gradient.iter_mut().zip(self.x) {
            let square = x * x;
            let e = exp(x * (LINEAR + CUBIC * square));
            let s = 1.0 / (1.0 + e);
            // 1 - s as e s: without cancellation where s is nearly 1.
            let slope = -(LINEAR + 3.0 * CUBIC * square);
            *gradient *= s + x * s * (e * s) * slope;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{gelu, gelu_slope_all};

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

    #[test]
    fn its_slope_is_the_derivative() {
        let xs: Vec<f32> = (-1200..=1200).map(|step| step as f32 * 0.01).collect();
        let mut found = vec![1.0; xs.len()];
        gelu_slope_all(&xs, &mut found);
        let gelu = |x: f64| {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + u.tanh())
        };
        for (x, found) in xs.into_iter().zip(found) {
            let x = f64::from(x);
            let expected = (gelu(x + 1e-5) - gelu(x - 1e-5)) / 2e-5;
            assert!((f64::from(found) - expected).abs() < 1e-6, "{x}: {found}");
        }
    }
}
