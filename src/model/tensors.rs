//! Named tensors of a checkpoint, as f32, from whichever of the usual file layouts it has: `model.safetensors`, safetensors in shards with
//! an index, `pytorch_model.bin`, or that in shards. Values may be stored as F32, F16 or BF16; the last two convert exactly.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use pytorch_reader::{DType, PytorchReader};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde::Deserialize;

use super::WeightsError;

/// The weight files that a model directory may have, in the order in which they are looked for; an index names further files.
pub(crate) const WEIGHT_FILES: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// How a number is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    F32,
    F16,
    Bf16,
}

/// One tensor that has not been read yet.
struct Entry {
    stored: Result<Stored, String>,
    shape: Vec<usize>,
    place: Place,
}

enum Place {
    /// Bytes of one of the files in memory.
    Range(usize, Range<usize>),
    Pickled(Box<pytorch_reader::Tensor>),
}

/// The tensors of a checkpoint by name, without the prefix `transformer.`.
pub(super) struct Tensors<'a> {
    /// The file that messages name: the only one, or the index.
    pub origin: PathBuf,
    files: Vec<Cow<'a, [u8]>>,
    entries: HashMap<String, Entry>,
}

impl<'a> Tensors<'a> {
    /// Opens the weights of a model directory.
    pub fn open(directory: &Path) -> Result<Self, WeightsError> {
        let files = weight_files(directory)?;
        let mut tensors = Self::empty(files.origin);
        for path in files.parts {
            if path.extension().is_some_and(|extension| extension == "bin") {
                tensors.add_pickled(&path)?;
            } else {
                let bytes = std::fs::read(&path).map_err(|source| WeightsError::Io {
                    action: "read",
                    path: path.clone(),
                    source,
                })?;
                tensors.add_safetensors(&path, Cow::Owned(bytes))?;
            }
        }
        Ok(tensors)
    }

    /// The tensors of one safetensors file in memory.
    pub fn of_bytes(origin: PathBuf, bytes: &'a [u8]) -> Result<Self, WeightsError> {
        let mut tensors = Self::empty(origin.clone());
        tensors.add_safetensors(&origin, Cow::Borrowed(bytes))?;
        Ok(tensors)
    }

    fn empty(origin: PathBuf) -> Self {
        Self {
            origin,
            files: Vec::new(),
            entries: HashMap::new(),
        }
    }

    fn add_safetensors(&mut self, path: &Path, bytes: Cow<'a, [u8]>) -> Result<(), WeightsError> {
        let (header, metadata) = SafeTensors::read_metadata(&bytes)
            .map_err(|error| format(path, "safetensors", &error))?;
        for (name, info) in metadata.tensors() {
            // The tensors start behind the header and the eight bytes of its length.
            let start = 8 + header;
            let range = start + info.data_offsets.0..start + info.data_offsets.1;
            let stored = match info.dtype {
                Dtype::F32 => Ok(Stored::F32),
                Dtype::F16 => Ok(Stored::F16),
                Dtype::BF16 => Ok(Stored::Bf16),
                other => Err(format!("{other:?}")),
            };
            let place = Place::Range(self.files.len(), range);
            self.add(path, &name, info.shape.clone(), stored, place)?;
        }
        self.files.push(bytes);
        Ok(())
    }

