//! Learning-rate schedules, as functions of the step.

use serde::{Deserialize, Serialize};

/// How the learning rate changes after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// It falls to 0 linearly.
    #[default]
    Linear,
    /// It falls to 0 along half a cosine.
    Cosine,
    /// It stays constant.
    Constant,
}

/// A learning rate for every step of a run. The formulas are those of transformers' `get_*_schedule_with_warmup`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The highest learning rate.
    pub peak: f64,
    /// Steps over which it rises linearly from 0.
    pub warmup: u64,
    /// Steps of the whole run.
    pub total: u64,
    /// How it changes after the warm-up.
    pub decay: Decay,
}

impl Schedule {
    /// The learning rate of the step that follows `done` steps. With warm-up, the first step of a run has rate 0, as in transformers.
    pub fn rate(&self, done: u64) -> f64 {
        if done < self.warmup {
            return self.peak * done as f64 / self.warmup as f64;
        }
        let span = self.total.saturating_sub(self.warmup).max(1) as f64;
        let progress = ((done - self.warmup) as f64 / span).min(1.0);
        self.peak
            * match self.decay {
                Decay::Linear => 1.0 - progress,
                Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
                Decay::Constant => 1.0,
            }
    }
}
