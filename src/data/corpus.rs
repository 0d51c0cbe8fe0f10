//! The text of a training: documents to train on and to hold out, with where they came from.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::checksum::Sum;

/// One text.
///
/// It has no prompt part: no objective trains on answers alone yet. Such a part would be a field here, the byte at which the answer begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document {
    /// What is trained on.
    pub text: String,
    /// Its label, such as `World`, where the source has labels.
    pub topic: Option<String>,
    /// The bytes that stand for it in the checksum of what was used, where these are not its topic and its text.
    pub as_read: Option<Vec<u8>>,
}

impl Document {
    /// Adds it to the checksum of the documents that were used. Each part has its length before it, so that no letter can move from one part to
    /// the next.
    pub fn add_to(&self, sum: &mut Sum) {
        if let Some(bytes) = &self.as_read {
            return sum.add(bytes);
        }
        for part in [self.topic.as_deref().unwrap_or_default(), &self.text] {
            sum.add(&(part.len() as u64).to_le_bytes());
            sum.add(part.as_bytes());
        }
    }
}

/// Where a corpus came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Files of the user.
    Folder(PathBuf),
    /// Files that were downloaded, now or earlier.
    Cache(PathBuf),
    /// Made up here.
    BuiltinSample,
}

/// What a split was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path, or the split's name for the built-in sample.
    pub path: String,
    /// SHA-256 of its bytes (of the texts for the built-in sample).
    pub sha256: String,
}

/// Documents to train on and to hold out.
#[derive(Debug)]
pub struct Corpus {
    /// The training split.
    pub train: Vec<Document>,
    /// The test split.
    pub held_out: Vec<Document>,
    /// Where they came from.
    pub origin: Origin,
    /// What the two splits were read from.
    pub files: [SourceFile; 2],
    /// Why an earlier place was passed over, for the terminal.
    pub notes: Vec<String>,
    /// All of it in one line, for every place that shows results: source, place and counts.
    pub description: String,
}
