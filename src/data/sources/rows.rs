//! Rows of files, whatever their format: fields, and where they stand.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::value::Value;
use crate::data::csv_rows::BYTE_ORDER_MARK;
use crate::data::source_error::SourceError;

/// A format of files.
#[derive(Debug)]
pub struct Format {
    /// The endings of its files' names, without those of gzip and Zstandard.
    pub endings: &'static [&'static str],
    /// The fields that all of its files have. None where the files name them.
    pub fields: Option<&'static [&'static str]>,
    /// The keys of `[data]` that only it knows.
    pub keys: &'static [&'static str],
    /// Reads the rows of a file from the first on.
    pub read: fn(&Path, &Wanted) -> Result<Rows, SourceError>,
}

/// What is wanted of a file.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The paths of the fields that are used.
    pub fields: Vec<String>,
    /// The names of columns, where the file has none.
    pub columns: Option<Vec<String>>,
    /// What of a text is a document.
    pub unit: Unit,
}

/// What of a plain text is a document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// The file.
    #[default]
    File,
    /// Each line that is not empty.
    Line,
    /// Lines up to the next empty one.
    Paragraph,
}

/// The rows of a file on their way in. Nothing follows an error.
pub type Rows = Box<dyn Iterator<Item = Result<Row, SourceError>> + Send>;

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where it stands.
    pub place: Place,
    /// A table of its fields.
    pub fields: Value,
}

/// Where a row stands in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On this line, counted from 1.
    Line(usize),
    /// In this row of this row group, both counted from 1.
    Row {
        /// The row group.
        group: usize,
        /// The row in it.
        row: usize,
    },
}

impl Place {
    /// Says of a row in a file what is wrong with it.
    pub fn wrong(self, path: &Path, message: impl Into<String>) -> SourceError {
        let (path, message) = (path.to_owned(), message.into());
        match self {
            Self::Line(line) => SourceError::Line {
                path,
                line,
                message,
            },
            Self::Row { group, row } => SourceError::Row {
                path,
                group,
                row,
                message,
            },
        }
    }
}

/// The lines of a file on their way in, each with its number, as they are in the file: with their line ends. Only `\n` ends a line. A byte-order
/// mark at the beginning is left out.
pub(super) struct Lines {
    path: PathBuf,
    text: Box<dyn BufRead + Send>,
    number: usize,
}

impl Lines {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        Ok(Self {
            path: path.to_owned(),
            text: super::opened::open(path)?,
            number: 0,
        })
    }

    fn line(&mut self) -> Result<Option<(usize, String)>, SourceError> {
        self.number += 1;
        let place = Place::Line(self.number);
        let mut line = Vec::new();
        let read = self.text.read_until(b'\n', &mut line);
        read.map_err(|error| {
            place.wrong(&self.path, format!("cannot be read any further: {error}"))
        })?;
        if self.number == 1 && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        } else if line.is_empty() {
            return Ok(None);
        }
        let line = String::from_utf8(line);
        let line =
            line.map_err(|_| place.wrong(&self.path, "not UTF-8; save the file as UTF-8"))?;
        Ok(Some((self.number, line)))
    }
}

impl Iterator for Lines {
    type Item = Result<(usize, String), SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.line().transpose()
    }
}
