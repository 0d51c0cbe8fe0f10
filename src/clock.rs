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

/// A part of the data that an intervention has passed over. Data is counted in the steps that it would have taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jump {
    /// The step after which the part is passed over.
    pub after: Step,
    /// How many steps' worth of data it is.
    pub over: u64,
}

/// The size of a run: as planned before it starts, less the data that was passed over since then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    samples: u64,
    batch: u64,
    accumulation: u64,
    block: u64,
    planned: u64,
    /// Whether the run ends with its data, and not after a number of steps.
    by_epochs: bool,
    /// In the order in which the data was passed over.
    jumps: Vec<Jump>,
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
            planned: 0,
            by_epochs: matches!(length, Length::Epochs(_)),
            jumps: Vec::new(),
        };
        let steps = match length {
            Length::Epochs(epochs) => epochs.checked_mul(extent.steps_per_epoch()),
            Length::Steps(steps) => Some(steps),
        };
        let too_large = ExtentError(name, "makes a run too long to count its tokens in 64 bits");
        extent.planned = steps.ok_or(too_large.clone())?;
        // Counts one epoch more than the run has, so that `clock_after` can still be asked for the step behind the end.
        let epochs = extent.epochs().checked_add(1);
        let samples = epochs.and_then(|epochs| epochs.checked_mul(samples));
        let tokens = samples.and_then(|samples| samples.checked_mul(block));
        tokens.map(|_| extent).ok_or(too_large)
    }

    /// The same run with other parts of its data passed over.
    pub fn with_jumps(&self, jumps: Vec<Jump>) -> Self {
        Self {
            jumps,
            ..self.clone()
        }
    }

    /// Optimiser steps of the whole run. A run of epochs has fewer than planned where data was passed over; a run of a number of steps goes
    /// on to further epochs.
    pub fn steps(&self) -> u64 {
        let over: u64 = self.jumps.iter().map(|jump| jump.over).sum();
        let over = if self.by_epochs { over } else { 0 };
        self.planned.saturating_sub(over)
    }

    /// Optimiser steps of the run as it was planned. Shares of the run, and the learning rate's schedule, go by them.
    pub fn planned(&self) -> u64 {
        self.planned
    }

    /// The place in the data after `step` steps, counted in steps from the start of the run.
    pub fn place(&self, step: Step) -> u64 {
        let jumps = self.jumps.iter().filter(|jump| jump.after <= step);
        step.0 + jumps.map(|jump| jump.over).sum::<u64>()
    }

    /// The steps' worth of data that the epoch has left after `step` steps. 0 at the end of an epoch.
    pub fn left_of_epoch(&self, step: Step) -> u64 {
        let place = self.place(step);
        place.next_multiple_of(self.steps_per_epoch()) - place
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
        self.planned.div_ceil(self.steps_per_epoch())
    }

    /// The epoch, counted from 0, in which a step, counted from 1, is done.
    pub fn epoch_of(&self, step: Step) -> Epoch {
        Epoch(self.place(Step(step.0.saturating_sub(1))) / self.steps_per_epoch())
    }

    /// The epochs that are complete after `step` steps.
    pub fn epochs_done(&self, step: Step) -> Epoch {
        Epoch(self.place(step) / self.steps_per_epoch())
    }

    /// Fills in the epoch of a clock that was saved without it.
    pub fn restored(&self, clock: Clock) -> Clock {
        Clock {
            epoch: self.epochs_done(clock.step),
            ..clock
        }
    }

    /// Whether the epoch of a step is over after it.
    pub fn closes_epoch(&self, step: Step) -> bool {
        step.0 > 0 && self.epochs_done(step) > self.epoch_of(step)
    }

    /// Whether a step, counted from 1, is the first of its epoch.
    pub fn opens_epoch(&self, step: Step) -> bool {
        step.0 <= 1 || self.epoch_of(step) > self.epoch_of(Step(step.0 - 1))
    }

    /// The clock after `step` steps, with an elapsed time of 0. `step` may be at most one more than the run has.
    pub fn clock_after(&self, step: Step) -> Clock {
        let mut seen = self.data_until(self.place(step));
        let mut place = 0;
        for jump in self.jumps.iter().filter(|jump| jump.after <= step) {
            let from = jump.after.0 + place;
            let (before, behind) = (self.data_until(from), self.data_until(from + jump.over));
            seen = [0, 1].map(|count| seen[count] - (behind[count] - before[count]));
            place += jump.over;
        }
        let [micro_batches, samples] = seen;
        Clock {
            micro_batch: MicroBatch(micro_batches),
            step,
            epoch: self.epochs_done(step),
            samples: Samples(samples),
            tokens: Tokens(samples * self.block),
            elapsed: Duration::ZERO,
        }
    }

    /// The micro-batches and the samples of the data up to a place, none of it passed over.
    fn data_until(&self, place: u64) -> [u64; 2] {
        let epochs = place / self.steps_per_epoch();
        let rest = place % self.steps_per_epoch();
        let micro_batches = rest * self.accumulation;
        let samples = epochs * self.samples + micro_batches * self.batch;
        [
            epochs * self.micro_batches_per_epoch() + micro_batches,
            samples,
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The slow way: walks through the data step by step, with the micro-batches, samples and the epoch after each step.
    fn walked(sizes: [u64; 3], jumps: &[Jump], steps: u64) -> Vec<(u64, u64, u64)> {
        let [samples, batch, accumulation] = sizes;
        let each: Vec<u64> = (0..samples.div_ceil(batch))
            .map(|index| batch.min(samples - index * batch))
            .collect();
        let of_epoch: Vec<(u64, u64)> = each
            .chunks(accumulation as usize)
            .map(|step| (step.len() as u64, step.iter().sum()))
            .collect();
        let mut place = 0;
        let (mut micro_batches, mut seen) = (0, 0);
        let mut clocks = Vec::new();
        for step in 0..=steps {
            if step > 0 {
                let (passes, blocks) = of_epoch[place % of_epoch.len()];
                (micro_batches, seen, place) = (micro_batches + passes, seen + blocks, place + 1);
            }
            for jump in jumps.iter().filter(|jump| jump.after.0 == step) {
                place += jump.over as usize;
            }
            clocks.push((micro_batches, seen, (place / of_epoch.len()) as u64));
        }
        clocks
    }

    proptest! {
        #[test]
        fn data_that_is_passed_over_is_not_counted(
            samples in 1u64..9, batch in 1u64..4, accumulation in 1u64..4,
            mut jumps in prop::collection::vec((0u64..8, 1u64..5), 0..4),
        ) {
            jumps.sort_unstable();
            let jumps: Vec<Jump> = jumps.iter().map(|&(after, over)| Jump { after: Step(after), over }).collect();
            let plain = Extent::new(samples, batch, accumulation, 2, Length::Steps(12)).unwrap();
            let extent = plain.with_jumps(jumps.clone());
            prop_assert_eq!(extent.steps(), 12);
            let clocks = walked([samples, batch, accumulation], &jumps, 12);
            let mut epoch = 0;
            for (step, &(micro_batches, seen, epochs)) in clocks.iter().enumerate() {
                let step = Step(step as u64);
                let clock = extent.clock_after(step);
                prop_assert_eq!((clock.micro_batch.0, clock.samples.0, clock.epoch.0), (micro_batches, seen, epochs));
                prop_assert_eq!(clock.tokens.0, 2 * seen);
                let left = extent.left_of_epoch(step);
                prop_assert!(left < extent.steps_per_epoch());
                prop_assert!((extent.place(step) + left).is_multiple_of(extent.steps_per_epoch()));
                if step.0 > 0 {
                    prop_assert_eq!(extent.opens_epoch(step), step.0 == 1 || extent.epoch_of(step).0 > epoch);
                    epoch = extent.epoch_of(step).0;
                    prop_assert_eq!(extent.closes_epoch(step), epochs > epoch);
                }
            }
            // Without jumps it is as it was, and a run of epochs ends with its data.
            let two = Extent::new(samples, batch, accumulation, 2, Length::Epochs(2)).unwrap();
            let jump = Jump { after: Step(1), over: 1 };
            prop_assert_eq!(two.with_jumps(vec![jump]).steps() + 1, two.planned());
        }
    }
}
