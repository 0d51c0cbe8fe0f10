//! What happens in a run, in the order in which it happens.

use serde::{Deserialize, Serialize};

/// A moment of the run that hooks can be called at. This is the loop:
///
/// ```text
/// RunStart                                  step 0: the pair as it came
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
/// [CheckpointSaved]                         when `train.save` is due at an end that came early
/// [Evaluated]                               when `train.evaluate` is due at such an end
/// RunEnd, or RunFailed                      exactly one of them, always last
/// ```
///
/// A run that stops early (a hook's request, Ctrl-C, `max_steps`) finishes its step and skips what is left; the epoch it stops in
/// has no EpochEnd unless it was complete. A run that was killed and resumed has the events of one that never was, each once: those after
/// the checkpoint are forgotten and come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// Before anything; the clock is at 0.
    RunStart,
    /// Before the first step of an epoch.
    EpochStart,
    /// Before a step's first micro-batch.
    StepStart,
    /// After each forward and backward pass of the trained models.
    MicroBatchEnd,
    /// A step's gradients are complete and not yet clipped. Inline hooks see them.
    GradientsReady,
    /// The gradients as the optimisers will use them. Inline hooks see them.
    GradientsClipped,
    /// The held-out split has been evaluated.
    Evaluated,
    /// The optimisers have moved.
    StepEnd,
    /// The weights and optimisers of a checkpoint lie on disk. It gets its name when the hooks of this event have spoken, so that what they said is
    /// part of it.
    CheckpointSaved,
    /// After the last step of an epoch.
    EpochEnd,
    /// The run is over and ended well.
    RunEnd,
    /// The run is over because of an error.
    RunFailed,
}

impl Event {
    /// As in TOML and `milestones.jsonl`.
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
