//! The system's allocator: a setting of it, and what is said when it has no more memory to give.

use std::alloc::{GlobalAlloc, Layout, System};
#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering};

/// The exit code of a process that ran out of memory.
pub const OUT_OF_MEMORY: i32 = 7;

/// The system's allocator, which ends the process with one message and [`OUT_OF_MEMORY`] where it has nothing to give. A program sets it by
/// `#[global_allocator]`; without it Rust aborts. Nothing half-written stays under a final name either way, and a run goes on from its last
/// checkpoint.
pub struct Telling;

#[allow(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: every call is handed to the system's allocator as it came, and what it gives is given on.
unsafe impl GlobalAlloc for Telling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those of the system's allocator.
        told(unsafe { System.alloc(layout) }, layout.size())
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        told(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }
    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        told(unsafe { System.realloc(old, layout, size) }, size)
    }
    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(old, layout) }
    }
}

/// What the allocator gave for a request of so many bytes; does not return where it gave nothing.
fn told(given: *mut u8, bytes: usize) -> *mut u8 {
    if given.is_null() {
        out_of_memory(bytes);
    }
    given
}

/// Says that memory is out, without asking for any, and ends the process. Elsewhere than on Unix, Rust says it.
fn out_of_memory(bytes: usize) {
    #[cfg(unix)]
    {
        static TOLD: AtomicBool = AtomicBool::new(false);
        // One thread says it; the others wait for the end.
        while TOLD.swap(true, Ordering::Relaxed) {
            std::thread::yield_now();
        }
        use std::io::Write;
        let mut text = [0u8; 320];
        let length = text.len();
        let mut rest = &mut text[..];
        let _ = writeln!(
            rest,
            "error: out of memory: the system has no {bytes} bytes more; lower `train.batch` or `train.block`, or take smaller models; --resume goes on from the last checkpoint"
        );
        let length = length - rest.len();
        #[allow(unsafe_code, reason = "calls of the C library")]
        // SAFETY: the text lives on the stack and is `length` bytes long; _exit runs nothing more of this process.
        unsafe {
            libc::write(2, text.as_ptr().cast(), length);
            libc::_exit(OUT_OF_MEMORY)
        }
    }
    #[cfg(not(unix))]
    let _ = bytes;
}

/// Tells glibc's allocator to keep up to 256 MiB of what it is given back: every pass of a model takes and returns the same pieces, and asking the
/// kernel for them anew each time, page by page, costs a third of the time of a small model. Pieces above 32 MiB, such as a whole head's
/// gradient, still go back at once. Elsewhere it does nothing. Call it first.
#[allow(unsafe_code, reason = "a call of the C library")]
pub fn keep_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only sets numbers of the allocator, and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 256 << 20);
    }
}
