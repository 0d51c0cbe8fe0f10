//! Why the text of a source cannot be used.

use std::path::PathBuf;

/// Why a source's text cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file cannot be opened or read.
    #[error("cannot read {path}: {message}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        message: String,
    },
    /// A line is malformed.
    #[error("{path}:{line}: {message}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1, on which the row or the error in it begins.
        line: usize,
        /// What is wrong and what is expected.
        message: String,
    },
    /// A row of a file without lines cannot be used.
    #[error("{path}, row group {group}, row {row}: {message}")]
    Row {
        /// The file.
        path: PathBuf,
        /// The row group, counted from 1.
        group: usize,
        /// The row in the group, counted from 1.
        row: usize,
        /// What is wrong and what is expected.
        message: String,
    },
    /// A file is not what it was a moment ago.
    #[error("{0} was changed while it was read; begin again when nothing writes to it any more")]
    Changed(PathBuf),
    /// A split has no document.
    #[error("{path} is empty: no {unit}")]
    Empty {
        /// The file.
        path: PathBuf,
        /// What its documents are called, in the plural.
        unit: &'static str,
    },
    /// A folder that was named does not have one of the splits.
    #[error("{path} is missing; the folder must have {} and {}", splits[0], splits[1])]
    Missing {
        /// The file.
        path: PathBuf,
        /// The names of both splits.
        splits: [&'static str; 2],
    },
    /// A share of the documents leaves none to train on, or none to hold out.
    #[error(
        "{path} has {documents} documents: a share of {share} held out leaves none on one side; use more text or another `data.held_out`"
    )]
    Share {
        /// The files.
        path: String,
        /// Their documents.
        documents: usize,
        /// The share that is held out.
        share: f64,
    },
    /// No place has the text.
    #[error(
        "no {title}: {because}\nSet `data.folder` or MILEPOST_DATA to a folder that has it, or allow `data.builtin_sample`"
    )]
    Nowhere {
        /// The source's title.
        title: &'static str,
        /// The reason why each place cannot be used.
        because: String,
    },
    /// A recipe that ships cannot be parsed.
    #[error("a recipe in datasets/ is broken: {0}")]
    Recipe(#[from] toml::de::Error),
}
