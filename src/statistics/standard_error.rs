//! A standard error with its degrees of freedom, and what Student's t makes of it.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// The standard error of a mean of clustered values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StandardError {
    /// In the unit of the values; 0 for values without any spread, infinite where it cannot be told: one cluster in every way.
    pub value: f64,
    /// Degrees of freedom of Student's t; 0 where there is no error to speak of.
    pub degrees: f64,
}

impl StandardError {
    /// Whether there is an error to speak of.
    pub fn is_known(&self) -> bool {
        self.value.is_finite()
    }

    /// The two-sided p-value of Student's t-test that the mean is 0; without spread, 0 or 1, and 1 where the error cannot be told.
    pub fn two_sided_p_value(&self, mean: f64) -> f64 {
        if !self.is_known() {
            return 1.0;
        }
        match (StudentsT::new(0.0, 1.0, self.degrees), self.value > 0.0) {
            (Ok(t), true) => 2.0 * t.sf((mean / self.value).abs()),
            _ => f64::from(u8::from(mean == 0.0)),
        }
    }

    /// The interval of Student's t around a mean; everything where the error cannot be told.
    pub fn interval(&self, mean: f64, level: f64) -> (f64, f64) {
        if !self.is_known() {
            return (f64::NEG_INFINITY, f64::INFINITY);
        }
        let half = self.value * t_quantile(self.degrees, (1.0 + level) / 2.0);
        (mean - half, mean + half)
    }
}

/// Quantile of Student's t; that of the normal distribution where there are no degrees of freedom to speak of.
pub(super) fn t_quantile(degrees: f64, p: f64) -> f64 {
    match StudentsT::new(0.0, 1.0, degrees) {
        Ok(t) => t.inverse_cdf(p),
        Err(_) => Normal::standard().inverse_cdf(p),
    }
}
