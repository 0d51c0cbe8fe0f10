//! Checks whether a file is still what the run has written.

use crate::checksum::{End, sha256};

/// How a file differs from what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Changed {
    /// It is longer or shorter.
    #[error("it has {found} bytes, but the run ended with {expected}: it was changed")]
    Length {
        /// Bytes that it has.
        found: u64,
        /// Bytes that it had.
        expected: u64,
    },
    /// Its content differs.
    #[error("it was changed after it was written: its sha256 is {found}, not {expected}")]
    Content {
        /// The SHA-256 that it has.
        found: String,
        /// The SHA-256 that it had.
        expected: String,
    },
}

impl Changed {
    /// Compares the bytes of a file with its SHA-256.
    ///
    /// # Errors
    /// When they differ.
    pub fn check(bytes: &[u8], expected: &str) -> Result<(), Self> {
        let found = sha256(bytes);
        if found == expected {
            return Ok(());
        }
        Err(Self::Content {
            found,
            expected: expected.to_owned(),
        })
    }

    /// Compares the bytes of a file that was appended to with its recorded length and checksum.
    ///
    /// # Errors
    /// When they differ.
    pub fn check_end(bytes: &[u8], end: &End) -> Result<(), Self> {
        let found = bytes.len() as u64;
        if found == end.bytes {
            Self::check(bytes, &end.sha256)
        } else {
            Err(Self::Length {
                found,
                expected: end.bytes,
            })
        }
    }
}
