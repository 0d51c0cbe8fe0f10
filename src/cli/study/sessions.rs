//! The runs of a study for TensorBoard's page *HParams*: a session each, with its arm and its seed, and as metrics how much the gap moved.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::SystemTime;

use crate::record::RecordError;
use crate::report::RecordedRun;
use crate::report::study::{Arm, Outcome, Summary};
use crate::tensorboard::{Entry, EventsFile, HparamValue, Writer};

/// The folder of the sessions in that of the study. Runs have event files of their own; TensorBoard shows one list of hyperparameters for a
/// folder, so a study's stand apart.
pub(super) const FOLDER: &str = "tensorboard";

/// Entries that wait to be written.
const QUEUE: usize = 16;

/// Writes a session for each run, and removes those of runs that are not in the study any more.
///
/// # Errors
/// When a file cannot be written or removed.
pub(super) fn write(folder: &Path, arms: &[Arm], summary: &Summary) -> anyhow::Result<()> {
    let folder = folder.join(FOLDER);
    let mut written = BTreeSet::new();
    for (index, arm) in arms.iter().enumerate() {
        for run in &arm.runs {
            let name = super::run_name(arm.name, run.seed());
            session(&folder.join(&name), index, arm, run, summary)?;
            written.insert(name);
        }
    }
    remove_others(&folder, &written)
}

/// Writes one session. What an earlier call wrote of it is emptied: TensorBoard reads on in the newest file.
fn session(
    folder: &Path,
    index: usize,
    arm: &Arm,
    run: &RecordedRun,
    summary: &Summary,
) -> anyhow::Result<()> {
    fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
    EventsFile::empty_all(folder)?;
    let writer = Writer::create(folder, QUEUE)?;
    writer.send(Entry::Hparams {
        hparams: hparams(arm, run.seed()),
        metrics: summary.outcomes.iter().flat_map(tags).collect(),
    })?;
    for outcome in &summary.outcomes {
        let (step, values) = moved(outcome, index, run);
        for (tag, value) in tags(outcome).into_iter().zip(values) {
            if let Some((step, value)) = step.zip(value) {
                writer.send(Entry::Scalar {
                    tag,
                    step,
                    wall: SystemTime::now(),
                    value,
                })?;
            }
        }
    }
    writer.send(Entry::SessionEnd { success: true })?;
    Ok(writer.close()?)
}

/// The tags of a contrast: the change of the gap, and what it is beyond that of the baseline.
fn tags(outcome: &Outcome) -> [String; 2] {
    let contrast = &outcome.contrast.names.name;
    ["change", "beyond_baseline"].map(|what| format!("study/{contrast}/{what}"))
}

/// The last step of a run, and its numbers in a contrast, those that are there.
fn moved(outcome: &Outcome, arm: usize, run: &RecordedRun) -> (Option<u64>, [Option<f64>; 2]) {
    let (arm, own) = (&outcome.arms[arm], run.name());
    let mut changes = arm.change.iter().flat_map(|pooled| &pooled.changes);
    let gap = changes.find(|(name, _)| *name == own).map(|(_, gap)| gap);
    let beyond = arm.beyond.as_ref().and_then(|beyond| beyond.as_ref().ok());
    let beyond = beyond.and_then(|beyond| {
        let place = beyond.seeds.iter().position(|seed| *seed == run.seed())?;
        beyond.by_seed.get(place).copied()
    });
    let change = gap.map(|gap| gap.change.difference);
    (gap.map(|gap| gap.steps[1]), [change, beyond])
}

fn hparams(arm: &Arm, seed: u64) -> Vec<(String, HparamValue)> {
    let sets = match arm.sets {
        [] => "nothing".to_owned(),
        sets => sets.join(", "),
    };
    let hparams = [
        ("arm", HparamValue::Text(arm.name.to_owned())),
        ("seed", HparamValue::Number(seed as f64)),
        ("sets", HparamValue::Text(sets)),
    ];
    hparams.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Removes the folders of sessions that were not written.
fn remove_others(folder: &Path, written: &BTreeSet<String>) -> anyhow::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(failed(folder, source).into()),
    };
    for entry in entries {
        let path = entry.map_err(|source| failed(folder, source))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !written.contains(&*name) && path.is_dir() {
            fs::remove_dir_all(&path).map_err(|source| failed(&path, source))?;
        }
    }
    Ok(())
}

fn failed(path: &Path, source: std::io::Error) -> RecordError {
    RecordError::Io {
        path: path.to_owned(),
        source,
    }
}
