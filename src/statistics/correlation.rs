//! How far two columns go together.

/// Pearson's correlation of two columns, from -1 to 1. None where one of them does not vary, or a value is not finite.
pub fn correlation(x: &[f64], y: &[f64]) -> Option<f64> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (x_mean, y_mean) = (mean(x), mean(y));
    let points = || x.iter().zip(y).map(|(x, y)| (x - x_mean, y - y_mean));
    let both: f64 = points().map(|(x, y)| x * y).sum();
    let squares = points().fold((0.0, 0.0), |(xs, ys), (x, y)| (xs + x * x, ys + y * y));
    let found = both / (squares.0 * squares.1).sqrt();
    // Also where there is no point.
    found.is_finite().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_a_textbook() {
        // Anscombe 1973, the first of four sets: 0.81642 to five digits.
        let x = [10.0, 8.0, 13.0, 9.0, 11.0, 14.0, 6.0, 4.0, 12.0, 7.0, 5.0];
        let y = [
            8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68,
        ];
        let found = correlation(&x, &y).unwrap();
        assert!((found - 0.816_42).abs() < 5e-6, "{found}");
        let opposite = x.map(|x| 3.0 - 2.0 * x);
        assert!((correlation(&x, &opposite).unwrap() + 1.0).abs() < 1e-12);
        for flat in [&[2.0; 11][..], &[]] {
            assert_eq!(correlation(flat, &y[..flat.len()]), None);
        }
    }
}
