//! A mean over seeds with its interval, on the terminal.

use crate::report::LeftOut;
use crate::report::number::{number, range, signed};
use crate::report::pooling::Estimate;

/// A row of a mean over seeds in a table: its name, the mean, the interval and the p-value.
pub(super) fn row(name: &str, mean: &Estimate) -> String {
    format!(
        "{name:<36}{:>36}{:>24}{:>10}\n",
        signed(mean.value),
        range(mean.low, mean.high),
        number(mean.p_value)
    )
}

/// The header of a table of such rows.
pub(super) fn header(title: &str) -> String {
    format!(
        "\n{title}\n{:<36}{:>36}{:>24}{:>10}\n",
        "", "mean over seeds", "95% interval", "p"
    )
}

/// The rows of runs that are left out.
pub(super) fn left_out_rows(runs: &[LeftOut]) -> String {
    let rows = runs.iter();
    let rows = rows.map(|one| format!("{} is left out: {}\n", cell(&one.run), one.reason));
    rows.collect()
}

/// A run's name without its sweep's.
pub(super) fn cell(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, cell)| cell)
}
