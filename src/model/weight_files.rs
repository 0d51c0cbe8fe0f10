//! The weight files of a model directory: one, or several with an index.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::WeightsError;

/// The weight files that a model directory may have, in the order in which they are looked for; an index names further files.
pub(crate) const WEIGHT_FILES: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// The weights of a model directory.
pub(crate) struct WeightFiles {
    /// The file that was found: the only one, or the index.
    pub origin: PathBuf,
    /// The files with tensors.
    pub parts: Vec<PathBuf>,
    /// Which tensor is in which file, if an index says so.
    pub index: Option<BTreeMap<String, String>>,
}

/// Finds the weights of a model directory.
pub(crate) fn weight_files(directory: &Path) -> Result<WeightFiles, WeightsError> {
    let adapter = directory.join("adapter_config.json");
    if adapter.is_file() {
        return Err(WeightsError::Content {
            path: adapter,
            message: "only `[models]` can name an adapter, and by its directory: merge it into its base and save the model"
                .to_owned(),
        });
    }
    let paths = WEIGHT_FILES.map(|name| directory.join(name));
    let Some(origin) = paths.into_iter().find(|path| path.is_file()) else {
        return Err(WeightsError::Content {
            path: directory.to_owned(),
            message: format!("no weights here; expected {}", WEIGHT_FILES.join(", or ")),
        });
    };
    let is_index = origin
        .extension()
        .is_some_and(|extension| extension == "json");
    if !is_index {
        return Ok(WeightFiles {
            parts: vec![origin.clone()],
            origin,
            index: None,
        });
    }
    let bytes = std::fs::read(&origin).map_err(|source| WeightsError::Io {
        action: "read",
        path: origin.clone(),
        source,
    })?;
    let wrong = |message| WeightsError::Content {
        path: origin.clone(),
        message,
    };
    let index = read_index(&bytes).map_err(wrong)?;
    let names: BTreeSet<&String> = index.values().collect();
    Ok(WeightFiles {
        parts: names.into_iter().map(|name| directory.join(name)).collect(),
        origin,
        index: Some(index),
    })
}

/// The files that an index names.
pub(crate) fn shard_names(index: &[u8]) -> Result<BTreeSet<String>, String> {
    Ok(read_index(index)?.into_values().collect())
}

/// Which file an index gives each tensor. A name with a folder in it is refused: it could lie anywhere.
fn read_index(index: &[u8]) -> Result<BTreeMap<String, String>, String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(index)
        .map_err(|error| format!("not an index of weight files: {error}"))?;
    let names = index.weight_map.values();
    let plain = |name: &str| !name.contains(['/', '\\']) && !name.starts_with('.');
    match names.into_iter().find(|name| !plain(name)) {
        Some(name) => Err(format!(
            "`{name}` is not the plain name of a file beside it"
        )),
        None if index.weight_map.is_empty() => Err("it names no files".to_owned()),
        None => Ok(index.weight_map),
    }
}
