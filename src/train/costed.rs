//! What a call of a hook costs: its time, apart from what it waited for.

use std::time::{Duration, Instant};

use crate::hook::{Cost, ProbeTimes};

/// Makes a call between two waits for devices, and measures what it cost.
pub(super) fn costed<T>(devices: &dyn Fn() -> Duration, call: impl FnOnce() -> T) -> (T, Cost) {
    let device = devices();
    ProbeTimes::take();
    let start = Instant::now();
    let result = call();
    devices();
    let elapsed = start.elapsed();
    let probes = ProbeTimes::take();
    let cost = Cost {
        took: elapsed.saturating_sub(probes.waiting),
        in_probes: probes.computing,
        waited: probes.waiting,
        device,
        ..Cost::default()
    };
    (result, cost)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::hook::Probes;

    /// A device that does its work only when it is waited for.
    #[derive(Default)]
    struct Lazy(Cell<Duration>);

    impl Lazy {
        fn queue(&self, work: Duration) {
            self.0.set(self.0.get() + work);
        }

        fn wait(&self) -> Duration {
            let work = self.0.take();
            std::thread::sleep(work);
            work
        }
    }

    #[test]
    fn what_was_queued_before_a_call_is_not_its_time_and_what_it_queues_is() {
        let (before, own) = (Duration::from_millis(80), Duration::from_millis(20));
        let device = Lazy::default();
        device.queue(before);
        let start = Instant::now();
        let (result, cost) = costed(&|| device.wait(), || {
            device.queue(own);
            7
        });
        let all = start.elapsed();
        assert_eq!((result, cost.device), (7, before));
        assert!(
            cost.took >= own && cost.took + before <= all,
            "{cost:?} {all:?}"
        );
        assert_eq!(
            (cost.in_probes, cost.waited),
            (Duration::ZERO, Duration::ZERO)
        );
    }

    #[test]
    fn waiting_for_a_probe_of_another_thread_is_no_time_of_the_call() {
        let probes = Probes::default();
        let (begun, beginning) = crossbeam_channel::bounded::<()>(0);
        let slow = Duration::from_millis(300);
        let (probes, wait) = (&probes, || Duration::ZERO);
        std::thread::scope(|scope| {
            let first = scope.spawn(move || {
                let compute = || {
                    begun.send(())?;
                    std::thread::sleep(slow);
                    Ok(1)
                };
                costed(&wait, || probes.get("slow", compute).map(|one| *one)).1
            });
            beginning.recv().unwrap();
            let start = Instant::now();
            let (value, second) = costed(&wait, || probes.get("slow", || Ok(2)).map(|one| *one));
            let all = start.elapsed();
            assert_eq!(value.unwrap(), 1);
            let first = first.join().unwrap();
            assert!(
                first.in_probes >= slow && first.in_probes <= first.took,
                "{first:?}"
            );
            assert_eq!(first.waited, Duration::ZERO);
            assert_eq!(second.in_probes, Duration::ZERO);
            assert!(
                second.waited > Duration::ZERO && second.took + second.waited <= all,
                "{second:?}"
            );
        });
    }
}
