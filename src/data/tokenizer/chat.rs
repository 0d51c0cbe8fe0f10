//! Chat templates in files of their own, as transformers 5 saves them. They are kept as they are, and not applied.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::TokenizerError;

/// The file of the template that is taken where none is named.
const USUAL: &str = "chat_template.jinja";
/// The folder of the others.
const FOLDER: &str = "additional_chat_templates";
/// How their names end.
const ENDING: &str = ".jinja";

/// The chat templates of a directory, by their paths in it.
#[derive(Debug, Clone, Default)]
pub(super) struct ChatTemplates(BTreeMap<PathBuf, String>);

impl ChatTemplates {
    /// Reads those of a model directory.
    pub fn read(directory: &Path) -> Result<Self, TokenizerError> {
        let wrong = |origin: &Path| {
            let origin = origin.to_owned();
            move |error: io::Error| TokenizerError::Format {
                origin,
                message: error.to_string(),
            }
        };
        let mut templates = BTreeMap::new();
        for path in paths(directory).map_err(wrong(&directory.join(FOLDER)))? {
            let text = std::fs::read_to_string(&path).map_err(wrong(&path))?;
            let path = path.strip_prefix(directory).unwrap_or(&path);
            templates.insert(path.to_owned(), text);
        }
        Ok(Self(templates))
    }

    /// Writes them into a directory, which must exist.
    pub fn write(&self, directory: &Path) -> Result<(), TokenizerError> {
        for (name, text) in &self.0 {
            let path = directory.join(name);
            let folder = path.parent().unwrap_or(directory);
            let written = std::fs::create_dir_all(folder)
                .and_then(|()| crate::atomic::write(&path, text.as_bytes()));
            written.map_err(|source| TokenizerError::Write { path, source })?;
        }
        Ok(())
    }
}

/// The files in a directory that are chat templates, in the order of their paths.
pub(super) fn paths(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    let usual = directory.join(USUAL);
    if usual.is_file() {
        paths.push(usual);
    }
    let folder = directory.join(FOLDER);
    if folder.is_dir() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().ends_with(ENDING) {
                paths.push(entry.path());
            }
        }
    }
    paths.sort();
    Ok(paths)
}

/// Whether a repository's file of this name is one.
pub(super) fn is_template(name: &str) -> bool {
    let further = name.strip_prefix(FOLDER);
    let further = further.and_then(|name| name.strip_prefix('/'));
    let is_plain = |name: &str| name.ends_with(ENDING) && !name.contains(['/', '\\']);
    name == USUAL || further.is_some_and(is_plain)
}
