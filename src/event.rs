//! The events of a run, in the order in which they happen.

use serde::{Deserialize, Serialize};

/// A moment of a run at which hooks can be called. This is the loop:
///
/// ```text
/// [CheckpointLoaded]                        only when a run is resumed from a checkpoint
/// [evaluation]                              when `train.evaluate` is due at the start
/// RunStart                                  step 0: the pair before training
/// [Evaluated]                               the result of that evaluation
/// for each epoch
///     EpochStart
///     for each step
///         StepStart
///         for each micro-batch
///             BatchReady                    its rows are fetched
///             forward pass of each trained model
///             BackwardStart
///             backward pass of each trained model
///             MicroBatchEnd
///         GradientsReady                    all gradients summed, before clipping
///         GradientsClipped                  after clipping, before the optimisers move
///         optimiser step of each trained model
///         WeightsUpdated
///         [evaluation, Evaluated]           when `train.evaluate` is due
///         StepEnd
///         [EpochEnd]                        after the last step of an epoch
///         [CheckpointSaved]                 when `train.save` is due or a hook asked for it
/// [CheckpointSaved]                         when `train.save` is due and the run ends early
/// [evaluation, Evaluated]                   when `train.evaluate` is due and the run ends early
/// RunEnd, or RunFailed                      exactly one of them, always last
///
/// evaluation:
///     EvaluationStart
///     for each batch of held-out blocks
///         EvaluationBatchEnd
/// ```
///
/// A run that stops early (a hook's request, Ctrl-C, `max_steps`) finishes its step and skips what is left. The epoch in which it stops has
/// no EpochEnd unless it was complete. A run that was killed and resumed has the same events as one that was never killed, each once: those
/// after the checkpoint are dropped and happen again. Only CheckpointLoaded tells the two apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// Before everything else; the clock is at 0.
    RunStart,
    /// Before the first step of an epoch.
    EpochStart,
    /// Before a step's first micro-batch.
    StepStart,
    /// The rows of a micro-batch are fetched, and not yet read by a model.
    BatchReady,
    /// The forward passes of a micro-batch are done, and their backward passes not begun.
    BackwardStart,
    /// After each forward and backward pass of the trained models.
    MicroBatchEnd,
    /// The gradients of a step are complete and not yet clipped. Only inline hooks see them.
    GradientsReady,
    /// The gradients are as the optimisers will use them. Only inline hooks see them.
    GradientsClipped,
    /// The optimisers have changed the weights. Inline hooks see by how much.
    WeightsUpdated,
    /// The held-out split is about to be evaluated.
    EvaluationStart,
    /// Both models have read a batch of the held-out split.
    EvaluationBatchEnd,
    /// The held-out split has been evaluated.
    Evaluated,
    /// A step is over.
    StepEnd,
    /// A checkpoint of the state after this step is about to be written. Hooks are called first, so that their reports are part of it.
    CheckpointSaved,
    /// A resumed run has taken its state back from a checkpoint. A run that was never killed has no such event.
    CheckpointLoaded,
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
            Self::BatchReady => "batch-ready",
            Self::BackwardStart => "backward-start",
            Self::MicroBatchEnd => "micro-batch-end",
            Self::GradientsReady => "gradients-ready",
            Self::GradientsClipped => "gradients-clipped",
            Self::WeightsUpdated => "weights-updated",
            Self::EvaluationStart => "evaluation-start",
            Self::EvaluationBatchEnd => "evaluation-batch-end",
            Self::Evaluated => "evaluated",
            Self::StepEnd => "step-end",
            Self::CheckpointSaved => "checkpoint-saved",
            Self::CheckpointLoaded => "checkpoint-loaded",
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

    /// Whether the optimisers have yet to move in the step of this moment: its weights are those that the step's losses belong to.
    pub fn is_before_update(self) -> bool {
        self.axis() == Axis::MicroBatches || self == Self::StepStart || self.has_gradients()
    }

    /// Whether this moment and what it shows exist only while models are trained, so that a measurement of a given pair has none of it.
    pub fn needs_training(self) -> bool {
        let of_passes = matches!(
            self,
            Self::BatchReady | Self::BackwardStart | Self::WeightsUpdated
        );
        let of_evaluation = matches!(self, Self::EvaluationStart | Self::EvaluationBatchEnd);
        self.has_gradients() || of_passes || of_evaluation || self == Self::CheckpointLoaded
    }

    /// Whether no plan knows if this moment comes.
    pub fn is_unplanned(self) -> bool {
        matches!(self, Self::RunFailed | Self::CheckpointLoaded)
    }

    /// Whether a hook that listens to it is called whenever it comes, whatever its cadence.
    pub fn ignores_cadences(self) -> bool {
        self.ends_the_run() || self.is_unplanned()
    }

    /// The event of this name.
    pub fn named(name: &str) -> Option<Self> {
        let name = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(name);
        Self::deserialize(name).ok()
    }

    /// What the x axis of a report at this moment counts.
    pub fn axis(self) -> Axis {
        match self {
            Self::BatchReady | Self::BackwardStart | Self::MicroBatchEnd => Axis::MicroBatches,
            Self::EvaluationBatchEnd => Axis::EvaluationBatches,
            _ => Axis::Steps,
        }
    }
}

/// What the x axis of a report counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// Optimiser steps.
    Steps,
    /// Micro-batches since the start of the run. The one at hand counts.
    MicroBatches,
    /// Batches of held-out text since the start of the run. The one at hand counts.
    EvaluationBatches,
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
