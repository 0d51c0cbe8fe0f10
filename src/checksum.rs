//! Checksums of files: SHA-256 in hexadecimal, as `sha256sum` prints it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The SHA-256 of `bytes`, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(Sha256::digest(bytes).as_slice())
}

fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The length of a file that is only appended to, with the checksum of its content up to there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Bytes from the beginning of the file.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: String,
}

impl Default for End {
    /// The end of an empty file.
    fn default() -> Self {
        Sum::default().end()
    }
}

/// The running checksum of a file that is only appended to.
#[derive(Debug, Clone, Default)]
pub struct Sum {
    hasher: Sha256,
    bytes: u64,
}

impl Sum {
    /// Adds what was appended.
    pub fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Bytes added so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The length and checksum of everything added so far.
    pub fn end(&self) -> End {
        End {
            bytes: self.bytes,
            sha256: hexadecimal(self.hasher.clone().finalize().as_slice()),
        }
    }

    /// The checksum of the first `bytes` bytes of a file, or of the whole file if it is shorter.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of_first(path: &Path, bytes: u64) -> io::Result<Self> {
        let mut sum = Self::default();
        let mut rest = File::open(path)?.take(bytes);
        let mut part = vec![0; 1 << 16];
        loop {
            match rest.read(&mut part)? {
                0 => return Ok(sum),
                read => sum.add(&part[..read]),
            }
        }
    }

    /// The checksum of a whole file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        Self::of_first(path, u64::MAX)
    }
}
