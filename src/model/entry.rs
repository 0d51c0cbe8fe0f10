//! A tensor of a checkpoint that has not been read yet.

use std::ops::Range;
use std::path::Path;

use super::WeightsError;

/// How a number is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    F32,
    F16,
    Bf16,
}

/// One tensor that has not been read yet.
pub(super) struct Entry {
    /// Its name in the file.
    pub name: String,
    /// The file that it is in, as the index names it.
    pub file: String,
    pub stored: Result<Stored, String>,
    pub shape: Vec<usize>,
    pub place: Place,
}

pub(super) enum Place {
    /// Bytes of one of the files in memory.
    Range(usize, Range<usize>),
    Pickled(Box<pytorch_reader::Tensor>),
}

pub(super) fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

pub(super) fn format(
    path: &Path,
    what: &'static str,
    error: &dyn std::fmt::Display,
) -> WeightsError {
    WeightsError::Format {
        path: path.to_owned(),
        what,
        message: error.to_string(),
    }
}
