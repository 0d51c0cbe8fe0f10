//! A setting of the system's allocator.

/// Tells glibc's allocator to keep what it is given back: every pass of a model takes and returns the same large pieces, and asking the kernel for
/// them anew each time, page by page, costs a third of the time of a small model. Elsewhere it does nothing. The process keeps what it held at
/// its peak. Call it first.
pub fn keep_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only sets numbers of the allocator, and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}
