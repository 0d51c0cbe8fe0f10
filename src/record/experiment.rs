//! `experiment.toml`: the resolved experiment. A run has begun once this file is there.

use std::io;
use std::path::{Path, PathBuf};

use super::error::{Malformed, RecordError};
use super::folder::RunDirectory;
use super::layout::EXPERIMENT;
use crate::diagnostic::Source;

/// The path of the file in a run's folder.
pub fn path(run: &Path) -> PathBuf {
    run.join(EXPERIMENT)
}

/// Whether a run has begun: whether the file is there.
pub fn is_there(run: &Path) -> bool {
    path(run).is_file()
}

/// Writes the file into a run's folder, unless it has the same content already.
///
/// # Errors
/// When it cannot be written.
pub fn write(directory: &RunDirectory, resolved: &str) -> Result<(), RecordError> {
    directory.update(EXPERIMENT, resolved.as_bytes())
}

/// Reads the file's text.
///
/// # Errors
/// When the file cannot be read.
pub fn read(run: &Path) -> io::Result<Source> {
    let path = path(run);
    Ok(Source {
        text: std::fs::read_to_string(&path)?,
        name: path.display().to_string(),
    })
}

/// Parses the file's text.
///
/// # Errors
/// When it is not TOML. The error has the line.
pub fn parse(text: &str) -> Result<toml::Table, Malformed> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = 1 + before.map_or(0, |before| before.matches('\n').count());
        Malformed::new(line, &error.message())
    })
}
