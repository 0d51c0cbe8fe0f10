//! Finds a source's text: in a folder, in the cache, by a download, or, where the experiment allows it, the built-in sample instead.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Layout, Named, ReadSplit, Source, SourceError, Text, named, sample};
use crate::data::corpus::{Corpus, Origin, Split};
use crate::data::store::{Found, Pinned, Store};
use crate::download::Progress;

/// What an experiment asks for, and where this machine looks for it.
#[derive(Debug, Clone)]
pub struct Request {
    /// The source.
    pub source: &'static Source,
    /// The folder that the experiment names, which must have the files.
    pub folder: Option<PathBuf>,
    /// The other places to look in.
    pub store: Store,
    /// Whether the built-in sample may be used when no place has the text.
    pub builtin_sample: bool,
    /// The files that the experiment names, where the source reads such.
    pub files: Option<Named>,
}

/// A recipe in `datasets/`: where both splits can be downloaded.
#[derive(Deserialize)]
struct Recipe {
    train: Pinned,
    test: Pinned,
}

/// Finds and reads the text that `request` asks for. `progress` gets the file and the bytes of a download.
///
/// # Errors
/// When a folder that was named does not have it, when a file is malformed, or when no place has it and the built-in sample is not allowed.
pub fn resolve(request: &Request, progress: &mut Progress) -> Result<Corpus, SourceError> {
    let source = request.source;
    let layout = match &source.text {
        Text::BuiltIn(splits) => {
            let origin = Origin::BuiltinSample;
            return Ok(corpus(source, origin, splits(), Vec::new()));
        }
        Text::Files(format) => {
            let files = request.files.as_ref().ok_or(SourceError::Nowhere {
                title: source.title,
                because: "no files are named".to_owned(),
            })?;
            return named::corpus(source, format, files);
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

/// Finds the folder with the source's files, or returns why each place cannot be used.
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

/// Reads both splits of a folder.
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
        Origin::Files(files) => (format!("{title} from {files}"), source.unit),
        Origin::BuiltinSample => (source.stand_in(), sample::SOURCE.unit),
    };
    let counts = [&train, &held_out].map(|split| split.documents.len());
    Corpus {
        description: format!("{what}, {} train and {} test {unit}", counts[0], counts[1]),
        train: Split::of(train.documents, train.file),
        held_out: Split::of(held_out.documents, held_out.file),
        origin,
        notes,
    }
}
