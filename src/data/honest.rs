//! Finds the file of HONEST's English templates (Nozza et al. 2021).

use std::path::PathBuf;

use super::store::{Pinned, Store};
use crate::download::Progress;

/// The file's name in the folder `honest`.
const FILE: &str = "en_template.tsv";

/// Why HONEST's templates are not available.
#[derive(Debug, thiserror::Error)]
pub enum HonestError {
    /// No place has them; the reason for each.
    #[error(
        "no HONEST templates: {0}\nSet MILEPOST_DATA to a folder with honest/en_template.tsv, or `templates.file` to a file in that layout"
    )]
    Nowhere(String),
    /// The recipe that ships cannot be parsed.
    #[error("the recipe datasets/honest.toml is broken: {0}")]
    Recipe(#[from] toml::de::Error),
}

/// Returns the path of the file: in `MILEPOST_DATA`, in the cache, or downloaded to the cache and checked against the pinned MD5.
///
/// # Errors
/// When no place has it.
pub fn find(store: &Store, progress: &mut Progress) -> Result<PathBuf, HonestError> {
    let pinned: Pinned = toml::from_str(include_str!("../../datasets/honest.toml"))?;
    match store.find("honest", FILE, &[(FILE, &pinned)], progress) {
        Ok(found) => Ok(found.folder.join(FILE)),
        Err(passed_over) => Err(HonestError::Nowhere(passed_over.join("; "))),
    }
}
