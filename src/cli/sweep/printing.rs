//! The commands of a sweep's runs, printed for a scheduler.

use std::process::Command;

use super::grid::Cell;
use super::runs::Sweep;
use crate::cli::terminal::say;

/// Prints the command of each run that waits, one a line.
pub(super) fn print<'a>(sweep: &Sweep, waiting: impl IntoIterator<Item = &'a Cell>) {
    for cell in waiting {
        say!("{}", shown(&sweep.command(cell)));
    }
}

/// A command as a shell takes it.
pub(super) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted = words.map(|word| quoted(&word.to_string_lossy()));
    quoted.collect::<Vec<_>>().join(" ")
}

/// A word as a shell takes it.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:@+".contains(c);
    if word.chars().all(plain) && !word.is_empty() {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
