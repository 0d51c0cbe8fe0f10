//! A device that gives up in the middle of its work.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::room::{self, OutOfMemory};
use crate::foreign::first_words;

/// The device gave up: its driver, or the library that drives it, reported an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the device failed ({0}); `milepost device` tests the devices of this build")]
pub struct DeviceFailed(String);

/// Why a device did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stopped {
    /// It has no more memory.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// It failed.
    #[error(transparent)]
    Failed(#[from] DeviceFailed),
}

impl Stopped {
    /// The panic of a library whose device stopped. None where it is another one.
    pub fn of_panic(panic: &(dyn Any + Send)) -> Option<Self> {
        let out_of_memory = room::of_panic(panic).map(Self::OutOfMemory);
        out_of_memory.or_else(|| DeviceFailed::of_panic(panic).map(Self::Failed))
    }
}

impl DeviceFailed {
    /// Ends the work of this thread with a panic that [`caught`] turns into an error. `text` is what the library said, with its causes.
    pub(crate) fn stop(text: &str) -> ! {
        if room::of_text(text).is_some() {
            panic!("{text}");
        }
        std::panic::panic_any(Self::of_causes(text))
    }

    /// Of causes as cubecl lists them the last two say what went wrong.
    fn of_causes(text: &str) -> Self {
        let mut last: Vec<String> = text.rsplit("Caused by:").take(2).map(first_words).collect();
        last.reverse();
        Self(last.join(": "))
    }

    fn of_panic(panic: &(dyn Any + Send)) -> Option<Self> {
        if let Some(failed) = panic.downcast_ref::<Self>() {
            return Some(failed.clone());
        }
        // libtorch panics where an operation is queued, and so does cubecl where a device is lost. What else they panic with is our defect.
        let text = room::text_of(panic)?;
        let signs = [
            "CUDA error",
            "cuDNN error",
            "CUBLAS_STATUS",
            "evice lost",
            "evice is lost",
        ];
        let from = signs.iter().filter_map(|sign| text.find(sign)).min()?;
        let line = text[..from].rfind(['\n', '"']).map_or(0, |end| end + 1);
        Some(Self(first_words(&text[line..])))
    }
}

/// Calls `work`. Any other panic than that of a device goes on.
///
/// # Errors
/// When the device has no more memory, or failed.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Stopped> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let stopped = Stopped::of_panic(panic.as_ref());
        stopped.unwrap_or_else(|| resume_unwind(panic))
    })
}

/// Fails as a broken card does, at the read of values whose number `MILEPOST_FAULT_READ` gives, and at all that follow. For tests: a card that
/// breaks cannot be had.
pub(crate) fn fault_at_read() {
    static LIMIT: OnceLock<Option<usize>> = OnceLock::new();
    static READS: AtomicUsize = AtomicUsize::new(0);
    let limit = LIMIT.get_or_init(|| std::env::var("MILEPOST_FAULT_READ").ok()?.parse().ok());
    if limit.is_some_and(|limit| READS.fetch_add(1, Ordering::Relaxed) + 1 >= limit) {
        panic!(
            "called `Result::unwrap()` on an `Err` value: Torch(\"CUDA error: an illegal memory access was encountered\\nby MILEPOST_FAULT_READ\")"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_failed_with_is_said_in_a_line() {
        let failed = |work: fn()| match caught(work) {
            Err(Stopped::Failed(failed)) => failed.0,
            other => panic!("{other:?}"),
        };
        let chain = || {
            DeviceFailed::stop(
                "An error happened\nCaused by:\n  Several\n  skipped one\nCaused by:\n  no such operation\n\n  more",
            )
        };
        assert_eq!(failed(chain), "Several: no such operation");
        let torch = || {
            panic!(
                "called `Result::unwrap()` on an `Err` value: Torch(\"CUDA error: gone\\nmore\")"
            )
        };
        assert_eq!(failed(torch), "CUDA error: gone");
        assert_eq!(
            failed(|| panic!("Device lost: reason\nmore")),
            "Device lost: reason"
        );
    }

    #[test]
    fn memory_is_told_as_memory_and_a_defect_goes_on() {
        let memory =
            || DeviceFailed::stop("An error\nCaused by:\n  can't allocate buffer of 8 bytes");
        let found = caught(memory);
        assert!(matches!(found, Err(Stopped::OutOfMemory(_))), "{found:?}");
        assert!(catch_unwind(|| caught(|| panic!("index out of bounds"))).is_err());
        assert_eq!(caught(|| 7), Ok(7));
    }
}
