//! `milestones.jsonl`: a line for each report. Lines are appended, and a running checksum is kept.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

use super::columns;
use super::error::{Malformed, RecordError};
use super::layout::MILESTONES;
use super::named::Named;
use crate::checksum::{End, Sum};
use crate::clock::{Epoch, Samples, Tokens};

/// A line of the file: the report of one source at one event. Fields that older versions did not write are empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The position on the x axis: optimiser steps, or micro-batches for the event `micro-batch-end`.
    pub step: u64,
    /// The event's name.
    #[serde(default)]
    pub event: String,
    /// The source of the report: `train`, `eval`, or a hook's instance name.
    #[serde(default)]
    pub source: String,
    /// Epochs that are complete.
    #[serde(default)]
    pub epoch: Epoch,
    /// Blocks seen.
    #[serde(default)]
    pub samples: Samples,
    /// Tokens seen.
    #[serde(default)]
    pub tokens: Tokens,
    /// Numbers by tag. A number that is not finite is null in the file and NaN when it is read.
    #[serde(deserialize_with = "numbers")]
    pub scalars: Named<f64>,
    /// Markdown texts by tag.
    #[serde(default, skip_serializing_if = "Named::is_empty")]
    pub texts: Named<String>,
    /// The files of values per prompt that belong to the line: their names in the run's folder, with their SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Named<String>>,
    /// The events of its own that the hook has emitted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emitted: Vec<String>,
    /// Values that depend on time and so differ from run to run: seconds and lags by tag, `wall` (seconds since 1970) and `elapsed`
    /// (seconds of the run).
    #[serde(default, deserialize_with = "numbers")]
    pub times: Named<f64>,
}

/// Reads numbers by tag. JSON has no numbers that are not finite; null stands for one and becomes NaN.
fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Named<f64>, D::Error> {
    let numbers: Named<Option<f64>> = Deserialize::deserialize(deserializer)?;
    let numbers = numbers.into_iter();
    Ok(numbers
        .map(|(tag, value)| (tag, value.unwrap_or(f64::NAN)))
        .collect())
}

impl Line {
    /// The first file of the line that is not in the run's folder of values per prompt.
    pub fn stray_file(&self) -> Option<&str> {
        let files = self.files.iter().flat_map(Named::iter);
        let mut names = files.map(|(name, _)| name);
        names.find(|name| !columns::is_name(name))
    }
}

/// Parses the bytes of the file. Each item is a line, or the error in it.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = Result<Line, Malformed>> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').enumerate();
    lines.map(|(index, line)| {
        serde_json::from_slice(line).map_err(|error| Malformed::new(index + 1, &error))
    })
}

/// Whether the last line is incomplete: it is being written, or the run was killed while writing it.
pub fn is_torn(bytes: &[u8]) -> bool {
    !bytes.ends_with(b"\n")
}

/// The file, open for appending.
pub struct Lines {
    path: PathBuf,
    file: BufWriter<File>,
    sum: Sum,
}

impl Lines {
    /// Opens the file in a run's folder after its first `bytes` bytes. Anything after them is cut off.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(directory: &Path, bytes: u64) -> Result<Self, RecordError> {
        let path = directory.join(MILESTONES);
        let open = || -> io::Result<(File, Sum)> {
            let mut options = File::options();
            let file = options.create(true).append(true).open(&path)?;
            file.set_len(bytes)?;
            Ok((file, Sum::of_first(&path, bytes)?))
        };
        match open() {
            Ok((file, sum)) => Ok(Self {
                path,
                file: BufWriter::new(file),
                sum,
            }),
            Err(source) => Err(RecordError::io(&path, source)),
        }
    }

    /// Appends a line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&mut self, line: &Line) -> Result<(), RecordError> {
        let mut bytes = serde_json::to_vec(line).map_err(|error| self.failed(error.into()))?;
        bytes.push(b'\n');
        let written = self.file.write_all(&bytes);
        self.sum.add(&bytes);
        written.map_err(|source| self.failed(source))
    }

    /// Passes everything that was appended to the operating system.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&mut self) -> Result<(), RecordError> {
        self.file.flush().map_err(|source| self.failed(source))
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The length and checksum of the file.
    pub fn end(&self) -> End {
        self.sum.end()
    }

    /// Syncs everything to the disk, and returns the length and checksum of the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn sync(&mut self) -> Result<End, RecordError> {
        self.flush()?;
        let synced = self.file.get_ref().sync_all();
        synced.map_err(|source| self.failed(source))?;
        Ok(self.end())
    }

    /// Checks that the open file is still the one in the run's folder. What is written into a removed file is lost.
    ///
    /// # Errors
    /// When it was removed or replaced.
    pub fn check_in_place(&self) -> Result<(), RecordError> {
        let same = || -> io::Result<bool> {
            let there = std::fs::metadata(&self.path)?;
            is_same(&there, &self.file.get_ref().metadata()?)
        };
        match same() {
            Ok(true) => Ok(()),
            _ => Err(RecordError::Gone {
                path: self.path.clone(),
            }),
        }
    }

    fn failed(&self, source: io::Error) -> RecordError {
        RecordError::io(&self.path, source)
    }
}

/// Whether both are the same file.
#[cfg(unix)]
fn is_same(one: &std::fs::Metadata, other: &std::fs::Metadata) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// Whether both are the same file, judged by their time of creation.
#[cfg(not(unix))]
fn is_same(one: &std::fs::Metadata, other: &std::fs::Metadata) -> io::Result<bool> {
    Ok(one.created()? == other.created()?)
}
