//! Where the text is looked for: a folder, the cache, a download, or, where the experiment allows it, the built-in sample.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Layout, ReadSplit, Source, Text, sample};
use crate::data::corpus::{Corpus, Origin};
use crate::data::store::{Found, Pinned, Store};
use crate::download::Progress;

/// What an experiment asks for, and where this machine would look.
#[derive(Debug, Clone)]
pub struct Request {
    /// The source.
    pub source: &'static Source,
    /// A folder named by the experiment; it must have the files.
    pub folder: Option<PathBuf>,
    /// Where else to look.
    pub store: Store,
    /// Whether the built-in sample may stand in.
    pub builtin_sample: bool,
}

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file cannot be opened or read.
    #[error("cannot read {path}: {message}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        message: String,
    },
    /// A line is not what the source has.
    #[error("{path}:{line}: {message}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1: that on which a row starts, or that of what is at fault in it.
        line: usize,
        /// What is wrong and what is expected.
        message: String,
    },
    /// A split without a document.
    #[error("{path} is empty: no {unit}")]
    Empty {
        /// The file.
        path: PathBuf,
        /// What it should have, in the plural.
        unit: &'static str,
    },
    /// A folder that was named lacks a split.
    #[error("{path} is missing; the folder must have {} and {}", splits[0], splits[1])]
    Missing {
        /// The file.
        path: PathBuf,
        /// What the folder must have.
        splits: [&'static str; 2],
    },
    /// Nowhere to be found.
    #[error(
        "no {title}: {because}\nSet `data.folder` or MILEPOST_DATA to a folder that has it, or allow `data.builtin_sample`"
    )]
    Nowhere {
        /// The source's title.
        title: &'static str,
        /// Why each place does not do.
        because: String,
    },
    /// A recipe that ships is broken.
    #[error("a recipe in datasets/ is broken: {0}")]
    Recipe(#[from] toml::de::Error),
}

/// Where a source's files are, in `datasets/`.
#[derive(Deserialize)]
struct Recipe {
    train: Pinned,
    test: Pinned,
}

/// Finds the text. `progress` is told the file and the bytes of a download.
///
/// # Errors
/// When a folder that was named does not have it, a file is malformed, or it is nowhere and the built-in sample is not allowed.
pub fn resolve(request: &Request, progress: &mut Progress) -> Result<Corpus, SourceError> {
    let source = request.source;
    let layout = match &source.text {
        Text::BuiltIn(splits) => {
            let origin = Origin::BuiltinSample;
            return Ok(corpus(source, origin, splits(), Vec::new()));
        }
        Text::Folder(layout) => layout,
    };
    if let Some(folder) = &request.folder {
        let origin = Origin::Folder(folder.clone());
        return Ok(corpus(source, origin, read(layout, folder)?, Vec::new()));
    }
    match find(request, layout, progress)? {
        Ok(found) => {
            let splits = read(layout, &found.folder)?;
            let origin = if found.cached {
                Origin::Cache(found.folder)
            } else {
                Origin::Folder(found.folder)
            };
            Ok(corpus(source, origin, splits, found.passed_over))
        }
        Err(passed_over) if request.builtin_sample => {
            let origin = Origin::BuiltinSample;
            Ok(corpus(source, origin, sample::splits(), passed_over))
        }
        Err(passed_over) => Err(SourceError::Nowhere {
            title: source.title,
            because: passed_over.join("; "),
        }),
    }
}

/// The folder that has the source's files, or why each place does not do.
fn find(
    request: &Request,
    layout: &Layout,
    progress: &mut Progress,
) -> Result<Result<Found, Vec<String>>, SourceError> {
    let recipe: Option<Recipe> = layout.recipe.map(toml::from_str).transpose()?;
    let [train, test] = layout.splits;
    let downloads: Vec<(&str, &Pinned)> = match &recipe {
        Some(recipe) => vec![(train, &recipe.train), (test, &recipe.test)],
        None => Vec::new(),
    };
    let name = request.source.name;
    Ok(request.store.find(name, train, &downloads, progress))
}

/// Both splits of a folder.
fn read(layout: &Layout, folder: &Path) -> Result<[ReadSplit; 2], SourceError> {
    let split = |name: &str| {
        let path = folder.join(name);
        if path.exists() {
            return (layout.read)(&path);
        }
        Err(SourceError::Missing {
            path,
            splits: layout.splits,
        })
    };
    let [train, test] = layout.splits;
    Ok([split(train)?, split(test)?])
}

fn corpus(source: &Source, origin: Origin, splits: [ReadSplit; 2], notes: Vec<String>) -> Corpus {
    let [train, held_out] = splits;
    let title = source.title;
    let (what, unit) = match &origin {
        Origin::Folder(path) => (format!("{title} from {}", path.display()), source.unit),
        Origin::Cache(path) => {
            let what = format!("{title} from the cache {}", path.display());
            (what, source.unit)
        }
        Origin::BuiltinSample => (source.stand_in(), sample::SOURCE.unit),
    };
    let counts = [&train, &held_out].map(|split| split.documents.len());
    Corpus {
        description: format!("{what}, {} train and {} test {unit}", counts[0], counts[1]),
        train: train.documents,
        held_out: held_out.documents,
        origin,
        files: [train.file, held_out.file],
        notes,
    }
}
