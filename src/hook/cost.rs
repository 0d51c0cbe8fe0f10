//! What calls of a hook cost, and whom they kept waiting.

use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What one call of a hook cost, or several together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// The time that the call itself took, with what it queued on its devices.
    pub took: Duration,
    /// The part of `took` in probes that it computed. Other hooks of the milestone get them for nothing.
    pub in_probes: Duration,
    /// How long the call waited: in the queue of background hooks, and for a probe that another thread was computing.
    pub waited: Duration,
    /// How long the training stood still for it.
    pub training_waited: Duration,
    /// How long devices still worked for the training when an inline hook was called. It is no time of the hook's.
    pub device: Duration,
    /// By how many bytes the peak of the process's memory rose during it. None where that is not known.
    pub peak_rise: Option<u64>,
    /// The bytes of weights that its snapshot kept while the training already had others.
    pub held_twice: u64,
}

impl Cost {
    /// The ends of the names of the tags of [`Cost::times`]. All of them depend on the machine.
    pub const TAGS: [&'static str; 8] = [
        "seconds",
        "probe_seconds",
        "waited_seconds",
        "training_waited_seconds",
        "device_seconds",
        "peak_rise_bytes",
        "held_twice_bytes",
        "lag_steps",
    ];

    /// Whether a tag is of those that say what a hook cost.
    pub fn has_tag(tag: &str) -> bool {
        let end = tag
            .strip_prefix("hook/")
            .and_then(|tag| tag.rsplit_once('/'));
        end.is_some_and(|(_, end)| Self::TAGS.contains(&end))
    }

    /// The scalars of a call of the hook `name`. What a call of its sort cannot have is left out.
    pub fn times(&self, name: &str, background: bool, lag: u64) -> Vec<(String, f64)> {
        let [
            took,
            in_probes,
            waited,
            training_waited,
            device,
            rise,
            twice,
            steps,
        ] = Self::TAGS;
        let mut times = vec![
            (took, self.took.as_secs_f64()),
            (in_probes, self.in_probes.as_secs_f64()),
            (steps, lag as f64),
        ];
        if background {
            times.push((waited, self.waited.as_secs_f64()));
            times.push((training_waited, self.training_waited.as_secs_f64()));
            times.push((twice, self.held_twice as f64));
        }
        if !self.device.is_zero() {
            times.push((device, self.device.as_secs_f64()));
        }
        if let Some(bytes) = self.peak_rise {
            times.push((rise, bytes as f64));
        }
        let times = times.into_iter();
        times
            .map(|(tag, value)| (format!("hook/{name}/{tag}"), value))
            .collect()
    }
}

/// Adds another call. Memory that is held twice is not added up, since calls give it back: the larger one counts.
impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.took += other.took;
        self.in_probes += other.in_probes;
        self.waited += other.waited;
        self.training_waited += other.training_waited;
        self.device += other.device;
        self.peak_rise = match (self.peak_rise, other.peak_rise) {
            (None, rise) | (rise, None) => rise,
            (Some(one), Some(two)) => Some(one + two),
        };
        self.held_twice = self.held_twice.max(other.held_twice);
    }
}
