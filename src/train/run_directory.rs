//! A run on disk: `runs/<experiment>/<run>/` and the files in it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::recorder::RecordError;
use crate::data::templates::Templates;

/// Takes a folder for this process alone, as long as what is returned lives; the system forgets it when the process dies.
///
/// # Errors
/// When another process has it, or nothing can be written there.
pub fn lock(folder: &Path) -> Result<File, RecordError> {
    let name = folder.join(".lock");
    let file = File::options().create(true).append(true).open(&name);
    let file = file.map_err(|source| failed(&name, source))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(RecordError::Busy {
            path: folder.to_owned(),
        }),
        // Some network file systems have no locks: then it is as it would be without.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

fn failed(path: &Path, source: io::Error) -> RecordError {
    RecordError::Io {
        path: path.to_owned(),
        source,
    }
}

fn is_hidden(entry: &fs::DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with('.')
}

/// Removes files and folders that were written aside and never got their final names.
fn clear(run: &Path) {
    for folder in ["", "checkpoints", "models", "templates"] {
        let entries = fs::read_dir(run.join(folder)).into_iter().flatten();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let path = entry.path();
            // What cannot be removed is in nobody's way.
            let _ = match name.starts_with(".unfinished-") {
                true => fs::remove_dir_all(path),
                false if name.starts_with(".tmp") => fs::remove_file(path),
                false => Ok(()),
            };
        }
    }
}

/// The directory of one run, which no other process writes into as long as this is held.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    _lock: File,
}

impl RunDirectory {
    /// Creates the directory of a new run. One that holds only what a process left that was killed at once is used.
    ///
    /// # Errors
    /// When it exists already or cannot be created.
    pub fn create(path: &Path) -> Result<Self, RecordError> {
        fs::create_dir_all(path).map_err(|source| failed(path, source))?;
        let directory = Self::existing(path)?;
        match Self::is_taken(path) {
            true => Err(failed(path, io::ErrorKind::AlreadyExists.into())),
            false => Ok(directory),
        }
    }

    /// Whether there is a run at `path`, or anything else but files whose names begin with a point.
    pub fn is_taken(path: &Path) -> bool {
        match fs::read_dir(path) {
            Ok(entries) => entries.flatten().any(|entry| !is_hidden(&entry)),
            Err(_) => path.exists(),
        }
    }

    /// The directory of a run that exists, cleared of what a killed process had not finished.
    ///
    /// # Errors
    /// When another process is writing into it, or it cannot be written.
    pub fn existing(path: &Path) -> Result<Self, RecordError> {
        let lock = lock(path)?;
        clear(path);
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file of the run, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RecordError> {
        let path = self.path.join(name);
        crate::atomic::write(&path, bytes).map_err(|source| RecordError::Io { path, source })
    }

    /// Removes a file of the run, if it is there.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), RecordError> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RecordError::Io {
                path,
                source: error,
            }),
            _ => Ok(()),
        }
    }

    /// Puts a directory under its final name once `fill` has written all of it, replacing what was there.
    ///
    /// # Errors
    /// Those of `fill` and of the file system; then nothing has changed under the final name.
    pub fn publish<E: From<RecordError>>(
        &self,
        name: &str,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let path = self.path.join(name);
        let parent = path.parent().unwrap_or(&self.path).to_owned();
        let failed = |source: io::Error| {
            E::from(RecordError::Io {
                path: path.clone(),
                source,
            })
        };
        fs::create_dir_all(&parent).map_err(failed)?;
        let aside = tempfile::Builder::new()
            .prefix(".unfinished-")
            .tempdir_in(&parent)
            .map_err(failed)?;
        fill(aside.path())?;
        crate::atomic::sync_directory(aside.path()).map_err(failed)?;
        if path.exists() {
            fs::remove_dir_all(&path).map_err(failed)?;
        }
        let aside = aside.keep();
        fs::rename(&aside, &path).map_err(failed)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(failed)?;
        }
        crate::atomic::sync_directory(&parent).map_err(failed)?;
        Ok(path)
    }

    /// Writes which prompts are matched: `templates/pairs.tsv`, with the rows (from 0) of the female and the male prompt in every file of values per
    /// template, and the pair's identity and raw template as numbers and in words.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_pairs(&self, templates: &Templates) -> Result<(), RecordError> {
        let folder = self.path.join("templates");
        fs::create_dir_all(&folder).map_err(|source| RecordError::Io {
            path: folder.clone(),
            source,
        })?;
        let mut text = String::from("female\tmale\tidentity\ttemplate\twoman\tman\traw\n");
        for pair in templates.pairs() {
            let (woman, man) = &templates.identities()[pair.identity];
            let raw = &templates.raws()[pair.template];
            text.push_str(&format!(
                "{}\t{}\t{}\t{}\t{woman}\t{man}\t{raw}\n",
                pair.female, pair.male, pair.identity, pair.template
            ));
        }
        self.write("templates/pairs.tsv", text.as_bytes())
    }

    /// Writes a milestone's values per template: `templates/step-<step>-<hook>.tsv` with prompt, group and one column a measure.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_templates(
        &self,
        step: u64,
        hook: &str,
        templates: &Templates,
        columns: &[(String, Vec<f64>)],
    ) -> Result<(), RecordError> {
        let folder = self.path.join("templates");
        fs::create_dir_all(&folder).map_err(|source| RecordError::Io {
            path: folder.clone(),
            source,
        })?;
        let mut text = String::from("prompt\tgroup\tidentity");
        for (column, _) in columns {
            text.push('\t');
            text.push_str(column);
        }
        text.push('\n');
        for (index, template) in templates.prompts().iter().enumerate() {
            text.push_str(&template.prompt);
            text.push('\t');
            text.push_str(template.group.as_str());
            text.push('\t');
            text.push_str(&template.identity);
            for (_, values) in columns {
                text.push_str(&format!("\t{}", values[index]));
            }
            text.push('\n');
        }
        self.write(
            &format!("templates/step-{step:08}-{hook}.tsv"),
            text.as_bytes(),
        )
    }
}
