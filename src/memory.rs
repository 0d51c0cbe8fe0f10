//! The memory of this process.

/// The most bytes of this process that were in memory at once, since it began. Linux says it to within about a MB; None elsewhere.
pub(crate) fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_peak_rises_by_what_is_written_to() {
        let before = peak().unwrap();
        let size = before + (64 << 20);
        // Pages count when they are written to.
        let bytes = vec![1u8; size as usize];
        let rise = peak().unwrap() - before;
        assert_eq!(bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>(), size);
        drop(bytes);
        let after = peak().unwrap() - before;
        // Linux keeps its counters for each core and adds them up now and then.
        let about = 1 << 20;
        assert!(rise >= 60 << 20 && rise <= after + about, "{rise} {after}");
    }
}
