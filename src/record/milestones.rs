//! `milestones.jsonl` while it is written: lines are appended, and their checksum is kept.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::recorder::RecordError;
use crate::checksum::{End, Sum};

/// The name of the file in a run's folder.
pub const MILESTONES: &str = "milestones.jsonl";

/// The file, open for more.
pub(super) struct Lines {
    path: PathBuf,
    file: BufWriter<File>,
    sum: Sum,
}

impl Lines {
    /// Opens the file of a run's folder behind its first `bytes` bytes. What stood behind them is cut off.
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
            Err(source) => Err(RecordError::Io { path, source }),
        }
    }

    /// Appends a line, with its line break.
    pub fn append(&mut self, line: &str) -> Result<(), RecordError> {
        let written = self.file.write_all(line.as_bytes());
        self.sum.add(line.as_bytes());
        written.map_err(|source| self.failed(source))
    }

    /// Hands everything to the system.
    pub fn flush(&mut self) -> Result<(), RecordError> {
        self.file.flush().map_err(|source| self.failed(source))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How far the file goes.
    pub fn end(&self) -> End {
        self.sum.end()
    }

    /// Brings everything to the disk and says how far the file goes.
    pub fn sync(&mut self) -> Result<End, RecordError> {
        self.flush()?;
        let synced = self.file.get_ref().sync_all();
        synced.map_err(|source| self.failed(source))?;
        Ok(self.end())
    }

    /// Makes sure that the file is still the one in the run's folder: what is written into one that was removed is lost.
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
        RecordError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

/// Whether two files are one.
#[cfg(unix)]
fn is_same(one: &std::fs::Metadata, other: &std::fs::Metadata) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// Whether two files are one, as far as it can be told.
#[cfg(not(unix))]
fn is_same(one: &std::fs::Metadata, other: &std::fs::Metadata) -> io::Result<bool> {
    Ok(one.created()? == other.created()?)
}
