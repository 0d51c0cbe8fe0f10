//! An allocator that counts, and ends the process where an input makes the program hold too much.

#![allow(
    unsafe_code,
    reason = "an allocator is unsafe by its nature; these calls go to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bytes that an input may make the program hold.
const MOST: usize = 1 << 30;

/// The system's allocator, with the bytes held.
pub struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
/// Bytes that were held when the input at hand was begun: burn keeps 60 kB of each model that was loaded for training.
static BEFORE: AtomicUsize = AtomicUsize::new(0);
/// Set while the end of the process is being told, which allocates.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Counts what is held from here on as the next input's.
pub fn begin() {
    BEFORE.store(HELD.load(Ordering::Relaxed), Ordering::Relaxed);
}

impl Counting {
    fn add(bytes: usize) {
        let held = HELD
            .fetch_add(bytes, Ordering::Relaxed)
            .saturating_add(bytes);
        let before = BEFORE.load(Ordering::Relaxed);
        if held.saturating_sub(before) > MOST && !ENDING.swap(true, Ordering::Relaxed) {
            super::runner::abort("more than 1 GB held");
        }
    }
}

// SAFETY: every call is the system allocator's, with the layout as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::add(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::add(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::add(size);
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
