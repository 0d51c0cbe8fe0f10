//! Two one-sided tests of equivalence. They can show that a difference is too small to matter, which a large p-value of the usual test
//! cannot.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::clusters::StandardError;

/// A small effect in the terms of Cohen (1988), in standard deviations. It is the default margin within which a gap counts as none.
pub const SMALL_EFFECT: f64 = 0.2;

/// The p-value of the hypothesis that the difference is at least `margin` away from 0: the larger of the two one-sided t-tests against
/// -margin and +margin (Schuirmann 1987). Below 0.05 the difference is equivalent to none within the margin, and the 90% interval lies
/// inside it.
///
/// It is 1 when the error is not known or the margin is NaN.
pub fn equivalence_p_value(difference: f64, error: &StandardError, margin: f64) -> f64 {
    if !error.is_known() || margin.is_nan() {
        return 1.0;
    }
    let t = StudentsT::new(0.0, 1.0, error.degrees);
    let (Ok(t), true) = (t, error.value > 0.0) else {
        // Without spread the difference is certain.
        return f64::from(u8::from(difference.abs() >= margin));
    };
    let above_lower = t.sf((difference + margin) / error.value);
    let below_upper = t.cdf((difference - margin) / error.value);
    above_lower.max(below_upper)
}
