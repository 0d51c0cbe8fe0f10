//! The runs that end while a command waits for them, one after the other, and what those that failed have said.

use std::path::Path;
use std::time::{Duration, Instant};

use super::grid::Cell;
use crate::cli::terminal::say;

/// How many of the runs that wait have ended.
pub(super) struct Tally {
    all: usize,
    ended: usize,
    begin: Instant,
}

impl Tally {
    pub fn new(all: usize) -> Self {
        Self {
            all,
            ended: 0,
            begin: Instant::now(),
        }
    }

    /// A run that need not be waited for.
    pub fn leave_one_out(&mut self) {
        self.all -= 1;
    }

    /// Says how a run has ended, and about how much is left. `after` is how long it took, where that is known.
    pub fn ended(&mut self, cell: &Cell, how: &str, after: Option<Duration>) {
        self.ended += 1;
        let each = self.begin.elapsed().div_f64(self.ended as f64);
        say!(
            "{} {how}{}, {} of {}, about {} left",
            cell.name,
            after.map_or(String::new(), |time| format!(" after {}", clock(time))),
            self.ended,
            self.all,
            clock(each.mul_f64((self.all - self.ended) as f64))
        );
    }
}

/// What a run said when it failed: from its last error on. Its own words begin in its log at the byte `from`.
pub(super) fn complaint(log: &Path, from: usize) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let said = String::from_utf8_lossy(bytes.get(from..).unwrap_or_default());
    let lines: Vec<&str> = said.lines().collect();
    let error = lines.iter().rposition(|line| line.starts_with("error:"));
    match error {
        Some(first) => lines[first..].join("\n"),
        None => {
            let last = lines.iter().rfind(|line| !line.trim().is_empty());
            (*last.unwrap_or(&"it said nothing")).to_owned()
        }
    }
}

/// A time in minutes and seconds, such as 3:07.
pub(super) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}
