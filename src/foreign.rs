//! Calls of library functions that may panic on bad input: the panic becomes an error.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

thread_local! {
    /// How many callers report the panics of this thread.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Says, as long as it lives, that the caller reports the panics of this thread.
pub(crate) struct Reported {
    before: usize,
}

impl Reported {
    /// From now on.
    pub fn begin() -> Self {
        Self::with(DEPTH.get() + 1)
    }

    /// As deep inside as another thread, for which this one works, was by [`depth`].
    pub fn with(depth: usize) -> Self {
        Self {
            before: DEPTH.replace(depth),
        }
    }
}

impl Drop for Reported {
    fn drop(&mut self) {
        DEPTH.set(self.before);
    }
}

/// How many callers report the panics of this thread.
pub(crate) fn depth() -> usize {
    DEPTH.get()
}

/// What threads of a library have panicked with, while [`call_with_threads`] waits for them.
static OF_THREADS: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// Held by the one call that waits.
static WAITING: Mutex<()> = Mutex::new(());

/// Whether the caller reports a panic of this thread, so that the panic hook prints nothing.
pub(crate) fn is_reported(panic: &(dyn Any + Send)) -> bool {
    if DEPTH.get() > 0 {
        return true;
    }
    let mut listening = locked(&OF_THREADS);
    let said = listening.as_mut();
    said.map(|said| said.push(words_of(panic))).is_some()
}

/// Calls a function that may panic and returns what it returns.
///
/// # Errors
/// The first line of the panic's message, when it panics.
pub(crate) fn call<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    let reported = Reported::begin();
    let result = catch_unwind(AssertUnwindSafe(call));
    drop(reported);
    result.map_err(|panic| words_of(&*panic))
}

/// As [`call`], of a function that waits for threads of its library: what went wrong is what the first of them said. Meanwhile a panic of any thread
/// counts as one of them. So it is for devices that are opened, before the program's own threads are at work.
pub(crate) fn call_with_threads<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    let _alone = locked(&WAITING);
    *locked(&OF_THREADS) = Some(Vec::new());
    let result = self::call(call);
    let said = locked(&OF_THREADS).take().unwrap_or_default();
    result.map_err(|reason| said.into_iter().next().unwrap_or(reason))
}

/// What a lock holds; what stands in these is whole after a panic, too.
fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    first_words(text.unwrap_or_default())
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

/// The first 12 lines of a text, at most 1,200 characters of them. The rest is counted.
pub(crate) fn first_lines(text: &str) -> String {
    const LINES: usize = 12;
    const CHARACTERS: usize = 1200;
    let whole = text.trim_end();
    let few: Vec<&str> = whole.lines().take(LINES).collect();
    let few = few.join("\n");
    let kept: String = few.chars().take(CHARACTERS).collect();
    match whole.chars().count() - kept.chars().count() {
        0 => kept,
        more => format!("{}... ({more} more characters)", kept.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_text_the_first_lines_are_kept() {
        assert_eq!(first_lines("left: 1\n right: 2\n"), "left: 1\n right: 2");
        let lines = first_lines(&"a line\n".repeat(50));
        assert_eq!(
            lines,
            format!(
                "{}... (266 more characters)",
                "a line\n".repeat(12).trim_end()
            )
        );
        let line = first_lines(&"\u{e9}".repeat(5000));
        assert_eq!(
            line,
            format!("{}... (3800 more characters)", "\u{e9}".repeat(1200))
        );
    }

    #[test]
    fn a_panic_becomes_its_first_line() {
        assert_eq!(call(|| 3), Ok(3));
        let failed: Result<(), String> = call(|| panic!("\n  row {}\nand more", 7));
        assert_eq!(failed, Err("row 7".to_owned()));
        assert_eq!(call(|| is_reported(&"a panic")), Ok(true));
        assert_eq!(DEPTH.get(), 0);
    }

    /// A library asks a thread of its own, which panics; the library then panics because it gets no answer.
    #[test]
    fn the_first_panic_of_a_librarys_threads_is_what_went_wrong() {
        let ask = || {
            let thread = std::thread::spawn(|| {
                assert!(is_reported(&"no driver\nand more"));
                assert!(is_reported(&"no answer"));
            });
            thread.join().unwrap();
            panic!("RecvError")
        };
        let failed: Result<(), String> = call_with_threads(ask);
        assert_eq!(failed, Err("no driver".to_owned()));
        let alone: Result<(), String> = call_with_threads(|| panic!("RecvError"));
        assert_eq!(alone, Err("RecvError".to_owned()));
    }
}
