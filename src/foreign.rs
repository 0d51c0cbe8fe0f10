//! Calls into libraries that may panic on what a file holds: the panic becomes an error.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// Calls of [`call`] that this thread is in.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Whether this thread is in [`call`]: a panic there is told by whoever called, and should print nothing.
pub(crate) fn in_call() -> bool {
    DEPTH.get() > 0
}

/// Calls what may panic in a library, and gives the panic's first line instead.
///
/// # Errors
/// The first line of the panic.
pub(crate) fn call<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    DEPTH.set(DEPTH.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(call));
    DEPTH.set(DEPTH.get() - 1);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        first_words(text.unwrap_or_default())
    })
}

/// The beginning of a library's complaint, which may go on for pages in one line: libtorch lists every kernel that it has.
pub(crate) fn first_words(text: &str) -> String {
    let text = text.trim_start_matches("called `Result::unwrap()` on an `Err` value: ");
    let lines = text.split('\n').flat_map(|line| line.split("\\n"));
    let line = lines.map(str::trim).find(|line| !line.is_empty());
    let line = line.unwrap_or("its library gave up");
    match line.char_indices().nth(160) {
        Some((end, _)) => format!("{}...", line[..end].trim_end()),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_first_line() {
        assert_eq!(call(|| 3), Ok(3));
        let failed: Result<(), String> = call(|| panic!("\n  row {}\nand more", 7));
        assert_eq!(failed, Err("row 7".to_owned()));
        assert!(!in_call());
        assert_eq!(call(in_call), Ok(true));
    }
}
