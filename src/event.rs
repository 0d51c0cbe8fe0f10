//! The events of a run, in the order in which they happen.

use serde::{Deserialize, Serialize};

/// A moment of a run at which hooks can be called. This is the loop:
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
/// RunEnd, or RunFailed                      exactly one of them, always last
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

    /// Whether it ends the run. Hooks on it are called last, in the reverse order of the experiment.
    pub fn ends_the_run(self) -> bool {
        matches!(self, Self::RunEnd | Self::RunFailed)
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
