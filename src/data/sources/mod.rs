//! The sources of text: each has its own file and two lines here.

pub mod ag_news;
pub mod article;
mod csv;
mod form;
mod found;
mod jsonl;
mod named;
mod opened;
mod parquet;
pub mod rows;
pub mod sample;
mod search;
mod text;
pub mod value;

use std::path::Path;

pub use form::{Form, Missing};
pub use found::{absolute, find};
pub use named::{Forms, HeldOut, Named, Share};
pub use search::{Request, resolve};

use super::corpus::{Document, SourceFile};
pub use super::source_error::SourceError;
use crate::checksum::sha256;
use rows::Format;

/// Every source. The first is the default.
const ALL: [&Source; 6] = [
    &ag_news::SOURCE,
    &sample::SOURCE,
    &jsonl::SOURCE,
    &csv::SOURCE,
    &parquet::SOURCE,
    &text::SOURCE,
];

/// A kind of text that experiments train on.
#[derive(Debug)]
pub struct Source {
    /// The name in `data.source`, which is also the name of its folder in `MILEPOST_DATA` and in the cache.
    pub name: &'static str,
    /// The name in messages.
    pub title: &'static str,
    /// What its documents are called, in the plural.
    pub unit: &'static str,
    /// Where its text is.
    pub text: Text,
}

impl Source {
    /// The name for the built-in sample when it replaces this source.
    pub fn stand_in(&self) -> String {
        let sample = sample::SOURCE.title;
        match self.text {
            Text::BuiltIn(_) => self.title.to_owned(),
            Text::Folder(_) | Text::Files(_) => format!("{sample}, not {}", self.title),
        }
    }
}

/// Where the text of a source is.
#[derive(Debug)]
pub enum Text {
    /// Built into the program: a function that returns the training split and the test split.
    BuiltIn(fn() -> [ReadSplit; 2]),
    /// In the files of a folder.
    Folder(Layout),
    /// In files that an experiment names.
    Files(Format),
}

/// The layout of a source's folder, and how it is read.
#[derive(Debug)]
pub struct Layout {
    /// The names of the training split and the test split; each is a file or a folder.
    pub splits: [&'static str; 2],
    /// The recipe in `datasets/` with the address and checksum of both files. None when they cannot be downloaded.
    pub recipe: Option<&'static str>,
    /// Reads one of the splits.
    pub read: fn(&Path) -> Result<ReadSplit, SourceError>,
}

/// A split that was read.
#[derive(Debug)]
pub struct ReadSplit {
    /// The documents, in the file's order.
    pub documents: Vec<Document>,
    /// The file that they were read from, with its checksum.
    pub file: SourceFile,
}

impl ReadSplit {
    /// Reads the split in one file. `parse` turns its bytes into documents.
    ///
    /// # Errors
    /// When the file cannot be read, and those of `parse`.
    pub fn of_file(
        path: &Path,
        parse: impl FnOnce(&[u8]) -> Result<Vec<Document>, SourceError>,
    ) -> Result<Self, SourceError> {
        let bytes = std::fs::read(path).map_err(|error| SourceError::Read {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        Ok(Self {
            documents: parse(&bytes)?,
            file: SourceFile {
                path: path.display().to_string(),
                sha256: sha256(&bytes),
            },
        })
    }
}

/// The default source, for an experiment that names none.
pub fn usual() -> &'static Source {
    ALL[0]
}

/// The source with this name.
pub fn named(name: &str) -> Option<&'static Source> {
    ALL.into_iter().find(|source| source.name == name)
}

/// The names of all sources.
pub fn names() -> [&'static str; ALL.len()] {
    ALL.map(|source| source.name)
}
