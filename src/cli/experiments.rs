//! Finds experiments and studies: in files, or among those that are built into the program.

use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, Source, known_names};

/// The files of `experiments/` that name no other file of the project.
const BUILT_IN: [(&str, &str); 6] = [
    ("ag_news", include_str!("../../experiments/ag_news.toml")),
    (
        "ag_news_attribution",
        include_str!("../../experiments/ag_news_attribution.toml"),
    ),
    (
        "ag_news_gpt2",
        include_str!("../../experiments/ag_news_gpt2.toml"),
    ),
    ("planted", include_str!("../../experiments/planted.toml")),
    ("why", include_str!("../../experiments/why.toml")),
    ("why_gpt2", include_str!("../../experiments/why_gpt2.toml")),
];

/// The folder in which an experiment is found by its name.
const FOLDER: &str = "experiments";

/// An experiment or a study that was found.
#[derive(Debug)]
pub(super) struct Found {
    path: PathBuf,
    /// Its text, where it is built in. The path is then its name.
    built_in: Option<&'static str>,
}

/// Finds an experiment or a study by the path of its file, by its name in `experiments/`, or by its name among those that are built in. The
/// first of these that is there is taken.
///
/// # Errors
/// A diagnostic with the names that there are.
pub(super) fn find(name: &str) -> Result<Found, Diagnostic> {
    let files = [
        PathBuf::from(name),
        Path::new(FOLDER).join(format!("{name}.toml")),
    ];
    if let Some(path) = files.into_iter().find(|path| path.is_file()) {
        let built_in = None;
        return Ok(Found { path, built_in });
    }
    if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
        return Ok(Found {
            path: PathBuf::from(name),
            built_in: Some(text),
        });
    }
    let names = names();
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let message =
        "no such experiment: neither a file, nor a name in experiments/, nor one that is built in";
    Err(Diagnostic::file(name, message).with_help(known_names(name, &known)))
}

/// The names in `experiments/` and of those that are built in, each once.
fn names() -> Vec<String> {
    let entries = std::fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| {
        let name = entry.file_name();
        Some(name.to_str()?.strip_suffix(".toml")?.to_owned())
    });
    let built_in = BUILT_IN.iter().map(|(name, _)| (*name).to_owned());
    let mut names: Vec<String> = named.chain(built_in).collect();
    names.sort_unstable();
    names.dedup();
    names
}

impl Found {
    /// Its file. Of one that is built in it is the name alone, so that relative paths in it start at the current folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its runs are called by: the name of its file without its ending.
    pub fn stem(&self) -> &Path {
        Path::new(self.path.file_stem().unwrap_or_default())
    }

    /// Its text, under the name that messages have for it.
    ///
    /// # Errors
    /// When the file cannot be read or is not UTF-8.
    pub fn source(&self) -> Result<Source, Diagnostic> {
        match self.built_in {
            None => read_source(&self.path),
            Some(text) => Ok(Source {
                name: self.to_string(),
                text: text.to_owned(),
            }),
        }
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let built_in = self.built_in.map_or("", |_| " (built in)");
        write!(f, "{}{built_in}", self.path.display())
    }
}

/// Reads a TOML file as UTF-8.
pub(super) fn read_source(path: &Path) -> Result<Source, Diagnostic> {
    let text = std::fs::read(path)
        .map_err(|error| Diagnostic::file(path.display().to_string(), error.to_string()))?;
    let text = String::from_utf8(text).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        Diagnostic::file(
            format!("{}:{line}", path.display()),
            "not UTF-8; save the file as UTF-8",
        )
    })?;
    Ok(Source {
        name: path.display().to_string(),
        text,
    })
}
