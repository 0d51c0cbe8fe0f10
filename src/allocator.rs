//! The system's allocator: one setting that saves time, and a message with an exit code of its own when memory runs out.

use std::alloc::{GlobalAlloc, Layout, System};
#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering};

/// The exit code of a process that ran out of memory.
pub const OUT_OF_MEMORY: i32 = 7;

/// The system's allocator. When an allocation fails, it prints one message and ends the process with [`OUT_OF_MEMORY`]. A program sets it
/// with `#[global_allocator]`; without it Rust aborts. Either way no half-written file stays under its final name, and a run can be resumed
/// from its last checkpoint.
pub struct Telling;

#[allow(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: every call is passed to the system's allocator unchanged, and so is its result.
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

/// Returns `given`, the allocator's answer to a request of `bytes` bytes. Ends the process when it is null.
fn told(given: *mut u8, bytes: usize) -> *mut u8 {
    if given.is_null() {
        out_of_memory(bytes);
    }
    given
}

/// Prints the message without allocating and ends the process. Does so on Unix only; elsewhere Rust reports the failure.
fn out_of_memory(bytes: usize) {
    #[cfg(unix)]
    {
        static TOLD: AtomicBool = AtomicBool::new(false);
        // One thread prints; the others wait for the process to end.
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

/// Tells glibc's allocator to keep up to 256 MiB of freed memory. Every pass of a model allocates and frees the same pieces; getting them
/// from the kernel each time, page by page, costs a third of the time of a small model. Pieces above 32 MiB, such as the gradient of a
/// whole head, still go back at once. Does nothing with another C library. Call it first in `main`.
#[allow(unsafe_code, reason = "a call of the C library")]
pub fn keep_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only sets numbers of the allocator, and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 256 << 20);
    }
}
