//! SiLU, times what it lets through (Shazeer 2020, arXiv 2002.05202), with its backward pass.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{arch, exp, measured};

/// Values that one task takes: large enough to be worth a task, small enough to stay in a core's cache.
const CHUNK: usize = 16 * 1024;

/// `gate / (1 + e^-gate) * up` of each value.
pub(crate) fn gated(gate: &[f32], up: &[f32]) -> Vec<f32> {
    measured("SiLU", 3 * gate.len(), 0, || {
        let mut out = vec![0.0; gate.len()];
        let chunks = gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK));
        let chunks = chunks.zip(out.par_chunks_mut(CHUNK));
        chunks.for_each(|((gate, up), out)| arch().dispatch(Gated { gate, up, out }));
        out
    })
}

/// The gradients of `gate` and `up`, given that of what [`gated`] makes of them.
pub(crate) fn gated_backward(gate: &[f32], up: &[f32], gradient: &[f32]) -> [Vec<f32>; 2] {
    measured("SiLU, back", 5 * gate.len(), 0, || {
        let mut d_gate = vec![0.0; gate.len()];
        let mut d_up = vec![0.0; gate.len()];
        let chunks = gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK));
        let chunks = chunks.zip(gradient.par_chunks(CHUNK));
        let out = d_gate.par_chunks_mut(CHUNK).zip(d_up.par_chunks_mut(CHUNK));
        let chunks = chunks.zip(out);
        chunks.for_each(|(((gate, up), gradient), (d_gate, d_up))| {
            arch().dispatch(Slopes {
                gate,
                up,
                gradient,
                d_gate,
                d_up,
            });
        });
        [d_gate, d_up]
    })
}

struct Gated<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Gated<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let inputs = self.gate.iter().zip(self.up);
        for (out, (gate, up)) in self.out.iter_mut().zip(inputs) {
            *out = gate / (1.0 + exp(-gate)) * up;
        }
    }
}

struct Slopes<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    gradient: &'a [f32],
    d_gate: &'a mut [f32],
    d_up: &'a mut [f32],
}

impl WithSimd for Slopes<'_> {
    type Output = ();

    /// With s = 1 / (1 + e^-x), `x s` has the derivative `s + x s (1 - s)`.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let inputs = self.gate.iter().zip(self.up).zip(self.gradient);
        let out = self.d_gate.iter_mut().zip(self.d_up);
        for (((gate, up), gradient), (d_gate, d_up)) in inputs.zip(out) {
            let e = exp(-gate);
            let s = 1.0 / (1.0 + e);
            // 1 - s as e s: without cancellation where s is nearly 1.
            *d_gate = gradient * up * (s + gate * s * (e * s));
            *d_up = gradient * (gate * s);
        }
    }
}
