//! `experiment.toml`: the experiment as resolved. With it, a run has begun.

use std::io;
use std::path::{Path, PathBuf};

use super::error::{Malformed, RecordError};
use super::folder::RunDirectory;
use super::layout::EXPERIMENT;
use crate::diagnostic::Source;

/// Where it lies.
pub fn path(run: &Path) -> PathBuf {
    run.join(EXPERIMENT)
}

/// Whether a run has begun.
pub fn is_there(run: &Path) -> bool {
    path(run).is_file()
}

/// Writes it into a run's folder, unless the same stands there already.
///
/// # Errors
/// When it cannot be written.
pub fn write(directory: &RunDirectory, resolved: &str) -> Result<(), RecordError> {
    directory.update(EXPERIMENT, resolved.as_bytes())
}

/// Reads its text.
///
/// # Errors
/// Those of the file system.
pub fn read(run: &Path) -> io::Result<Source> {
    let path = path(run);
    Ok(Source {
        text: std::fs::read_to_string(&path)?,
        name: path.display().to_string(),
    })
}

/// Parses its text.
///
/// # Errors
/// When it is not TOML, with the line.
pub fn parse(text: &str) -> Result<toml::Table, Malformed> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = 1 + before.map_or(0, |before| before.matches('\n').count());
        Malformed::new(line, &error.message())
    })
}
