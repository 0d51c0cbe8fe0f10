//! Where the time of a pass goes, kernel by kernel. Nothing is measured unless it is asked for.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static IS_ON: AtomicBool = AtomicBool::new(false);
static TIMES: Mutex<BTreeMap<&'static str, Cost>> = Mutex::new(BTreeMap::new());

/// What the calls of a kernel cost together.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// How often it was called.
    pub calls: u64,
    /// How long it took.
    pub time: Duration,
    /// Floating-point operations of its matrix products.
    pub operations: f64,
    /// Bytes that it has to read and to write at least.
    pub bytes: f64,
}

/// Measures every kernel while `work` runs, and gives what each has cost, by its name. Kernels that run at the same time in two threads are counted
/// with the whole time of each.
pub fn profiled<T>(work: impl FnOnce() -> T) -> (T, BTreeMap<&'static str, Cost>) {
    take();
    IS_ON.store(true, Ordering::Relaxed);
    let done = work();
    IS_ON.store(false, Ordering::Relaxed);
    (done, take())
}

/// What was measured as a table, the dearest first: shares are of `whole`, and products are compared with `limit` GFLOP/s, such as the speed of a large
/// square one.
pub fn table(costs: &BTreeMap<&'static str, Cost>, whole: Duration, limit: f64) -> String {
    let mut rows: Vec<(&str, Cost)> = costs.iter().map(|(name, cost)| (*name, *cost)).collect();
    rows.sort_by_key(|(_, cost)| std::cmp::Reverse(cost.time));
    let mut text = format!(
        "{:<22}{:>8}{:>11}{:>8}{:>8}{:>9}{:>10}\n",
        "kernel", "calls", "ms", "share", "GB/s", "GFLOP/s", "of sgemm"
    );
    let share = |time: Duration| 100.0 * time.as_secs_f64() / whole.as_secs_f64();
    for (name, cost) in &rows {
        let seconds = cost.time.as_secs_f64();
        text += &format!(
            "{name:<22}{:>8}{:>11.2}{:>7.1}%{:>8.1}",
            cost.calls,
            1e3 * seconds,
            share(cost.time),
            cost.bytes / seconds / 1e9
        );
        if cost.operations > 0.0 {
            let speed = cost.operations / seconds / 1e9;
            text += &format!("{speed:>9.0}{:>9.0}%", 100.0 * speed / limit);
        }
        text.push('\n');
    }
    let named = rows.iter().map(|(_, cost)| cost.time).sum();
    let rest = whole.saturating_sub(named);
    text + &format!(
        "{:<30}{:>11.2}{:>7.1}%\n",
        "elsewhere",
        1e3 * rest.as_secs_f64(),
        share(rest)
    )
}

fn take() -> BTreeMap<&'static str, Cost> {
    match TIMES.lock() {
        Ok(mut times) => std::mem::take(&mut *times),
        // A panic elsewhere spoils no number here.
        Err(spoilt) => std::mem::take(&mut *spoilt.into_inner()),
    }
}

/// Runs a kernel, which moves so many values of four bytes and does so many floating-point operations in products.
pub(crate) fn measured<T>(
    name: &'static str,
    values: usize,
    operations: usize,
    kernel: impl FnOnce() -> T,
) -> T {
    if !IS_ON.load(Ordering::Relaxed) {
        return kernel();
    }
    let start = Instant::now();
    let done = kernel();
    let time = start.elapsed();
    if let Ok(mut times) = TIMES.lock() {
        let cost = times.entry(name).or_default();
        cost.calls += 1;
        cost.time += time;
        cost.operations += operations as f64;
        cost.bytes += 4.0 * values as f64;
    }
    done
}
