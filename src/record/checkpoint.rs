//! Checkpoints: weights, optimisers and the run's progress in one folder, with the checksum of every file. The folder appears complete or
//! not at all.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::error::{RecordError, Unusable};
use super::folder::RunDirectory;
use super::layout::CHECKPOINTS;
use super::progress::{FORM, Progress};
use crate::checksum::Sum;
use crate::model::Role;

/// The file with the run's progress.
const STATE: &str = "state.json";
/// The file with the checksums of all others, in the format of `sha256sum`.
const SUMS: &str = "SHA256SUMS";
/// The prefix of a checkpoint's name when it could not be used.
const DAMAGED: &str = "damaged-";

/// A callback that writes one file of a checkpoint: its name and bytes.
pub type Put<'a, E> = dyn FnMut(&str, &[u8]) -> Result<(), E> + 'a;

/// The folder with the weights of a model, in a checkpoint and in the folder of models.
pub fn model_folder(role: Role) -> &'static str {
    role.as_str()
}

/// The file with the optimiser of a model.
pub fn optimiser_file(role: Role) -> String {
    format!("{role}.optimiser.safetensors")
}

/// The file with the scale of a model's loss, in half precision.
pub fn loss_scale_file(role: Role) -> String {
    format!("{role}.loss_scale.json")
}

/// A checkpoint that is being written.
struct Draft {
    aside: TempDir,
    sums: String,
    files: Vec<(PathBuf, File)>,
}

/// Writes a checkpoint of `progress` and the files that `models` passes on. Syncs the files of the `record` that the checkpoint refers to,
/// then its own files, and gives its folder the final name. Returns the folder.
///
/// # Errors
/// Those of `models`, and when the file system refuses; then there is no checkpoint.
pub fn write<E: From<RecordError>>(
    directory: &RunDirectory,
    models: impl FnOnce(&mut Put<E>) -> Result<(), E>,
    progress: &Progress,
    record: &[PathBuf],
) -> Result<PathBuf, E> {
    let mut draft = Draft {
        aside: directory.aside(&format!("{CHECKPOINTS}/new"))?,
        sums: String::new(),
        files: Vec::new(),
    };
    models(&mut |name, bytes| Ok(draft.put(name, bytes)?))?;
    let json = serde_json::to_vec_pretty(progress);
    draft.put(
        STATE,
        &json.map_err(|error| RecordError::io(Path::new(STATE), error.into()))?,
    )?;
    let sums = std::mem::take(&mut draft.sums);
    draft.put(SUMS, sums.as_bytes())?;
    for path in record {
        let synced = File::open(path).and_then(|file| file.sync_all());
        synced.map_err(|source| RecordError::io(path, source))?;
    }
    let aside = draft.synced()?;
    let name = format!("{CHECKPOINTS}/{}", name(progress.clock.step.0));
    Ok(directory.put_in_place(aside, &name)?)
}

impl Draft {
    /// Writes a file and records its checksum.
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), RecordError> {
        let path = self.aside.path().join(name);
        let write = || -> std::io::Result<File> {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let mut file = File::create(&path)?;
            file.write_all(bytes)?;
            Ok(file)
        };
        let file = write().map_err(|source| RecordError::io(&path, source))?;
        self.files.push((path, file));
        let sum = crate::checksum::sha256(bytes);
        self.sums.push_str(&format!("{sum}  {name}\n"));
        Ok(())
    }

    /// Syncs all files and their folders to the disk.
    fn synced(self) -> Result<TempDir, RecordError> {
        for (path, file) in self.files {
            file.sync_all()
                .map_err(|source| RecordError::io(&path, source))?;
            if let Some(folder) = path.parent() {
                crate::atomic::sync_directory(folder)
                    .map_err(|source| RecordError::io(folder, source))?;
            }
        }
        Ok(self.aside)
    }
}

/// The name of the checkpoint after a step.
fn name(step: u64) -> String {
    format!("step-{step:08}")
}

/// Removes all checkpoints except the newest `keep` and those of the steps `spared`.
///
/// # Errors
/// When one cannot be removed.
pub fn prune(
    directory: &RunDirectory,
    keep: usize,
    spared: [Option<u64>; 2],
) -> Result<(), RecordError> {
    let all = all(directory.path())?;
    let count = all.len().saturating_sub(keep);
    for checkpoint in &all[..count] {
        if !spared.contains(&Some(checkpoint.step)) {
            checkpoint.discard(directory)?;
        }
    }
    Ok(())
}

