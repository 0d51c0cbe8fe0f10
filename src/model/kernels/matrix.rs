//! Products of matrices in whatever layout they lie, by the crate `gemm`: nothing is copied for a transpose.

use gemm::Parallelism;

use super::measured;

/// A matrix in memory, seen with its own distances between rows and between columns.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A matrix that lies row after row: `values` `[rows, columns]`.
    pub fn new(values: &'a [f32], columns: usize) -> Self {
        let rows = values.len().checked_div(columns).unwrap_or(0);
        Self::with_stride(values, rows, columns, columns)
    }

    /// `rows` rows of `columns` values each, the first at the beginning of `values` and each `stride` after the one before.
    pub fn with_stride(values: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        Self {
            values,
            rows,
            columns,
            row_stride: stride,
            column_stride: 1,
        }
    }

    /// The transpose, of the same memory.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Whether every element lies in `values`.
    fn is_whole(&self) -> bool {
        let last = (self.rows.saturating_sub(1) * self.row_stride)
            + self.columns.saturating_sub(1) * self.column_stride;
        self.rows * self.columns == 0 || last < self.values.len()
    }
}

/// What becomes of the values that stand where a product is put.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// They are not looked at.
    Replace,
    /// The product is added to them.
    Add,
}

/// Columns of a product that are made in one call of the crate. It packs all of them at once, in memory that it gets and gives back each time.
const COLUMNS: usize = 4096;

/// `factor a b` into `out` `[a.rows, b.columns]`, row after row, by the calling thread.
pub(crate) fn multiply(out: &mut [f32], store: Store, factor: f32, a: Matrix, b: Matrix) {
    assert_eq!(out.len(), a.rows * b.columns);
    run(out.as_mut_ptr(), store, factor, a, b, Parallelism::None);
}

/// `a b` into `out` `[a.rows, b.columns]`, row after row, on all cores. The result does not depend on their number.
pub(crate) fn multiply_on_all_cores(
    name: &'static str,
    out: &mut [f32],
    store: Store,
    a: Matrix,
    b: Matrix,
) {
    assert_eq!(out.len(), a.rows * b.columns);
    spread(name, out.as_mut_ptr(), store, a, b);
}

/// `a b`, `[a.rows, b.columns]`, row after row, on all cores.
pub(crate) fn product_on_all_cores(name: &'static str, a: Matrix, b: Matrix) -> Vec<f32> {
    let count = a.rows * b.columns;
    let mut out = Vec::with_capacity(count);
    spread(name, out.as_mut_ptr(), Store::Replace, a, b);
    #[allow(unsafe_code, reason = "zeros would be written for nothing")]
    // SAFETY: the vector has room for that many values, and the product has written each of them.
    unsafe {
        out.set_len(count);
    }
    out
}

/// A product on all cores, some columns after the others. `out` has room for `[a.rows, b.columns]`.
fn spread(name: &'static str, out: *mut f32, store: Store, a: Matrix, b: Matrix) {
    let values = a.rows * a.columns + b.rows * b.columns + a.rows * b.columns;
    measured(name, values, 2 * a.rows * a.columns * b.columns, || {
        run(out, store, 1.0, a, b, Parallelism::Rayon(0));
    });
}

/// Calls the crate. `out` has room for `[a.rows, b.columns]`, which holds values where these are added to.
fn run(out: *mut f32, store: Store, factor: f32, a: Matrix, b: Matrix, parallelism: Parallelism) {
    let (rows, inner, columns) = (a.rows, a.columns, b.columns);
    assert!(a.is_whole() && b.is_whole() && inner == b.rows);
    let (alpha, read) = match store {
        Store::Replace => (0.0, false),
        Store::Add => (1.0, true),
    };
    for first in (0..columns).step_by(COLUMNS) {
        #[allow(unsafe_code, reason = "the crate takes pointers")]
        // SAFETY: all elements of `a` and `b` lie within their slices, as was asserted; `out` has room for all of the product, and nothing else
        // refers to it.
        unsafe {
            gemm::gemm(
                rows,
                COLUMNS.min(columns - first),
                inner,
                out.add(first),
                1,
                columns as isize,
                read,
                a.values.as_ptr(),
                a.column_stride as isize,
                a.row_stride as isize,
                b.values.as_ptr().add(first * b.column_stride),
                b.column_stride as isize,
                b.row_stride as isize,
                alpha,
                factor,
                false,
                false,
                false,
                parallelism,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Matrix, Store, multiply, multiply_on_all_cores};

    fn value(index: usize) -> f32 {
        ((index * 7919 + 13) % 101) as f32 / 50.0 - 1.0
    }

    /// Every layout of the operands against three loops in double precision.
    #[test]
    fn products_of_any_layout_are_those_of_three_loops() {
        for (rows, inner, columns) in [
            (1, 1, 1),
            (3, 5, 2),
            (17, 33, 65),
            (64, 1, 7),
            (128, 70, 40),
            (2, 3, 4100),
        ] {
            let a: Vec<f32> = (0..rows * inner).map(value).collect();
            let b: Vec<f32> = (0..inner * columns).map(|index| value(index + 5)).collect();
            let mut a_columns = vec![0.0; a.len()];
            let mut b_columns = vec![0.0; b.len()];
            for k in 0..inner {
                for row in 0..rows {
                    a_columns[k * rows + row] = a[row * inner + k];
                }
                for column in 0..columns {
                    b_columns[column * inner + k] = b[k * columns + column];
                }
            }
            for (left, right) in [(false, false), (false, true), (true, false), (true, true)] {
                let left = if left {
                    Matrix::new(&a_columns, rows).transposed()
                } else {
                    Matrix::new(&a, inner)
                };
                let right = if right {
                    Matrix::new(&b_columns, inner).transposed()
                } else {
                    Matrix::new(&b, columns)
                };
                let mut alone = vec![1.0; rows * columns];
                let mut together = vec![1.0; rows * columns];
                multiply(&mut alone, Store::Add, 1.0, left, right);
                multiply_on_all_cores("test", &mut together, Store::Add, left, right);
                for out in [alone, together] {
                    for row in 0..rows {
                        for column in 0..columns {
                            let terms = (0..inner).map(|k| {
                                f64::from(a[row * inner + k]) * f64::from(b[k * columns + column])
                            });
                            let expected = 1.0 + terms.sum::<f64>();
                            let found = f64::from(out[row * columns + column]);
                            assert!((found - expected).abs() < 1e-5 * inner as f64);
                        }
                    }
                }
            }
        }
    }
}
