//! The sources of text: one file each, and its two lines here.

pub mod ag_news;
pub mod article;
pub mod sample;
mod search;

use std::path::Path;

pub use search::{Request, SourceError, resolve};

use super::corpus::{Document, SourceFile};
use crate::checksum::sha256;

/// Every source; an experiment that names none has the first.
const ALL: [&Source; 2] = [&ag_news::SOURCE, &sample::SOURCE];

/// A kind of text that experiments train on.
#[derive(Debug)]
pub struct Source {
    /// Its name in `data.source`, and that of its folder in `MILEPOST_DATA` and in the cache.
    pub name: &'static str,
    /// What sentences call it.
    pub title: &'static str,
    /// What its documents are called, in the plural.
    pub unit: &'static str,
    /// Where its text is.
    pub text: Text,
}

impl Source {
    /// What the built-in sample is called where this source was asked for.
    pub fn stand_in(&self) -> String {
        let sample = sample::SOURCE.title;
        match self.text {
            Text::BuiltIn(_) => self.title.to_owned(),
            Text::Folder(_) => format!("{sample}, not {}", self.title),
        }
    }
}

/// Where the text of a source is.
#[derive(Debug)]
pub enum Text {
    /// In the program: the training split and the test split.
    BuiltIn(fn() -> [ReadSplit; 2]),
    /// In a folder.
    Folder(Layout),
}

/// What a source's folder has in it.
#[derive(Debug)]
pub struct Layout {
    /// The names of the training split and of the test split: a file or a folder each.
    pub splits: [&'static str; 2],
    /// The recipe in `datasets/`, with address and checksum of both files, where they can be downloaded.
    pub recipe: Option<&'static str>,
    /// Reads one of the splits.
    pub read: fn(&Path) -> Result<ReadSplit, SourceError>,
}

/// A split as it was read.
#[derive(Debug)]
pub struct ReadSplit {
    /// Its documents, in their order.
    pub documents: Vec<Document>,
    /// What they were read from.
    pub file: SourceFile,
}

impl ReadSplit {
    /// The split in a file, whose bytes `parse` reads.
    ///
    /// # Errors
    /// When the file cannot be read, or by `parse`.
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

/// The source of an experiment that names none.
pub fn usual() -> &'static Source {
    ALL[0]
}

/// The source of that name.
pub fn named(name: &str) -> Option<&'static Source> {
    ALL.into_iter().find(|source| source.name == name)
}

/// The names of all sources.
pub fn names() -> [&'static str; ALL.len()] {
    ALL.map(|source| source.name)
}
