//! Calls of library functions that may panic on bad input: the panic becomes an error.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// How many calls of [`call`] this thread is inside of.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Whether this thread is inside [`call`]. A panic there is reported by the caller, so the panic hook prints nothing.
pub(crate) fn in_call() -> bool {
    DEPTH.get() > 0
}

/// Calls a function that may panic and returns what it returns.
///
/// # Errors
/// The first line of the panic's message, when it panics.
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

/// The first line of a library's error message, at most 160 characters of it. Some go on for pages in one line: libtorch lists every kernel
/// that it has.
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
