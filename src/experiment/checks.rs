//! Checks of an experiment's values before anything is read: numbers must be in a range that memory and arithmetic can handle, and names
//! must not be empty.

use super::{Keep, Written};
use crate::diagnostic::Diagnostic;
use crate::model::Role;
use crate::train::Objective;

/// The most milestones that may wait.
const QUEUE: usize = 1024;
/// The most blocks per micro-batch.
const BATCH: usize = 4096;
/// The most micro-batches per step.
const ACCUMULATION: usize = 1 << 20;

const AT_LEAST_ONE: &str = "must be at least 1";

impl Written {
    /// Checks all values and refuses the first that cannot be used.
    ///
    /// # Errors
    /// A diagnostic at its key.
    pub(super) fn check_values(&self) -> Result<(), Diagnostic> {
        let (train, data) = (&self.experiment.train, &self.experiment.data);
        self.check_names()?;
        self.contrasts()?;
        self.text_source()?;
        self.check_counts()?;
        self.check_rates()?;
        self.check_objectives()?;
        self.check_lora()?;
        let dropout = train.dropout.unwrap_or(0.0);
        self.check(
            &["train", "dropout"],
            (0.0..1.0).contains(&dropout),
            "must be at least 0 and below 1",
        )?;
        self.check(
            &["train", "models"],
            !train.models.is_empty(),
            "name `main`, `assistant`, or both",
        )?;
        let keeps = match &train.keep {
            Keep::Last(count) => *count >= 1,
            Keep::Word(word) => word == "all",
        };
        self.check(&["train", "keep"], keeps, "must be at least 1, or \"all\"")?;
        for (path, limit) in [
            (["train", "evaluate_blocks"], train.evaluate_blocks),
            (["data", "train_articles"], data.train_articles),
            (["data", "test_articles"], data.test_articles),
            (["data", "blocks"], data.blocks),
        ] {
            self.check(&path, limit != Some(0), AT_LEAST_ONE)?;
        }
        let sound = data
            .subset
            .is_none_or(|subset| subset.share > 0.0 && subset.share <= 1.0);
        self.check(
            &["data", "subset", "share"],
            sound,
            "must be above 0 and at most 1",
        )?;
        Ok(())
    }

    /// Checks names of files and folders. An empty name would mean the experiment's own folder.
    fn check_names(&self) -> Result<(), Diagnostic> {
        let experiment = &self.experiment;
        for (path, name) in [
            (["models", "main"], &experiment.models.main),
            (["models", "assistant"], &experiment.models.assistant),
            (["templates", "file"], &experiment.templates.file),
        ] {
            self.check(&path, !name.trim().is_empty(), "names nothing")?;
        }
        let folder = experiment.data.folder.as_ref();
        let named = folder.is_none_or(|folder| !folder.trim().is_empty());
        self.check(&["data", "folder"], named, "names nothing")
    }

    /// Checks counts of things that are in memory at the same time.
    fn check_counts(&self) -> Result<(), Diagnostic> {
        let train = &self.experiment.train;
        for (path, number, most, why) in [
            (
                &["queue"][..],
                self.experiment.queue,
                QUEUE,
                ": each milestone that waits keeps a copy of the weights",
            ),
            (
                &["train", "batch"],
                train.batch,
                BATCH,
                ": a micro-batch is in memory as a whole; take more `accumulation`",
            ),
            (
                &["train", "accumulation"],
                train.accumulation,
                ACCUMULATION,
                "",
            ),
        ] {
            self.check(path, number >= 1, AT_LEAST_ONE)?;
            self.check(
                path,
                number <= most,
                &format!("must be at most {most}{why}"),
            )?;
        }
        self.check(&["train", "block"], train.block >= 2, "must be at least 2")
    }

    /// Checks the optimiser's numbers, which must suit tensors of single precision.
    fn check_rates(&self) -> Result<(), Diagnostic> {
        let train = &self.experiment.train;
        let held = |value: f64| value >= 0.0 && (value as f32).is_finite();
        self.check(
            &["train", "lr"],
            train.lr >= 0.0,
            "must not be negative (0 trains nothing)",
        )?;
        self.check(
            &["train", "lr"],
            held(train.lr) && (train.lr as f32 > 0.0 || train.lr == 0.0),
            "single precision cannot hold this: it goes from 1.4e-45 to 3.4e38",
        )?;
        self.check(
            &["train", "clip"],
            train.clip.is_finite() && train.clip >= 0.0,
            "must not be negative (0 does not clip)",
        )?;
        let decay = ["train", "weight_decay"];
        self.check(
            &decay,
            held(train.weight_decay),
            "must be at least 0 and at most 3.4e38",
        )?;
        self.check(
            &decay,
            train.weight_decay * train.lr <= 1.0,
            "times `lr` it must be at most 1: a step would take more than all of a weight away",
        )
    }

    /// Numbers of the objectives that have some.
    fn check_objectives(&self) -> Result<(), Diagnostic> {
        for role in Role::BOTH {
            if let Objective::Distil(distil) = self.experiment.train.objective.get(role) {
                let temperature = distil.temperature as f32;
                self.check(
                    &["train", "objective", role.as_str(), "temperature"],
                    (1e-3..=1e3).contains(&temperature),
                    "must be from 0.001 to 1000",
                )?;
                self.check(
                    &["train", "objective", role.as_str(), "text"],
                    (0.0..1.0).contains(&distil.text),
                    "must be at least 0 and below 1 (all of it is kind = \"text\")",
                )?;
            }
        }
        Ok(())
    }

    fn check(&self, path: &[&str], sound: bool, message: &str) -> Result<(), Diagnostic> {
        if sound {
            return Ok(());
        }
        Err(self.wrong(path, message))
    }
}
