//! Words for whoever reads: a terminal, a file, or the other end of a pipe that may be closed. A reader that has had enough ends nothing: what is
//! worth keeping is in files, and training must not die for a pager.

use std::io::Write;

/// A line on standard output.
macro_rules! say {
    ($($words:tt)*) => { $crate::cli::terminal::out(&format!("{}\n", format_args!($($words)*))) };
}

/// A line on standard error.
macro_rules! remark {
    ($($words:tt)*) => { $crate::cli::terminal::err(&format!("{}\n", format_args!($($words)*))) };
}

pub(super) use {remark, say};

/// Text on standard output, as it is.
pub(super) fn out(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Text on standard error, as it is.
pub(super) fn err(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
