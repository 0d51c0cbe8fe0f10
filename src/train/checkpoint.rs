//! Checkpoints: weights, optimisers, clock and hook state in one directory that appears whole or not at all.
//!
//! Data order, dropout and hook randomness are functions of the seed and the clock, so no generator has to be saved.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use burn::optim::ModuleOptimizer;
use serde::{Deserialize, Serialize};

use super::Learner;
use super::dispatcher::HookState;
use super::outcome::RunError;
use super::recorder::{RecordError, Span};
use super::run_directory::RunDirectory;
use crate::clock::Clock;
use crate::model::{Gpt2, Role};

/// Everything of a checkpoint that is not a tensor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub clock: Clock,
    /// Bytes of `milestones.jsonl` that belong to the run up to here.
    pub lines: u64,
    /// First and last value of every tag, for the summary.
    pub spans: HashMap<String, Span>,
    pub hooks: BTreeMap<String, HookState>,
    /// Whether the run was over: then there is nothing to resume.
    pub ended: bool,
}

/// Saves `checkpoints/step-<step>`.
pub(super) fn save(
    directory: &RunDirectory,
    learners: &BTreeMap<Role, Learner>,
    state: &State,
) -> Result<PathBuf, RunError> {
    let name = format!("checkpoints/step-{:08}", state.clock.step.0);
    directory.publish(&name, |folder| {
        for (role, learner) in learners {
            let model = folder.join(role.as_str());
            std::fs::create_dir(&model).map_err(|source| io(&model, source))?;
            learner.model.save(&model)?;
            let path = folder.join(format!("{role}.optimiser.bpk"));
            let bytes = learner.optimiser.into_bytes();
            let bytes = bytes.map_err(|error| checkpoint_error(&path, &error))?;
            crate::atomic::write(&path, &bytes).map_err(|source| io(&path, source))?;
        }
        let path = folder.join("state.json");
        let json = serde_json::to_vec_pretty(state);
        let json = json.map_err(|error| checkpoint_error(&path, &error))?;
        crate::atomic::write(&path, &json).map_err(|source| io(&path, source))?;
        Ok(())
    })
}

/// The newest checkpoint of a run, if it has one.
pub(super) fn newest(directory: &Path) -> Result<Option<PathBuf>, RunError> {
    Ok(all(directory)?.pop())
}

/// All checkpoints of a run, the oldest first.
pub(super) fn all(directory: &Path) -> Result<Vec<PathBuf>, RunError> {
    let folder = directory.join("checkpoints");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(io(&folder, source).into()),
    };
    let names = entries.flatten().map(|entry| entry.path());
    let mut checkpoints: Vec<PathBuf> = names
        .filter(|path| path.join("state.json").is_file())
        .filter(|path| {
            let name = path.file_name().map(|name| name.to_string_lossy());
            name.is_some_and(|name| name.starts_with("step-"))
        })
        .collect();
    checkpoints.sort_unstable();
    Ok(checkpoints)
}

/// Reads a checkpoint's state.
pub(super) fn read_state(checkpoint: &Path) -> Result<State, RunError> {
    let path = checkpoint.join("state.json");
    let broken = |error: &dyn std::fmt::Display| {
        let folder = checkpoint.display();
        let advice = format!("{error}; remove the folder {folder} to do without this checkpoint");
        checkpoint_error(&path, &advice)
    };
    let bytes = std::fs::read(&path).map_err(|error| broken(&error))?;
    serde_json::from_slice(&bytes).map_err(|error| broken(&error))
}

/// Puts a checkpoint's weights and moments into the learners.
pub(super) fn restore(
    checkpoint: &Path,
    learners: &mut BTreeMap<Role, Learner>,
) -> Result<(), RunError> {
    for (role, learner) in learners {
        let device = learner.model.device();
        learner.model = Gpt2::load(&checkpoint.join(role.as_str()), &device)?;
        let path = checkpoint.join(format!("{role}.optimiser.bpk"));
        let bytes = std::fs::read(&path).map_err(|error| checkpoint_error(&path, &error))?;
        let optimiser: ModuleOptimizer = learner.optimiser.clone();
        let loaded = optimiser.from_bytes(burn::tensor::Bytes::from_bytes_vec(bytes));
        learner.optimiser = loaded.map_err(|error| checkpoint_error(&path, &error))?;
    }
    Ok(())
}

fn io(path: &Path, source: std::io::Error) -> RecordError {
    RecordError::Io {
        path: path.to_owned(),
        source,
    }
}

fn checkpoint_error(path: &Path, error: &dyn std::fmt::Display) -> RunError {
    RunError::Checkpoint {
        path: path.to_owned(),
        message: error.to_string(),
    }
}
