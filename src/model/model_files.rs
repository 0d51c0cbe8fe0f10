//! The files of a model: those of a directory, or those built into the program.

use std::path::{Path, PathBuf};

use super::keys::Keys;
use super::tensors::Tensors;
use super::{ConfigError, WeightsError};

/// Where the files of a model are.
pub(crate) enum ModelFiles<'a> {
    /// In a directory in Hugging Face layout.
    Directory(&'a Path),
    /// In memory.
    Memory {
        /// Where they came from, for messages.
        origin: PathBuf,
        /// Text of `config.json`.
        config: &'a str,
        /// Bytes of `model.safetensors`.
        weights: &'a [u8],
    },
}

impl<'a> ModelFiles<'a> {
    /// The keys of `config.json`.
    ///
    /// # Errors
    /// When it cannot be read, or is no JSON object.
    pub(super) fn config(&self) -> Result<Keys, WeightsError> {
        let keys = match self {
            Self::Directory(_) => Keys::parse(&read(self.path("config.json"))?),
            Self::Memory { config, .. } => Keys::parse(config),
        };
        keys.map_err(|error| self.wrong_config(error))
    }

    /// The text of `generation_config.json`, where there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn generation_config(&self) -> Result<Option<String>, WeightsError> {
        let path = self.path("generation_config.json");
        match self {
            Self::Directory(_) if path.is_file() => read(path).map(Some),
            _ => Ok(None),
        }
    }

    /// The named tensors, without `prefix` before their names.
    ///
    /// # Errors
    /// When there are no weights, or they cannot be read.
    pub(super) fn tensors(&self, prefix: &str) -> Result<Tensors<'a>, WeightsError> {
        match self {
            Self::Directory(directory) => Tensors::open(directory, prefix),
            Self::Memory { weights, .. } => {
                Tensors::of_bytes(self.path("model.safetensors"), *weights, prefix)
            }
        }
    }

    /// What is wrong with `config.json`.
    pub(super) fn wrong_config(&self, source: ConfigError) -> WeightsError {
        self.wrong("config.json", source)
    }

    /// What is wrong with a config of this name.
    pub(super) fn wrong(&self, name: &str, source: ConfigError) -> WeightsError {
        WeightsError::Config {
            path: self.path(name),
            source,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Directory(directory) => directory.join(name),
            Self::Memory { origin, .. } => origin.join(name),
        }
    }
}

fn read(path: PathBuf) -> Result<String, WeightsError> {
    std::fs::read_to_string(&path).map_err(|source| WeightsError::Io {
        action: "read",
        path,
        source,
    })
}
