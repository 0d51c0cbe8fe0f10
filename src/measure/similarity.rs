//! Similarity of two sets of representations of the same texts.

use rayon::prelude::*;

/// Rows of the product that are computed together, so that the other matrix is read once for all of them.
const TOGETHER: usize = 8;

/// Linear centred kernel alignment (Kornblith et al. 2019, arXiv 1905.00414) of `x` `[rows, a]` and `y` `[rows, b]`, with one row per text:
/// |Y'X|^2 / (|X'X| |Y'Y|), in Frobenius norms after each column's mean is subtracted, in double precision. It is from 0 to 1. It is 1 for
/// representations that differ only by a rotation, a shift and a scale, and NaN when either is the same for all texts.
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

/// The squared Frobenius norm of X'Y, for `x` `[rows, a]` and `y` `[rows, b]`.
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
    // The sum is in the order of the columns, so that it does not depend on the number of threads.
    parts.iter().sum()
}
