//! A setting of the system's allocator.

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
