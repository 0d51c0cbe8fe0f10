//! Numbers as people read them.

/// Four digits behind the point; fewer where there are many before it, powers of ten where there would be none to see.
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

/// The same with its sign, for changes.
pub fn signed(value: f64) -> String {
    let sign = if value > 0.0 { "+" } else { "" };
    format!("{sign}{}", number(value))
}

/// An interval.
pub fn range(low: f64, high: f64) -> String {
    format!("[{}, {}]", number(low), number(high))
}
