//! Token ids of a text, one after the other: in memory, or, of a long text, in a file that the system keeps as much of in memory as there is room
//! for.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

/// The most ids that are kept in memory: 256 MiB of them.
pub const IN_MEMORY: usize = 1 << 26;

/// Why ids cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error(
    "the tokens of the text cannot be kept in a file in {folder}, of 4 bytes for each: {source}; --cache or MILEPOST_CACHE names another folder"
)]
pub struct TokensError {
    folder: PathBuf,
    source: io::Error,
}

/// Token ids.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    kept: Kept,
    len: usize,
}

#[derive(Debug, Clone)]
enum Kept {
    Memory(Vec<u32>),
    File(Arc<Mmap>),
}

impl Default for Kept {
    fn default() -> Self {
        Self::Memory(Vec::new())
    }
}

impl From<Vec<u32>> for Tokens {
    fn from(ids: Vec<u32>) -> Self {
        Self {
            len: ids.len(),
            kept: Kept::Memory(ids),
        }
    }
}

impl Tokens {
    /// Leaves out all but the first ids.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        if let Kept::Memory(ids) = &mut self.kept {
            ids.truncate(len);
        }
    }

    /// Whether they are in a file.
    pub fn are_in_file(&self) -> bool {
        matches!(self.kept, Kept::File(_))
    }
}

impl Deref for Tokens {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        match &self.kept {
            Kept::Memory(ids) => ids,
            // A page begins where a number may begin.
            Kept::File(map) => &bytemuck::cast_slice(&map[..])[..self.len],
        }
    }
}

/// Takes token ids as they come.
#[derive(Debug)]
pub struct TokensWriter {
    memory: Vec<u32>,
    /// The file with all ids, when there are too many.
    file: Option<BufWriter<File>>,
    len: usize,
    /// The most ids to keep in memory.
    most: usize,
    /// The folder for the file.
    folder: PathBuf,
}

impl TokensWriter {
    /// Keeps up to `most` ids in memory, and more of them in a file in `folder`. The file has no name, so that it is gone with the process,
    /// however that ends.
    pub fn new(most: usize, folder: &Path) -> Self {
        Self {
            memory: Vec::new(),
            file: None,
            len: 0,
            most,
            folder: folder.to_owned(),
        }
    }

    /// How many ids there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no id.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds ids.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(&mut self, ids: &[u32]) -> Result<(), TokensError> {
        self.len += ids.len();
        let added = match &mut self.file {
            Some(file) => file.write_all(bytemuck::cast_slice(ids)),
            None if self.len <= self.most => {
                self.memory.extend_from_slice(ids);
                Ok(())
            }
            None => self.begin_file(ids),
        };
        added.map_err(|source| self.failed(source))
    }

    fn begin_file(&mut self, ids: &[u32]) -> io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let file = tempfile::tempfile_in(&self.folder)?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(bytemuck::cast_slice(&std::mem::take(&mut self.memory)))?;
        file.write_all(bytemuck::cast_slice(ids))?;
        self.file = Some(file);
        Ok(())
    }

    /// All ids.
    ///
    /// # Errors
    /// When the file cannot be written or mapped.
    pub fn finish(mut self) -> Result<Tokens, TokensError> {
        let Some(file) = self.file.take() else {
            return Ok(self.memory.into());
        };
        let mapped = file.into_inner().map_err(|error| error.into_error());
        let mapped = mapped.and_then(|file| map(&file));
        let map = mapped.map_err(|source| self.failed(source))?;
        Ok(Tokens {
            kept: Kept::File(Arc::new(map)),
            len: self.len,
        })
    }

    fn failed(&self, source: io::Error) -> TokensError {
        TokensError {
            folder: self.folder.clone(),
            source,
        }
    }
}

#[allow(unsafe_code, reason = "a map of a file")]
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the file has no name, so no other program can change it or cut it off, and nothing here writes to it any more.
    unsafe { Mmap::map(file) }
}
