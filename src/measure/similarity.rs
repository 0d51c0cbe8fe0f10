//! Likeness of two sets of representations of the same texts.

use rayon::prelude::*;

/// Rows of a product that are made together, so that the other matrix is read once for all of them.
const TOGETHER: usize = 8;

/// Linear centred kernel alignment (Kornblith et al. 2019, arXiv 1905.00414) of `x` `[rows, a]` and `y` `[rows, b]`, one row a text:
/// |Y'X|^2 / (|X'X| |Y'Y|) with Frobenius norms of columns whose means have been taken off, in double precision. From 0 to 1; 1 for
/// representations that differ by a rotation, a shift and a scale. NaN where one of them is the same for all texts.
pub fn linear_cka(x: &[f32], y: &[f32], rows: usize) -> f64 {
    let (x, y) = (centred(x, rows), centred(y, rows));
    let both = square_of_product(&x, &y, rows);
    both / (square_of_product(&x, &x, rows).sqrt() * square_of_product(&y, &y, rows).sqrt())
}

fn centred(values: &[f32], rows: usize) -> Vec<f64> {
    let width = values.len() / rows;
    let mut means = vec![0.0; width];
    for row in values.chunks_exact(width) {
        for (mean, value) in means.iter_mut().zip(row) {
            *mean += f64::from(*value) / rows as f64;
        }
    }
    let rows = values.chunks_exact(width);
    rows.flat_map(|row| {
        row.iter()
            .zip(&means)
            .map(|(value, mean)| f64::from(*value) - mean)
    })
    .collect()
}

/// The squared Frobenius norm of X'Y.
fn square_of_product(x: &[f64], y: &[f64], rows: usize) -> f64 {
    let (a, b) = (x.len() / rows, y.len() / rows);
    let columns: Vec<usize> = (0..a).collect();
    let parts: Vec<f64> = columns
        .par_chunks(TOGETHER)
        .map(|columns| {
            let mut product = vec![0.0; columns.len() * b];
            for (x, y) in x.chunks_exact(a).zip(y.chunks_exact(b)) {
                for (&column, out) in columns.iter().zip(product.chunks_exact_mut(b)) {
                    let times = x[column];
                    for (out, y) in out.iter_mut().zip(y) {
                        *out += times * y;
                    }
                }
            }
            product.iter().map(|value| value * value).sum()
        })
        .collect();
    // In the order of the columns, whatever the number of threads.
    parts.iter().sum()
}
