//! The text of a training: documents to train on and to hold out, with where they came from.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::source_error::SourceError;
use crate::checksum::Sum;

/// One text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document {
    /// What is trained on.
    pub text: String,
    /// Its label, such as `World`, where the source has labels.
    pub topic: Option<String>,
    /// The byte of the text at which the answer begins. What stands before it is the prompt. None where the source has no prompts: then all of
    /// the text is answer.
    pub answer: Option<usize>,
    /// The bytes that stand for it in the checksum of what was used, where these are not its topic, its text and its answer.
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
        if let Some(answer) = self.answer {
            sum.add(&(answer as u64).to_le_bytes());
        }
    }
}

/// Documents on their way in. Nothing follows an error.
pub type Reading<'a> = Box<dyn Iterator<Item = Result<Document, SourceError>> + Send + 'a>;

/// Documents that can be read any number of times, each time the same ones in the same order.
pub trait Documents: std::fmt::Debug + Send + Sync {
    /// Reads them from the first on.
    fn read(&self) -> Reading<'_>;
}

impl Documents for Vec<Document> {
    fn read(&self) -> Reading<'_> {
        Box::new(self.iter().cloned().map(Ok))
    }
}

/// The documents to train on, or to hold out, with what is known of them before they are used.
#[derive(Debug)]
pub struct Split {
    /// The documents.
    pub documents: Box<dyn Documents>,
    /// How many there are.
    pub count: usize,
    /// Their topics, each once. Where a share of the same files is held out, those of both splits.
    pub topics: BTreeSet<String>,
    /// How many rows of the files were left out, because a field was missing.
    pub left_out: usize,
    /// What the split was read from.
    pub from: SourceFile,
    /// The files, where there are several.
    pub files: Vec<SourceFile>,
}

impl Split {
    /// A split that is in memory.
    pub fn of(documents: Vec<Document>, from: SourceFile) -> Self {
        let topics = documents.iter().filter_map(|one| one.topic.clone());
        Self {
            count: documents.len(),
            topics: topics.collect(),
            left_out: 0,
            documents: Box::new(documents),
            from,
            files: Vec::new(),
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
    /// Files that the experiment names one by one, in words.
    Files(String),
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
    pub train: Split,
    /// The test split.
    pub held_out: Split,
    /// Where they came from.
    pub origin: Origin,
    /// What should be said of it, such as why an earlier place was passed over.
    pub notes: Vec<String>,
    /// All of it in one line, for every place that shows results: source, place and counts.
    pub description: String,
}
