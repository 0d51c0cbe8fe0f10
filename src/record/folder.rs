//! The folder of a run. Files and folders in it appear complete or not at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::error::RecordError;
use super::layout::{CHECKPOINTS, LOCK, MANIFEST, MODELS, REPLAYS, TEMPLATES};
use super::lock::lock;

fn is_hidden(entry: &fs::DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with('.')
}

/// The prefix of a folder's name while it is written or removed.
const UNFINISHED: &str = ".unfinished-";
/// The prefix of a folder's name while it is replaced.
const REPLACED: &str = ".replaced-";

/// The folders of a run in which temporary files and folders can be.
const FOLDERS: [&str; 4] = ["", CHECKPOINTS, MODELS, TEMPLATES];

/// Removes temporary files and folders that never got their final names. Restores a folder whose replacement was not finished.
fn recover(run: &Path) -> io::Result<()> {
    for folder in FOLDERS {
        let folder = run.join(folder);
        let entries = fs::read_dir(&folder).into_iter().flatten();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let path = entry.path();
            if let Some(final_name) = name.strip_prefix(REPLACED) {
                let place = folder.join(final_name);
                if place.exists() {
                    fs::remove_dir_all(path)?;
                } else {
                    fs::rename(path, place)?;
                }
            } else if name.starts_with(UNFINISHED) {
                fs::remove_dir_all(path)?;
            } else if name.starts_with(".tmp") {
                fs::remove_file(path)?;
            }
        }
    }
    Ok(())
}

/// The directory of one run. No other process can write into it while this value lives.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    _lock: File,
}

impl RunDirectory {
    /// Creates the directory of a new run. An existing one is used if it holds only what a process leaves that was killed before its run
    /// began.
    ///
    /// # Errors
    /// When the directory is taken or cannot be created.
    pub fn create(path: &Path) -> Result<Self, RecordError> {
        fs::create_dir_all(path).map_err(|source| RecordError::io(path, source))?;
        let directory = Self::existing(path)?;
        if Self::is_taken(path) {
            return Err(RecordError::io(path, io::ErrorKind::AlreadyExists.into()));
        }
        Ok(directory)
    }

    /// Whether there is a run, or any other file, at `path`. A manifest without an experiment and files whose names begin with a dot do not
    /// count: a process leaves those when it is killed before its run began.
    pub fn is_taken(path: &Path) -> bool {
        match fs::read_dir(path) {
            Ok(entries) => entries
                .flatten()
                .any(|entry| !is_hidden(&entry) && entry.file_name() != MANIFEST),
            Err(_) => path.exists(),
        }
    }

    /// Opens the directory of an existing run and removes what a killed process left unfinished.
    ///
    /// # Errors
    /// When another process is writing into it, or when it cannot be written.
    pub fn existing(path: &Path) -> Result<Self, RecordError> {
        let lock = lock(path)?;
        recover(path).map_err(|source| RecordError::io(path, source))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file of the run atomically.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RecordError> {
        let path = self.path.join(name);
        crate::atomic::write(&path, bytes).map_err(|source| RecordError::io(&path, source))
    }

    /// Writes a file into a folder of the run atomically, and creates the folder if need be.
    ///
    /// # Errors
    /// When the folder or the file cannot be written.
    pub fn write_below(&self, name: &str, bytes: &[u8]) -> Result<(), RecordError> {
        if let Some(folder) = self.path.join(name).parent() {
            fs::create_dir_all(folder).map_err(|source| RecordError::io(folder, source))?;
        }
        self.write(name, bytes)
    }

    /// Writes a file of the run, unless it has the same content already.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn update(&self, name: &str, bytes: &[u8]) -> Result<(), RecordError> {
        match fs::read(self.path.join(name)) {
            Ok(there) if there == bytes => Ok(()),
            _ => self.write(name, bytes),
        }
    }

    /// Removes a file of the run, if it is there.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), RecordError> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(RecordError::io(&path, error))
            }
            _ => Ok(()),
        }
    }

    /// Removes a folder of the run, if it is there. It loses its name first, so that a kill never leaves half of it under that name.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn discard(&self, name: &str) -> Result<(), RecordError> {
        let path = self.path.join(name);
        if !path.exists() {
            return Ok(());
        }
        let aside = beside(&path, UNFINISHED);
        let removed = fs::rename(&path, &aside).and_then(|()| fs::remove_dir_all(&aside));
        removed.map_err(|source| RecordError::io(&path, source))
    }

    /// Creates a temporary folder beside the one that will be `name`, to be filled and passed to [`Self::put_in_place`].
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn aside(&self, name: &str) -> Result<TempDir, RecordError> {
        let path = self.path.join(name);
        let parent = path.parent().unwrap_or(&self.path);
        let aside = fs::create_dir_all(parent).and_then(|()| {
            tempfile::Builder::new()
                .prefix(UNFINISHED)
                .tempdir_in(parent)
        });
        aside.map_err(|source| RecordError::io(&path, source))
    }

    /// Renames a temporary folder to its final name. A folder that has that name is removed only when the new one is in place.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn put_in_place(&self, aside: TempDir, name: &str) -> Result<PathBuf, RecordError> {
        let path = self.path.join(name);
        let replaced = beside(&path, REPLACED);
        let put = || -> io::Result<()> {
            // Temporary folders are private by default.
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(aside.path(), fs::Permissions::from_mode(0o755))?;
            }
            crate::atomic::sync_directory(aside.path())?;
            if path.exists() {
                fs::rename(&path, &replaced)?;
            }
            fs::rename(aside.keep(), &path)?;
            if let Some(parent) = path.parent() {
                crate::atomic::sync_directory(parent)?;
            }
            if replaced.exists() {
                fs::remove_dir_all(&replaced)?;
            }
            Ok(())
        };
        put().map_err(|source| RecordError::io(&path, source))?;
        Ok(path)
    }

    /// Lets `fill` write into a temporary folder, and then renames it to its final name, replacing what was there.
    ///
    /// # Errors
    /// Those of `fill`, and when the file system refuses; then nothing has changed under the final name.
    pub fn publish<E: From<RecordError>>(
        &self,
        name: &str,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let aside = self.aside(name)?;
        fill(aside.path())?;
        Ok(self.put_in_place(aside, name)?)
    }
}

/// The temporary folder for one that will be `path`.
pub fn unfinished(path: &Path) -> PathBuf {
    beside(path, UNFINISHED)
}

/// Creates a folder, or removes what an earlier attempt left in it, unless another process is using it.
///
/// # Errors
/// When another process is using it, or something cannot be created or removed.
pub fn clear(folder: &Path) -> Result<(), RecordError> {
    let failed = |source| RecordError::io(folder, source);
    fs::create_dir_all(folder).map_err(failed)?;
    let _lock = lock(folder)?;
    for entry in fs::read_dir(folder).map_err(failed)?.flatten() {
        let path = entry.path();
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else if entry.file_name() == LOCK {
            // The lock file stays, because other processes look at this very file.
            Ok(())
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(failed)?;
    }
    Ok(())
}

/// The run that the one at `path` is a replay of. None when it is not a replay.
pub fn replayed(path: &Path) -> Option<&Path> {
    let folder = path.parent()?;
    let is_replay = folder.file_name().is_some_and(|name| name == REPLAYS);
    folder.parent().filter(|_| is_replay)
}

/// The path beside `path` whose name has `prefix` before it.
fn beside(path: &Path, prefix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{prefix}{name}"))
}
