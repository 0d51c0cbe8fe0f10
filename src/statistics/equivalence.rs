//! Two one-sided tests: evidence that a difference is too small to matter, which a large p-value of the usual test is not.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::clusters::StandardError;

/// What Cohen (1988) calls a small effect, in standard deviations: the usual margin within which a gap counts as none.
pub const SMALL_EFFECT: f64 = 0.2;

/// The p-value of "the difference is at least `margin` away from 0": the larger of the two one-sided t-tests against -margin and
/// +margin (Schuirmann 1987). Below 0.05 the difference is equivalent to none, within the margin; the 90% interval then lies inside it.
///
/// 1 where the error cannot be told, or the margin is not a number.
pub fn equivalence_p_value(difference: f64, error: &StandardError, margin: f64) -> f64 {
    if !error.is_known() || margin.is_nan() {
        return 1.0;
    }
    let t = StudentsT::new(0.0, 1.0, error.degrees);
    let (Ok(t), true) = (t, error.value > 0.0) else {
        // No spread: the difference is what it is.
        return f64::from(u8::from(difference.abs() >= margin));
    };
    let above_lower = t.sf((difference + margin) / error.value);
    let below_upper = t.cdf((difference - margin) / error.value);
    above_lower.max(below_upper)
}
