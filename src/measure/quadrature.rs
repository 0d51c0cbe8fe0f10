//! Integrals over [0, 1] by sums of a few values.

use std::f64::consts::PI;

/// The nodes and weights of Gauss and Legendre's rule with `points` points on [0, 1], by rising node. The rule is exact for polynomials of
/// degree `2 points - 1`.
///
/// The nodes are the zeros of the Legendre polynomial of that degree, by Newton's method from the usual first guess; the weights are
/// `2 / ((1 - x^2) P'(x)^2)` (Abramowitz and Stegun 1964, 25.4.29), both moved from [-1, 1].
pub fn gauss_legendre(points: usize) -> Vec<(f64, f64)> {
    let rule = (0..points).map(|index| {
        let mut x = -((index as f64 + 0.75) / (points as f64 + 0.5) * PI).cos();
        // It converges quadratically; from this guess five steps suffice for any number of points.
        for _ in 0..10 {
            let (value, slope) = legendre(points, x);
            x -= value / slope;
        }
        let (_, slope) = legendre(points, x);
        let weight = 2.0 / ((1.0 - x * x) * slope * slope);
        ((x + 1.0) / 2.0, weight / 2.0)
    });
    rule.collect()
}

/// The Legendre polynomial of a degree and its derivative at `x` within (-1, 1), by Bonnet's recursion.
fn legendre(degree: usize, x: f64) -> (f64, f64) {
    let (mut before, mut value) = (0.0, 1.0);
    for n in 1..=degree {
        let n = n as f64;
        (before, value) = (
            value,
            ((2.0 * n - 1.0) * x * value - (n - 1.0) * before) / n,
        );
    }
    (value, degree as f64 * (x * value - before) / (x * x - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_of_five_points_is_that_of_the_tables() {
        // Abramowitz and Stegun 1964, table 25.4, on [-1, 1].
        let table = [
            (-0.906_179_845_938_664, 0.236_926_885_056_189),
            (-0.538_469_310_105_683, 0.478_628_670_499_366),
            (0.0, 0.568_888_888_888_889),
            (0.538_469_310_105_683, 0.478_628_670_499_366),
            (0.906_179_845_938_664, 0.236_926_885_056_189),
        ];
        let rule = gauss_legendre(5);
        assert_eq!(rule.len(), 5);
        for ((node, weight), (x, w)) in rule.into_iter().zip(table) {
            assert!((2.0 * node - 1.0 - x).abs() < 1e-14, "{node}, {x}");
            assert!((2.0 * weight - w).abs() < 1e-14, "{weight}, {w}");
        }
    }

    #[test]
    fn a_polynomial_of_degree_2n_less_1_is_integrated_exactly_and_one_higher_is_not() {
        for points in [1, 2, 3, 5, 8, 20, 64] {
            let integral = |degree: usize| {
                let rule = gauss_legendre(points).into_iter();
                rule.map(|(x, weight)| weight * x.powi(degree as i32))
                    .sum::<f64>()
            };
            for degree in 0..2 * points {
                let off = integral(degree) - 1.0 / (degree as f64 + 1.0);
                assert!(off.abs() < 1e-13, "{points} points, x^{degree}: {off}");
            }
            if points <= 5 {
                let off = integral(2 * points) - 1.0 / (2.0 * points as f64 + 1.0);
                assert!(off.abs() > 1e-7, "{points} points: {off}");
            }
        }
    }
}
