//! The clock of a run, and its size in numbers before it starts. Each unit is a type of its own, so that a micro-batch cannot be taken for
//! a step.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

macro_rules! unit {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

unit! {
    /// Counts forward and backward passes. With gradient accumulation, several make a step.
    MicroBatch
}
unit! {
    /// Counts optimiser steps.
    Step
}
unit! {
    /// Counts passes over the training blocks.
    Epoch
}
unit! {
    /// Counts blocks trained on.
    Samples
}
unit! {
    /// Counts tokens trained on.
    Tokens
}

/// How far a run has come: the completed amount of each unit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Micro-batches done.
    pub micro_batch: MicroBatch,
    /// Optimiser steps done.
    pub step: Step,
    /// Epochs done. They follow from the step, so they are not saved; see [`Extent::restored`].
    #[serde(skip)]
    pub epoch: Epoch,
    /// Blocks seen.
    pub samples: Samples,
    /// Tokens seen.
    pub tokens: Tokens,
    /// Wall time since the run started, without the time between a kill and its resume.
    pub elapsed: Duration,
}

impl Clock {
    /// Counts one micro-batch of `samples` blocks and `tokens` tokens.
    pub fn micro_batch_done(&mut self, samples: Samples, tokens: Tokens) {
        self.micro_batch.0 += 1;
        self.samples.0 += samples.0;
        self.tokens.0 += tokens.0;
    }

    /// Counts one optimiser step. The last step of an epoch completes the epoch, too.
    pub fn step_done(&mut self, extent: &Extent) {
        self.step.0 += 1;
        self.epoch = extent.epochs_done(self.step);
    }
}

/// How long a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Whole passes over the data.
    Epochs(u64),
    /// Optimiser steps, through as many passes as it takes.
    Steps(u64),
}

/// A number from which no run can be made: its name, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` {1}")]
pub struct ExtentError(pub &'static str, &'static str);

/// The size of a run, known before it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    samples: u64,
    batch: u64,
    accumulation: u64,
    block: u64,
    steps: u64,
}

impl Extent {
    /// Lays out a run with `samples` blocks an epoch, `batch` blocks a micro-batch (the last of an epoch may be smaller), `accumulation`
    /// micro-batches a step (the last step of an epoch may have fewer) and `block` tokens a sample. No block is dropped.
    ///
    /// # Errors
    /// When one of the numbers is 0, or when the run's counts do not fit in 64 bits.
    pub fn new(
        samples: u64,
        batch: u64,
        accumulation: u64,
        block: u64,
        length: Length,
    ) -> Result<Self, ExtentError> {
        let (name, amount) = match length {
            Length::Epochs(epochs) => ("epochs", epochs),
            Length::Steps(steps) => ("max_steps", steps),
        };
        for (name, number) in [
            ("samples", samples),
            ("batch", batch),
            ("accumulation", accumulation),
            ("block", block),
            (name, amount),
        ] {
            if number == 0 {
                return Err(ExtentError(name, "must be at least 1"));
            }
        }
        let mut extent = Self {
            samples,
            batch,
            accumulation,
            block,
            steps: 0,
        };
        let steps = match length {
            Length::Epochs(epochs) => epochs.checked_mul(extent.steps_per_epoch()),
            Length::Steps(steps) => Some(steps),
        };
        let too_large = ExtentError(name, "makes a run too long to count its tokens in 64 bits");
        extent.steps = steps.ok_or(too_large.clone())?;
        // Counts one epoch more than the run has, so that `clock_after` can still be asked for the step behind the end.
        let epochs = extent.epochs().checked_add(1);
        let samples = epochs.and_then(|epochs| epochs.checked_mul(samples));
        let tokens = samples.and_then(|samples| samples.checked_mul(block));
        tokens.map(|_| extent).ok_or(too_large)
    }

    /// Optimiser steps of the whole run.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Micro-batches of one epoch.
    pub fn micro_batches_per_epoch(&self) -> u64 {
        self.samples.div_ceil(self.batch)
    }

    /// Optimiser steps of one whole epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.micro_batches_per_epoch().div_ceil(self.accumulation)
    }

    /// Epochs that the run begins; the last may be cut short.
    pub fn epochs(&self) -> u64 {
        self.steps.div_ceil(self.steps_per_epoch())
    }

    /// The epoch, counted from 0, in which a step, counted from 1, is done.
    pub fn epoch_of(&self, step: Step) -> Epoch {
        Epoch(step.0.saturating_sub(1) / self.steps_per_epoch())
    }

    /// The epochs that are complete after `step` steps.
    pub fn epochs_done(&self, step: Step) -> Epoch {
        Epoch(step.0 / self.steps_per_epoch())
    }

    /// Fills in the epoch of a clock that was saved without it.
    pub fn restored(&self, clock: Clock) -> Clock {
        Clock {
            epoch: self.epochs_done(clock.step),
            ..clock
        }
    }

    /// Whether a step is the last of its epoch.
    pub fn closes_epoch(&self, step: Step) -> bool {
        step.0 > 0 && step.0.is_multiple_of(self.steps_per_epoch())
    }

    /// The clock after `step` steps, with an elapsed time of 0. `step` may be at most one more than the run has.
    pub fn clock_after(&self, step: Step) -> Clock {
        let epochs = step.0 / self.steps_per_epoch();
        let rest = step.0 % self.steps_per_epoch();
        let micro_batches = rest * self.accumulation;
        let samples = epochs * self.samples + micro_batches * self.batch;
        Clock {
            micro_batch: MicroBatch(epochs * self.micro_batches_per_epoch() + micro_batches),
            step,
            epoch: Epoch(epochs),
            samples: Samples(samples),
            tokens: Tokens(samples * self.block),
            elapsed: Duration::ZERO,
        }
    }
}
