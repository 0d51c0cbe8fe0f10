//! The events of a run, in the order in which they happen.

use serde::{Deserialize, Serialize};

/// A moment of a run at which hooks can be called. This is the loop, as [`LOOP`] has it:
///
/// ```text
/// [CheckpointLoaded]                        when a run is resumed, before its next step
/// [EvaluationStart]                         when `train.evaluate` is due at the start
///     for each held-out batch
///         EvaluationBatchEnd
/// RunStart                                  step 0: the pair before training
/// [Evaluated]                               the result of the evaluation at the start
/// [Intervened]                              when an intervention changes the training from the start
/// [CheckpointSaved]                         when an intervention may go back to a checkpoint
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
///         [EvaluationStart]                 when `train.evaluate` is due or a hook asked for it
///             for each held-out batch
///                 EvaluationBatchEnd
///             Evaluated
///         StepEnd
///         [Intervened]                      when an intervention changes the training
///         [EvaluationStart]                 when an intervention ended the epoch and `train.evaluate` is due
///             for each held-out batch
///                 EvaluationBatchEnd
///             Evaluated
///         [EpochEnd]                        after the last step of an epoch
///         [CheckpointSaved]                 when `train.save` is due or a hook asked for it
/// [CheckpointSaved]                         when `train.save` is due and the run ends early
/// [EvaluationStart]                         when `train.evaluate` is due and the run ends early
///     for each held-out batch
///         EvaluationBatchEnd
///     Evaluated
/// RunEnd                                    the last event of a run that ends well
/// [RunFailed]                               the last event of a run that fails
/// ```
///
/// An intervention that goes back to a checkpoint undoes the steps since then: their events happen again, and what was recorded at them is
/// cut off. It changes what follows, so Intervened is the next event. A run that stops early (a hook's request, Ctrl-C, `max_steps`) finishes its step and skips what is left. The epoch in which it stops has
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
    /// Interventions have changed the training: at the end of a step, or before the first. After a return to a checkpoint, its step is that
    /// of the checkpoint. Hooks that listen to it are called whenever it comes, once a step.
    Intervened,
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
            Self::Intervened => "intervened",
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
        let of_the_state = matches!(self, Self::CheckpointLoaded | Self::Intervened);
        self.has_gradients() || of_passes || of_evaluation || of_the_state
    }

    /// Whether no plan knows if this moment comes.
    pub fn is_unplanned(self) -> bool {
        matches!(
            self,
            Self::RunFailed | Self::CheckpointLoaded | Self::Intervened
        )
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

/// What the loop counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Passes over the training blocks.
    Epoch,
    /// Optimiser steps.
    Step,
    /// Forward and backward passes.
    MicroBatch,
    /// Passes over the held-out blocks of an evaluation.
    EvaluationBatch,
}

impl Unit {
    /// The word for one of them.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Epoch => "epoch",
            Self::Step => "step",
            Self::MicroBatch => "micro-batch",
            Self::EvaluationBatch => "held-out batch",
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
    /// An event that does not happen every time. Without it, the deeper lines below do not happen either.
    Sometimes(Event),
}

/// A line of the loop.
#[derive(Debug, Clone, Copy)]
pub struct LoopLine {
    /// The number of lines that it is part of: loops, and events that do not happen every time.
    pub depth: usize,
    /// What happens.
    pub what: What,
    /// When, or what is special about that moment; may be empty.
    pub about: &'static str,
    /// Whether it is there only in a run with interventions.
    pub by_interventions: bool,
}

const fn line(depth: usize, what: What, about: &'static str) -> LoopLine {
    LoopLine {
        depth,
        what,
        about,
        by_interventions: false,
    }
}

/// A line that is there only in a run with interventions.
const fn also(depth: usize, what: What, about: &'static str) -> LoopLine {
    LoopLine {
        by_interventions: true,
        ..line(depth, what, about)
    }
}

/// The loop, line by line, in the order in which everything happens. It is what the doc comment of [`Event`] shows, and what
/// `milepost plan` draws. Tests compare it with that comment, with the variants of `Event`, and with the events of runs.
#[rustfmt::skip]
pub const LOOP: &[LoopLine] = {
    use Event::*;
    use What::*;
    &[
        line(0, Sometimes(CheckpointLoaded), "when a run is resumed, before its next step"),
        line(0, Sometimes(EvaluationStart), "when `train.evaluate` is due at the start"),
        line(1, Each(Unit::EvaluationBatch), ""),
        line(2, Always(EvaluationBatchEnd), ""),
        line(0, Always(RunStart), "step 0: the pair before training"),
        line(0, Sometimes(Evaluated), "the result of the evaluation at the start"),
        also(0, Sometimes(Intervened), "when an intervention changes the training from the start"),
        also(0, Sometimes(CheckpointSaved), "when an intervention may go back to a checkpoint"),
        line(0, Each(Unit::Epoch), ""),
        line(1, Always(EpochStart), ""),
        line(1, Each(Unit::Step), ""),
        line(2, Always(StepStart), ""),
        line(2, Each(Unit::MicroBatch), ""),
        line(3, Always(BatchReady), "its rows are fetched"),
        line(3, Work("forward pass of each trained model"), ""),
        line(3, Always(BackwardStart), ""),
        line(3, Work("backward pass of each trained model"), ""),
        line(3, Always(MicroBatchEnd), ""),
        line(2, Always(GradientsReady), "all gradients summed, before clipping"),
        line(2, Always(GradientsClipped), "after clipping, before the optimisers move"),
        line(2, Work("optimiser step of each trained model"), ""),
        line(2, Always(WeightsUpdated), ""),
        line(2, Sometimes(EvaluationStart), "when `train.evaluate` is due or a hook asked for it"),
        line(3, Each(Unit::EvaluationBatch), ""),
        line(4, Always(EvaluationBatchEnd), ""),
        line(3, Always(Evaluated), ""),
        line(2, Always(StepEnd), ""),
        also(2, Sometimes(Intervened), "when an intervention changes the training"),
        also(2, Sometimes(EvaluationStart), "when an intervention ended the epoch and `train.evaluate` is due"),
        also(3, Each(Unit::EvaluationBatch), ""),
        also(4, Always(EvaluationBatchEnd), ""),
        also(3, Always(Evaluated), ""),
        line(2, Sometimes(EpochEnd), "after the last step of an epoch"),
        line(2, Sometimes(CheckpointSaved), "when `train.save` is due or a hook asked for it"),
        line(0, Sometimes(CheckpointSaved), "when `train.save` is due and the run ends early"),
        line(0, Sometimes(EvaluationStart), "when `train.evaluate` is due and the run ends early"),
        line(1, Each(Unit::EvaluationBatch), ""),
        line(2, Always(EvaluationBatchEnd), ""),
        line(1, Always(Evaluated), ""),
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
