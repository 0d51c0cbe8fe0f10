//! The events of a run, in the order in which they happen.

use serde::{Deserialize, Serialize};

/// A moment of a run at which hooks can be called. This is the loop, as [`LOOP`] has it:
///
/// ```text
/// RunStart                                  step 0: the pair before training
/// [Evaluated]                               when `train.evaluate` is due at the start
/// for each epoch
///     EpochStart
///     for each step
///         StepStart
///         for each micro-batch
///             forward and backward of each trained model
///             MicroBatchEnd
///         GradientsReady                    all gradients summed, before clipping
///         GradientsClipped                  after clipping, before the optimisers move
///         optimiser step of each trained model
///         [Evaluated]                       when `train.evaluate` is due
///         StepEnd
///         [EpochEnd]                        after the last step of an epoch
///         [CheckpointSaved]                 when `train.save` is due or a hook asked for it
/// [CheckpointSaved]                         when `train.save` is due and the run ends early
/// [Evaluated]                               when `train.evaluate` is due and the run ends early
/// RunEnd                                    the last event of a run that ends well
/// [RunFailed]                               the last event of a run that fails
/// ```
///
/// A run that stops early (a hook's request, Ctrl-C, `max_steps`) finishes its step and skips what is left. The epoch in which it stops has
/// no EpochEnd unless it was complete. A run that was killed and resumed has the same events as one that was never killed, each once: those
/// after the checkpoint are dropped and happen again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// Before everything else; the clock is at 0.
    RunStart,
    /// Before the first step of an epoch.
    EpochStart,
    /// Before a step's first micro-batch.
    StepStart,
    /// After each forward and backward pass of the trained models.
    MicroBatchEnd,
    /// The gradients of a step are complete and not yet clipped. Only inline hooks see them.
    GradientsReady,
    /// The gradients are as the optimisers will use them. Only inline hooks see them.
    GradientsClipped,
    /// The held-out split has been evaluated.
    Evaluated,
    /// The optimisers have changed the weights.
    StepEnd,
    /// A checkpoint of the state after this step is about to be written. Hooks are called first, so that their reports are part of it.
    CheckpointSaved,
    /// After the last step of an epoch.
    EpochEnd,
    /// The run is over and ended well.
    RunEnd,
    /// The run is over because of an error.
    RunFailed,
}

impl Event {
    /// The name, as in TOML and `milestones.jsonl`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RunStart => "run-start",
            Self::EpochStart => "epoch-start",
            Self::StepStart => "step-start",
            Self::MicroBatchEnd => "micro-batch-end",
            Self::GradientsReady => "gradients-ready",
            Self::GradientsClipped => "gradients-clipped",
            Self::Evaluated => "evaluated",
            Self::StepEnd => "step-end",
            Self::CheckpointSaved => "checkpoint-saved",
            Self::EpochEnd => "epoch-end",
            Self::RunEnd => "run-end",
            Self::RunFailed => "run-failed",
        }
    }

    /// Whether it happens once a micro-batch, and not once a step.
    pub fn is_of_micro_batch(self) -> bool {
        let at = LOOP.iter().position(|line| line.event() == Some(self));
        let before = LOOP.iter().take(at.unwrap_or(0)).rev();
        let depth = at.map_or(0, |at| LOOP[at].depth);
        let around = before.clone().find(|line| line.depth < depth);
        around.is_some_and(|line| line.what == What::Each(Unit::MicroBatch))
    }

    /// Whether live gradients exist at this moment.
    pub fn has_gradients(self) -> bool {
        matches!(self, Self::GradientsReady | Self::GradientsClipped)
    }
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the loop counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Passes over the training blocks.
    Epoch,
    /// Optimiser steps.
    Step,
    /// Forward and backward passes.
    MicroBatch,
}

impl Unit {
    /// The word for one of them.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Epoch => "epoch",
            Self::Step => "step",
            Self::MicroBatch => "micro-batch",
        }
    }
}

/// What happens at a line of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The deeper lines below are done for each of a unit.
    Each(Unit),
    /// Something is computed, and no hook is called.
    Work(&'static str),
    /// An event that happens every time.
    Always(Event),
    /// An event that does not happen every time.
    Sometimes(Event),
}

/// A line of the loop.
#[derive(Debug, Clone, Copy)]
pub struct LoopLine {
    /// The number of loops around it.
    pub depth: usize,
    /// What happens.
    pub what: What,
    /// When, or what is special about that moment; may be empty.
    pub about: &'static str,
}

const fn line(depth: usize, what: What, about: &'static str) -> LoopLine {
    LoopLine { depth, what, about }
}

/// The loop, line by line, in the order in which everything happens. It is what the doc comment of [`Event`] shows, and what
/// `milepost plan` draws. Tests compare it with that comment, with the variants of `Event`, and with the events of runs.
#[rustfmt::skip]
pub const LOOP: &[LoopLine] = {
    use Event::*;
    use What::*;
    &[
        line(0, Always(RunStart), "step 0: the pair before training"),
        line(0, Sometimes(Evaluated), "when `train.evaluate` is due at the start"),
        line(0, Each(Unit::Epoch), ""),
        line(1, Always(EpochStart), ""),
        line(1, Each(Unit::Step), ""),
        line(2, Always(StepStart), ""),
        line(2, Each(Unit::MicroBatch), ""),
        line(3, Work("forward and backward of each trained model"), ""),
        line(3, Always(MicroBatchEnd), ""),
        line(2, Always(GradientsReady), "all gradients summed, before clipping"),
        line(2, Always(GradientsClipped), "after clipping, before the optimisers move"),
        line(2, Work("optimiser step of each trained model"), ""),
        line(2, Sometimes(Evaluated), "when `train.evaluate` is due"),
        line(2, Always(StepEnd), ""),
        line(2, Sometimes(EpochEnd), "after the last step of an epoch"),
        line(2, Sometimes(CheckpointSaved), "when `train.save` is due or a hook asked for it"),
        line(0, Sometimes(CheckpointSaved), "when `train.save` is due and the run ends early"),
        line(0, Sometimes(Evaluated), "when `train.evaluate` is due and the run ends early"),
        line(0, Always(RunEnd), "the last event of a run that ends well"),
        line(0, Sometimes(RunFailed), "the last event of a run that fails"),
    ]
};

impl LoopLine {
    /// Its event, if it is one.
    pub fn event(&self) -> Option<Event> {
        match self.what {
            What::Always(event) | What::Sometimes(event) => Some(event),
            What::Each(_) | What::Work(_) => None,
        }
    }

    /// The line as text, with `name` for the name of an event and `about` behind it.
    pub fn text(&self, name: impl Fn(Event) -> String, about: &str) -> String {
        let what = match self.what {
            What::Each(unit) => format!("for each {}", unit.as_str()),
            What::Work(work) => work.to_owned(),
            What::Always(event) => name(event),
            What::Sometimes(event) => format!("[{}]", name(event)),
        };
        let what = format!("{:indent$}{what}", "", indent = 4 * self.depth);
        format!("{what:<42}{about}").trim_end().to_owned()
    }
}
