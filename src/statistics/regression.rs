//! How one column goes with another where values are alike within clusters.

use super::clusters::{Clusters, StandardError};

/// The least-squares line through points, with the cluster-robust error of its slope.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Regression {
    /// How much y changes per unit of x.
    pub slope: f64,
    /// The line's y at x = 0.
    pub intercept: f64,
    /// The error of the slope.
    pub error: StandardError,
}

impl Regression {
    /// The line of `y` on `x`, both in the order of the clusters' values. None where x does not vary, or a value is not finite.
    ///
    /// The slope is the mean of the column slope + n (x - mean x) e / Sxx, with the residuals e and Sxx = sum (x - mean x)^2: its values are the
    /// influences of the points on the slope. The cluster-robust error of that mean is the sandwich error of the slope (Liang and Zeger 1986;
    /// for several ways Cameron, Gelbach and Miller 2011), with the factor G / (G - 1) for G clusters.
    pub fn of(x: &[f64], y: &[f64], clusters: &Clusters) -> Option<Self> {
        let count = x.len() as f64;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / count;
        let (x_mean, y_mean) = (mean(x), mean(y));
        let points = || x.iter().zip(y).map(|(x, y)| (x - x_mean, y - y_mean));
        let squares: f64 = points().map(|(x, _)| x * x).sum();
        let slope = points().map(|(x, y)| x * y).sum::<f64>() / squares;
        // Also where there is no point, or where x does not vary.
        if !slope.is_finite() {
            return None;
        }
        let influences = points().map(|(x, y)| slope + count * x * (y - slope * x) / squares);
        let influences: Vec<f64> = influences.collect();
        Some(Self {
            slope,
            intercept: y_mean - slope * x_mean,
            error: clusters.standard_error(&influences),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sandwich of the two columns 1 and x, (X'X)^-1 (sum over clusters of X'e e'X) (X'X)^-1 with G / (G - 1), by matrices of 2 x 2.
    fn sandwich(x: &[f64], y: &[f64], clusters: &[usize]) -> (f64, f64) {
        let n = x.len() as f64;
        let (sx, sy): (f64, f64) = (x.iter().sum(), y.iter().sum());
        let sxx: f64 = x.iter().map(|x| x * x).sum();
        let sxy: f64 = x.iter().zip(y).map(|(x, y)| x * y).sum();
        let determinant = n * sxx - sx * sx;
        let inverse = [
            [sxx / determinant, -sx / determinant],
            [-sx / determinant, n / determinant],
        ];
        let [intercept, slope] = inverse.map(|row| row[0] * sy + row[1] * sxy);
        let groups = clusters.iter().max().map_or(0, |last| last + 1);
        let mut meat = [[0.0; 2]; 2];
        for group in 0..groups {
            let mut score = [0.0; 2];
            for ((x, y), own) in x.iter().zip(y).zip(clusters) {
                if *own == group {
                    let residual = y - intercept - slope * x;
                    score[0] += residual;
                    score[1] += residual * x;
                }
            }
            for row in 0..2 {
                for column in 0..2 {
                    meat[row][column] += score[row] * score[column];
                }
            }
        }
        let mut variance = 0.0;
        for row in 0..2 {
            for column in 0..2 {
                variance += inverse[1][row] * meat[row][column] * inverse[column][1];
            }
        }
        let groups = groups as f64;
        (slope, (variance * groups / (groups - 1.0)).sqrt())
    }

    #[test]
    fn the_error_is_that_of_the_sandwich() {
        // Points of a cluster lie together on one side of the line.
        let clusters: Vec<usize> = (0..40).map(|index| index / 5).collect();
        let x: Vec<f64> = (0..40)
            .map(|index| f64::from(index / 5 * 7 % 8) + 0.1 * f64::from(index % 5))
            .collect();
        let lean = |cluster: usize| if cluster.is_multiple_of(3) { 1.5 } else { -0.7 };
        let y = x.iter().zip(&clusters).enumerate();
        let y: Vec<f64> = y
            .map(|(index, (x, &own))| 2.0 - 0.5 * x + lean(own) + 0.1 * (index as f64).sin())
            .collect();
        let (slope, error) = sandwich(&x, &y, &clusters);
        let found = Regression::of(&x, &y, &Clusters::new(&[clusters])).unwrap();
        assert!((found.slope - slope).abs() < 1e-12, "{found:?}, {slope}");
        assert!(
            (found.error.value - error).abs() < 1e-12,
            "{found:?}, {error}"
        );
        assert_eq!(found.error.degrees, 7.0);
    }

    #[test]
    fn points_on_a_line_have_its_slope_and_no_error() {
        let x = [0.0, 1.0, 2.0, 5.0];
        let y = x.map(|x| 3.0 * x - 1.0);
        let clusters = Clusters::new(&[vec![0, 0, 1, 1], vec![0, 1, 0, 1]]);
        let found = Regression::of(&x, &y, &clusters).unwrap();
        assert!((found.slope - 3.0).abs() < 1e-12 && (found.intercept + 1.0).abs() < 1e-12);
        assert!(found.error.value < 1e-12, "{found:?}");
        for flat in [&[2.0; 4][..], &[]] {
            assert_eq!(Regression::of(flat, &y[..flat.len()], &clusters), None);
        }
    }
}