/// Removes all checkpoints of later steps than `step`.
///
/// # Errors
/// When one cannot be removed.
pub fn discard_after(directory: &RunDirectory, step: u64) -> Result<(), RecordError> {
    let all = all(directory.path())?.into_iter();
    let mut later = all.filter(|checkpoint| checkpoint.step > step);
    later.try_for_each(|checkpoint| checkpoint.discard(directory))
}

/// A checkpoint on disk.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its step, taken from its name.
    pub step: u64,
    /// Its folder.
    pub path: PathBuf,
}

/// All checkpoints of a run, the oldest first. A folder with a checkpoint's name is complete.
///
/// # Errors
/// When the folder of checkpoints exists and cannot be read.
pub fn all(directory: &Path) -> Result<Vec<Found>, RecordError> {
    let folder = directory.join(CHECKPOINTS);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(RecordError::io(&folder, source)),
    };
    let mut found: Vec<Found> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let step = name.to_string_lossy().strip_prefix("step-")?.parse().ok()?;
            let path = entry.path();
            Some(Found { step, path })
        })
        .collect();
    found.sort_unstable_by_key(|one| one.step);
    Ok(found)
}

/// The newest checkpoint in a run's folder. None when there is none or the folder cannot be read.
pub fn newest(directory: &Path) -> Option<Found> {
    all(directory).ok()?.pop()
}

impl Found {
    fn discard(&self, directory: &RunDirectory) -> Result<(), RecordError> {
        directory.discard(&format!("{CHECKPOINTS}/{}", name(self.step)))
    }

    /// Compares every file with its checksum, and returns the run's progress.
    ///
    /// # Errors
    /// When a file cannot be read, is not what was saved, or has no checksum.
    pub fn verified(&self) -> Result<Progress, Unusable> {
        let sums = self.read(SUMS)?;
        let path = self.path.join(SUMS);
        let mut named = BTreeSet::from([SUMS.to_owned()]);
        for line in sums.lines() {
            let (expected, name) = line
                .split_once("  ")
                .filter(|(_, name)| is_inside(name))
                .ok_or_else(|| Unusable::new(&path, &"its checksums cannot be read"))?;
            let path = self.path.join(name);
            let sum = Sum::of_file(&path).map_err(|error| Unusable::new(&path, &error))?;
            if sum.end().sha256 != expected {
                return Err(Unusable::new(&path, &"it is not what was saved (SHA-256)"));
            }
            named.insert(name.to_owned());
        }
        for name in self.files() {
            if !named.contains(&name) {
                let path = self.path.join(name);
                return Err(Unusable::new(&path, &"it has no checksum in SHA256SUMS"));
            }
        }
        let path = self.path.join(STATE);
        let json = self.read(STATE)?;
        let progress: Progress =
            serde_json::from_str(&json).map_err(|error| Unusable::new(&path, &error))?;
        if progress.form != FORM {
            let message = "another version of milepost saved it";
            return Err(Unusable::new(&path, &message));
        }
        if progress.clock.step.0 != self.step {
            let message = format!("it is of step {}", progress.clock.step);
            return Err(Unusable::new(&path, &message));
        }
        Ok(progress)
    }

    /// The names of its files, including those in the models' folders.
    fn files(&self) -> Vec<String> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            match std::fs::read_dir(entry.path()) {
                Err(_) => names.push(name),
                Ok(inner) => names.extend(
                    inner
                        .flatten()
                        .map(|inner| format!("{name}/{}", inner.file_name().to_string_lossy())),
                ),
            }
        }
        names
    }

    fn read(&self, name: &str) -> Result<String, Unusable> {
        let path = self.path.join(name);
        std::fs::read_to_string(&path).map_err(|error| Unusable::new(&path, &error))
    }

    /// Renames a checkpoint that cannot be used, so that it is kept for inspection but not taken for a checkpoint.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn set_aside(&self) -> Result<(), RecordError> {
        let aside = self
            .path
            .with_file_name(format!("{DAMAGED}{}", name(self.step)));
        let moved = if aside.exists() {
            std::fs::remove_dir_all(&self.path)
        } else {
            std::fs::rename(&self.path, &aside)
        };
        moved.map_err(|source| RecordError::io(&self.path, source))
    }
}

/// Whether a name is a path inside the checkpoint's folder.
fn is_inside(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    parts.all(|part| matches!(part, std::path::Component::Normal(_)))
}
