//! Errors of writing, and of using, a file of a run.

use std::io;
use std::path::{Path, PathBuf};

/// Why a file of a run could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file system refused.
    #[error("cannot write {path}: {source}; what was written before stays readable")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file that the run is writing is no longer in its folder.
    #[error(
        "{path} was removed or replaced while the run was writing it; what was measured since the last checkpoint is lost"
    )]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// Another process writes into the folder.
    #[error("another process is writing into {path}; wait until it is done, or end it")]
    Busy {
        /// The folder.
        path: PathBuf,
    },
}

impl RecordError {
    /// The error for a file that the file system refused to write.
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// A file of a run that cannot be used: it cannot be read, or it is not what was written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Unusable {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub message: String,
}

impl Unusable {
    /// The error for the file at `path`.
    pub fn new(path: &Path, reason: &dyn std::fmt::Display) -> Self {
        Self {
            path: path.to_owned(),
            message: reason.to_string(),
        }
    }
}

/// A malformed line of a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct Malformed {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

impl Malformed {
    /// The error for a line, counted from 1.
    pub(super) fn new(line: usize, reason: &dyn std::fmt::Display) -> Self {
        Self {
            line,
            message: reason.to_string(),
        }
    }
}
