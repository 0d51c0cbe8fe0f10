//! The most probable token of each row, as the logits come.

use pulp::{Simd, WithSimd};

use super::arch;

/// The highest value of each column so far, and where it stands.
pub(crate) struct RunningArgmax {
    highest: Vec<f32>,
    index: Vec<u32>,
    /// 0, or NaN once a value was not finite.
    poison: Vec<f32>,
}

impl RunningArgmax {
    pub fn new(columns: usize) -> Self {
        Self {
            highest: vec![f32::NEG_INFINITY; columns],
            index: vec![0; columns],
            poison: vec![0.0; columns],
        }
    }

    /// Takes more rows, `values` `[rows, columns]`, the first of which has number `first`. Of equal values the first counts.
    pub fn take(&mut self, values: &[f32], first: u32) {
        arch().dispatch(Take {
            state: self,
            values,
            first,
        });
    }

    /// The indices; None for a column in which a value was not finite.
    pub fn finish(self) -> impl Iterator<Item = Option<u32>> {
        let columns = self.index.into_iter().zip(self.poison);
        columns.map(|(index, poison)| (poison == 0.0).then_some(index))
    }
}

struct Take<'a> {
    state: &'a mut RunningArgmax,
    values: &'a [f32],
    first: u32,
}

impl WithSimd for Take<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let state = self.state;
        let rows = self.values.chunks_exact(state.highest.len());
        for (row, values) in (self.first..).zip(rows) {
            let columns = state.highest.iter_mut().zip(&mut state.index);
            let columns = columns.zip(&mut state.poison);
            for (((highest, index), poison), &value) in columns.zip(values) {
                let better = value > *highest;
                *highest = if better { value } else { *highest };
                *index = if better { row } else { *index };
                *poison += value * 0.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RunningArgmax;

    #[test]
    fn the_argmax_is_the_first_of_the_highest_and_refuses_what_is_not_finite() {
        let mut running = RunningArgmax::new(3);
        running.take(&[1.0, 5.0, 0.0, 2.0, 5.0, f32::NAN], 0);
        running.take(&[2.0, 4.0, 1.0], 2);
        let found: Vec<_> = running.finish().collect();
        assert_eq!(found, [Some(1), Some(0), None]);
    }
}
