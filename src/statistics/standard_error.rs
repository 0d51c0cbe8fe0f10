//! Standard errors with degrees of freedom, and the intervals and p-values of Student's t.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// The standard error of a mean of clustered values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StandardError {
    /// The error in the unit of the values. 0 for values without spread; infinite when it is not known, as with one cluster in every way.
    pub value: f64,
    /// The degrees of freedom of Student's t; 0 when the error is not known.
    pub degrees: f64,
}

impl StandardError {
    /// Whether the error is known, that is, finite.
    pub fn is_known(&self) -> bool {
        self.value.is_finite()
    }

    /// The two-sided p-value of Student's t-test that the mean is 0. Without spread it is 0 or 1; it is 1 when the error is not known.
    pub fn two_sided_p_value(&self, mean: f64) -> f64 {
        if !self.is_known() {
            return 1.0;
        }
        match (StudentsT::new(0.0, 1.0, self.degrees), self.value > 0.0) {
            (Ok(t), true) => 2.0 * t.sf((mean / self.value).abs()),
            _ => f64::from(u8::from(mean == 0.0)),
        }
    }

    /// The interval of Student's t around a mean. It is infinite when the error is not known.
    pub fn interval(&self, mean: f64, level: f64) -> (f64, f64) {
        if !self.is_known() {
            return (f64::NEG_INFINITY, f64::INFINITY);
        }
        let half = self.value * t_quantile(self.degrees, (1.0 + level) / 2.0);
        (mean - half, mean + half)
    }
}

/// The quantile of Student's t, or of the normal distribution when the degrees of freedom are not positive.
pub(super) fn t_quantile(degrees: f64, p: f64) -> f64 {
    match StudentsT::new(0.0, 1.0, degrees) {
        Ok(t) => t.inverse_cdf(p),
        Err(_) => Normal::standard().inverse_cdf(p),
    }
}
