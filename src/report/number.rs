//! Numbers formatted for people.

/// Formats a number with four decimals; with one from 100 on, and in scientific notation below 0.001.
pub fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    match value.abs() {
        size if size < 0.001 => format!("{value:.3e}"),
        size if size < 100.0 => format!("{value:.4}"),
        _ => format!("{value:.1}"),
    }
}

/// Formats a change: as [`number`], with a plus sign if it is positive.
pub fn signed(value: f64) -> String {
    let sign = if value > 0.0 { "+" } else { "" };
    format!("{sign}{}", number(value))
}

/// Formats an interval, `[low, high]`.
pub fn range(low: f64, high: f64) -> String {
    format!("[{}, {}]", number(low), number(high))
}
