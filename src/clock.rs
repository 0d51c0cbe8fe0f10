//! The clock of a run, and the run in numbers before it starts. The units are types of their own: a micro-batch is not a step.

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
    /// Forward and backward passes; several make a step under gradient accumulation.
    MicroBatch
}
unit! {
    /// Optimiser steps.
    Step
}
unit! {
    /// Passes over the training blocks.
    Epoch
}
unit! {
    /// Blocks trained on.
    Samples
}
unit! {
    /// Tokens trained on.
    Tokens
}

/// Where a run stands: how much of each unit is complete.
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
    /// A micro-batch of so many blocks and tokens is done.
    pub fn micro_batch_done(&mut self, samples: Samples, tokens: Tokens) {
        self.micro_batch.0 += 1;
        self.samples.0 += samples.0;
        self.tokens.0 += tokens.0;
    }

    /// The optimisers have moved. The step that is the last of its epoch completes the epoch.
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

/// Why a run cannot be laid out: the number that is at fault, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` {1}")]
pub struct ExtentError(pub &'static str, &'static str);

/// A run in numbers, before it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    samples: u64,
    batch: u64,
    accumulation: u64,
    block: u64,
    steps: u64,
}

impl Extent {
    /// `samples` blocks an epoch, `batch` blocks a micro-batch (the epoch's last may be smaller), `accumulation` micro-batches a step
    /// (the epoch's last step may have fewer), `block` tokens a sample. Nothing is dropped.
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
        // One epoch more than the run has, so that the clock one step behind its end can still be asked for.
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

    /// Epochs that the run touches; the last may be cut short.
    pub fn epochs(&self) -> u64 {
        self.steps.div_ceil(self.steps_per_epoch())
    }

    /// The epoch, counted from 0, in which a step, counted from 1, is done.
    pub fn epoch_of(&self, step: Step) -> Epoch {
        Epoch(step.0.saturating_sub(1) / self.steps_per_epoch())
    }

    /// The epochs that are complete after so many steps.
    pub fn epochs_done(&self, step: Step) -> Epoch {
        Epoch(step.0 / self.steps_per_epoch())
    }

    /// A clock that was saved, with its epoch.
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

    /// The clock after so many steps, at most one more than the run has, with its elapsed time 0.
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
