//! `slurm.json`: the array jobs that a sweep has given to Slurm. Any command on the sweep's folder finds them there.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::job::Job;
use crate::diagnostic::Diagnostic;
use crate::record::RecordError;

/// The file's name in a sweep's folder.
const FILE: &str = "slurm.json";

/// The jobs of a sweep that may be in the queue.
pub(super) struct Ledger {
    path: PathBuf,
    pub submissions: Vec<Submission>,
}

/// An array job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Submission {
    /// What the job is called. No other has this name.
    pub name: String,
    /// The job. Without it, the command ended while sbatch was at work, and the queue tells whether it was taken.
    pub job: Option<Job>,
    /// The name of the run of each task, by the task's index.
    pub runs: Vec<String>,
}

impl Ledger {
    /// Reads the file of a sweep's folder. Where it is missing, nothing was submitted.
    ///
    /// # Errors
    /// When it cannot be read, or is not what this program writes.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        let wrong = |why: String| {
            let message = format!(
                "{why}; it says which runs are in Slurm's queue. See by squeue that none is, then remove it"
            );
            Diagnostic::file(path.display().to_string(), message)
        };
        let submissions = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| wrong(format!("not what a sweep writes ({error})")))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(wrong(format!("it cannot be read ({error})")).into()),
        };
        Ok(Self { path, submissions })
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn write(&self) -> anyhow::Result<()> {
        let text = format!("{}\n", serde_json::to_string_pretty(&self.submissions)?);
        crate::atomic::write(&self.path, text.as_bytes()).map_err(|source| RecordError::Io {
            path: self.path.clone(),
            source,
        })?;
        Ok(())
    }
}
