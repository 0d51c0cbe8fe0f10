//! HONEST's English templates: where their file is.

use std::path::PathBuf;

use super::store::{Pinned, Store};
use crate::download::Progress;

/// The file's name in the folder `honest`.
const FILE: &str = "en_template.tsv";

/// Why HONEST's templates cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum HonestError {
    /// They are nowhere to be found.
    #[error(
        "no HONEST templates: {0}\nSet MILEPOST_DATA to a folder with honest/en_template.tsv, or `templates.file` to a file in that layout"
    )]
    Nowhere(String),
    /// The recipe that ships is broken.
    #[error("the recipe datasets/honest.toml is broken: {0}")]
    Recipe(#[from] toml::de::Error),
}

/// Finds the file: in `MILEPOST_DATA`, in the cache, or by a download with pinned MD5.
///
/// # Errors
/// When it is nowhere.
pub fn find(store: &Store, progress: &mut Progress) -> Result<PathBuf, HonestError> {
    let pinned: Pinned = toml::from_str(include_str!("../../datasets/honest.toml"))?;
    match store.find("honest", FILE, &[(FILE, &pinned)], progress) {
        Ok(found) => Ok(found.folder.join(FILE)),
        Err(passed_over) => Err(HonestError::Nowhere(passed_over.join("; "))),
    }
}