    fn add_pickled(&mut self, path: &Path) -> Result<(), WeightsError> {
        let reader = PytorchReader::new(path).map_err(|error| format(path, "PyTorch", &error))?;
        for (name, tensor) in reader.into_tensors() {
            let stored = match tensor.dtype() {
                DType::F32 => Ok(Stored::F32),
                DType::F16 => Ok(Stored::F16),
                DType::BF16 => Ok(Stored::Bf16),
                other => Err(format!("{other:?}")),
            };
            let shape = tensor.shape().to_vec();
            self.add(path, &name, shape, stored, Place::Pickled(Box::new(tensor)))?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        path: &Path,
        name: &str,
        shape: Vec<usize>,
        stored: Result<Stored, String>,
        place: Place,
    ) -> Result<(), WeightsError> {
        let short = name.strip_prefix("transformer.").unwrap_or(name).to_owned();
        let entry = Entry {
            stored,
            shape,
            place,
        };
        match self.entries.insert(short, entry) {
            None => Ok(()),
            Some(_) => Err(WeightsError::Content {
                path: path.to_owned(),
                message: format!("tensor `{name}` is there twice"),
            }),
        }
    }

    /// Takes the values of one tensor, row by row.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        let entry = self
            .entries
            .remove(name)
            .ok_or_else(|| format!("tensor `{name}` is missing"))?;
        if entry.shape != shape {
            return Err(format!(
                "tensor `{name}` has shape {:?}, but config.json makes it {shape:?}",
                entry.shape
            ));
        }
        let stored = entry.stored.map_err(|found| {
            format!(
                "tensor `{name}` is {found}; weights must be F32, F16 or BF16: convert them first"
            )
        })?;
        let values = match entry.place {
            Place::Range(file, range) => numbers(&self.files[file][range], stored),
            Place::Pickled(tensor) => {
                let bytes = tensor.read().map_err(|error| {
                    format!("tensor `{name}` cannot be read: {error}; fetch the file again")
                })?;
                numbers(&bytes, stored)
            }
        };
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(format!(
                "tensor `{name}` holds {} at element {index}",
                values[index]
            )),
            None => Ok(values),
        }
    }

    /// A tensor whose name begins with one of `parts` that nothing has taken: a sign that config.json belongs to another checkpoint.
    pub fn left_over(&self, parts: &[&str]) -> Option<&str> {
        let names = self.entries.keys().map(String::as_str);
        let names = names.filter(|name| parts.iter().any(|part| name.starts_with(part)));
        // Buffers are no part of a network.
        let buffers = [
            ".attn.bias",
            ".attn.masked_bias",
            ".position_ids",
            ".token_type_ids",
        ];
        let names = names.filter(|name| !buffers.iter().any(|buffer| name.ends_with(buffer)));
        names.min()
    }
}

fn numbers(bytes: &[u8], stored: Stored) -> Vec<f32> {
    match stored {
        Stored::F32 => (bytes.as_chunks().0.iter().copied())
            .map(f32::from_le_bytes)
            .collect(),
        Stored::F16 => (bytes.as_chunks().0.iter().copied())
            .map(|pair| f16::from_le_bytes(pair).to_f32())
            .collect(),
        Stored::Bf16 => (bytes.as_chunks().0.iter().copied())
            .map(|pair| bf16::from_le_bytes(pair).to_f32())
            .collect(),
    }
}

/// The weights of a model directory: the file that was found, and the files with tensors.
pub(crate) struct WeightFiles {
    pub origin: PathBuf,
    pub parts: Vec<PathBuf>,
}

/// Finds the weights of a model directory.
pub(crate) fn weight_files(directory: &Path) -> Result<WeightFiles, WeightsError> {
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
    let parts = match is_index {
        true => {
            let bytes = std::fs::read(&origin).map_err(|source| WeightsError::Io {
                action: "read",
                path: origin.clone(),
                source,
            })?;
            let names = shard_names(&bytes).map_err(|message| WeightsError::Content {
                path: origin.clone(),
                message,
            })?;
            names.iter().map(|name| directory.join(name)).collect()
        }
        false => vec![origin.clone()],
    };
    Ok(WeightFiles { origin, parts })
}

/// The files that an index names. A name with a folder in it is refused: it could lie anywhere.
pub(crate) fn shard_names(index: &[u8]) -> Result<BTreeSet<String>, String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: HashMap<String, String>,
    }
    let index: Index = serde_json::from_slice(index)
        .map_err(|error| format!("not an index of weight files: {error}"))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    match names
        .iter()
        .find(|name| name.contains(['/', '\\']) || name.starts_with('.'))
    {
        Some(name) => Err(format!(
            "`{name}` is not the plain name of a file beside it"
        )),
        None if names.is_empty() => Err("it names no files".to_owned()),
        None => Ok(names),
    }
}

fn format(path: &Path, what: &'static str, error: &dyn std::fmt::Display) -> WeightsError {
    WeightsError::Format {
        path: path.to_owned(),
        what,
        message: error.to_string(),
    }
}
