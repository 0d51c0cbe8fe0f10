//! `outcome.json`: how a run ended.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::{RecordError, Unusable};
use super::folder::RunDirectory;
use super::layout::OUTCOME;
use crate::checksum::End;
use crate::clock::Jump;
use crate::intervention::Done;

/// How a run ended. A run without `outcome.json` is still running or was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stop {
    /// All steps are done, every weight is finite, and every hook that was due reported.
    Complete,
    /// All steps are done, but a hook that was due did not report.
    Incomplete,
    /// It was stopped by Ctrl-C and can be resumed.
    Interrupted,
    /// A hook asked it to stop.
    Requested,
    /// It failed with an error that would happen again.
    Failed,
}

impl Stop {
    /// The name, as in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Incomplete => "incomplete",
            Self::Interrupted => "interrupted",
            Self::Requested => "requested",
            Self::Failed => "failed",
        }
    }
}

/// The content of `outcome.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// How the run ended.
    pub stop: Stop,
    /// Why it ended so, unless it is complete.
    #[serde(default)]
    pub reason: Option<String>,
    /// Steps done.
    pub steps: u64,
    /// The length and checksum of `milestones.jsonl` at the end; None in runs of older versions.
    #[serde(default)]
    pub milestones: Option<End>,
    /// Failures of hooks, including those before a resume.
    #[serde(default)]
    pub hooks: Vec<HookFailure>,
    /// What interventions have done to the run, apart from what was undone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interventions: Vec<Done>,
    /// The data that they have passed over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jumps: Vec<Jump>,
}

impl Ended {
    /// Whether a hook failed in the run, or one that was due did not report.
    pub fn hooks_failed(&self) -> bool {
        self.stop == Stop::Incomplete || !self.hooks.is_empty()
    }

    /// Reads the outcome of a run. None when there is none.
    ///
    /// # Errors
    /// When the file cannot be read or is not an outcome.
    pub fn read(run: &Path) -> Result<Option<Self>, Unusable> {
        let path = run.join(OUTCOME);
        let unusable = |message: String| Unusable::new(&path, &message);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| unusable(format!("not an outcome: {error}"))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unusable(error.to_string())),
        }
    }

    /// Writes the file into a run's folder. From then on the run is over.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, directory: &RunDirectory) -> Result<(), RecordError> {
        let text = serde_json::to_string_pretty(self);
        let text = text.map_err(|error| RecordError::io(Path::new(OUTCOME), error.into()))?;
        directory.write(OUTCOME, format!("{text}\n").as_bytes())
    }
}

/// A failure of a hook that the run survived.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HookFailure {
    /// The hook's instance name.
    pub name: String,
    /// The step of the milestone.
    pub step: u64,
    /// The error's message.
    pub message: String,
}
