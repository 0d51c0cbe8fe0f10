//! Output to standard output and standard error. Errors of writing are ignored: the reader of a pipe may be gone, and that must not end a
//! training run. Everything worth keeping is in files.

use std::io::Write;

/// Prints a line on standard output.
macro_rules! say {
    ($($words:tt)*) => { $crate::cli::terminal::out(&format!("{}\n", format_args!($($words)*))) };
}

/// Prints a line on standard error.
macro_rules! remark {
    ($($words:tt)*) => { $crate::cli::terminal::err(&format!("{}\n", format_args!($($words)*))) };
}

pub(super) use {remark, say};

/// Writes a text to standard output unchanged.
pub(super) fn out(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes a text to standard error unchanged.
pub(super) fn err(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
