//! Named tensors of a checkpoint, as f32, from whichever of the usual file layouts it has. Values may be stored as F32, F16 or BF16; the last
//! two convert exactly. Nothing is converted, and nothing of its size allocated, before it is asked for.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

use super::WeightsError;
use super::entry::{Entry, Place, Stored, file_name, format};
use super::pickled::pickled;
use super::weight_files::{WeightFiles, weight_files};
use crate::foreign;

/// What tools put before every name: torch.compile, DataParallel, a wrapping module.
const WRAPPERS: [&str; 3] = ["_orig_mod.", "module.", "model."];

/// The tensors of a checkpoint by name, without the prefix of their family and without what a wrapper put before it.
pub(super) struct Tensors<'a> {
    /// The file that messages name: the only one, or the index.
    pub origin: PathBuf,
    files: Vec<Cow<'a, [u8]>>,
    entries: BTreeMap<String, Entry>,
    /// What safetensors files say of themselves.
    metadata: HashMap<String, String>,
}

impl<'a> Tensors<'a> {
    /// Opens the weights of a model directory, of a family that puts `prefix` before the names of its tensors.
    pub fn open(directory: &Path, prefix: &str) -> Result<Self, WeightsError> {
        let WeightFiles {
            origin,
            parts,
            index,
        } = weight_files(directory)?;
        let mut tensors = Self::empty(origin);
        let mut found = Vec::new();
        for path in parts {
            found.extend(tensors.read_file(&path)?);
        }
        tensors.name(found, prefix)?;
        match index {
            Some(index) => tensors.compare(index),
            None => Ok(tensors),
        }
    }

    /// The tensors of one file: safetensors, or `.bin` of PyTorch.
    pub fn of_file(path: &Path, prefix: &str) -> Result<Self, WeightsError> {
        let mut tensors = Self::empty(path.to_owned());
        let found = tensors.read_file(path)?;
        tensors.name(found, prefix)?;
        Ok(tensors)
    }

    /// The tensors of one safetensors file in memory.
    pub fn of_bytes(
        origin: PathBuf,
        bytes: impl Into<Cow<'a, [u8]>>,
        prefix: &str,
    ) -> Result<Self, WeightsError> {
        let mut tensors = Self::empty(origin.clone());
        let found = tensors.safetensors(&origin, bytes.into())?;
        tensors.name(found, prefix)?;
        Ok(tensors)
    }

    fn empty(origin: PathBuf) -> Self {
        Self {
            origin,
            files: Vec::new(),
            entries: BTreeMap::new(),
            metadata: HashMap::new(),
        }
    }

    /// The tensors of one of its files.
    fn read_file(&mut self, path: &Path) -> Result<Vec<Entry>, WeightsError> {
        if path.extension().is_some_and(|extension| extension == "bin") {
            return pickled(path);
        }
        let bytes = std::fs::read(path).map_err(|source| WeightsError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        self.safetensors(path, Cow::Owned(bytes))
    }

    fn safetensors(
        &mut self,
        path: &Path,
        bytes: Cow<'a, [u8]>,
    ) -> Result<Vec<Entry>, WeightsError> {
        let read = foreign::call(|| SafeTensors::read_metadata(&bytes));
        let (header, metadata) = read
            .map_err(|panic| format(path, "safetensors", &panic))?
            .map_err(|error| format(path, "safetensors", &error))?;
        self.metadata
            .extend(metadata.metadata().clone().unwrap_or_default());
        let mut found = Vec::new();
        for (name, info) in metadata.tensors() {
            // The tensors start behind the header and the eight bytes of its length.
            let start = 8 + header;
            let range = start + info.data_offsets.0..start + info.data_offsets.1;
            found.push(Entry {
                name,
                file: file_name(path),
                stored: match info.dtype {
                    Dtype::F32 => Ok(Stored::F32),
                    Dtype::F16 => Ok(Stored::F16),
                    Dtype::BF16 => Ok(Stored::Bf16),
                    other => Err(format!("{other:?}")),
                },
                shape: info.shape.clone(),
                place: Place::Range(self.files.len(), range),
            });
        }
        self.files.push(bytes);
        Ok(found)
    }

    /// Puts the entries under their short names.
    fn name(&mut self, mut found: Vec<Entry>, prefix: &str) -> Result<(), WeightsError> {
        found.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(first) = found.first() {
            let (wrapper, _) = unwrapped(&first.name, prefix);
            let other = found
                .iter()
                .find(|one| unwrapped(&one.name, prefix).0 != wrapper);
            if let Some(other) = other {
                return Err(self.wrong(format!(
                    "tensors `{}` and `{}` have different prefixes: rename them alike",
                    first.name, other.name
                )));
            }
        }
        for entry in found {
            let (_, rest) = unwrapped(&entry.name, prefix);
            let short = rest.strip_prefix(prefix).unwrap_or(rest).to_owned();
            if let Some(other) = self.entries.get(&short) {
                let message = if other.name == entry.name {
                    format!("tensor `{}` is there twice", entry.name)
                } else {
                    format!("`{}` and `{}` are one tensor", other.name, entry.name)
                };
                return Err(self.wrong(message));
            }
            self.entries.insert(short, entry);
        }
        Ok(())
    }

    /// Compares what an index says with what its files hold.
    fn compare(self, index: BTreeMap<String, String>) -> Result<Self, WeightsError> {
        let found: BTreeMap<&String, &String> = (self.entries.values())
            .map(|entry| (&entry.name, &entry.file))
            .collect();
        for (name, file) in &index {
            match found.get(name) {
                None => {
                    let message = format!("tensor `{name}` is not in {file}");
                    return Err(self.wrong(message));
                }
                Some(other) if *other != file => {
                    let message = format!("tensor `{name}` is in {other}, not in {file}");
                    return Err(self.wrong(message));
                }
                Some(_) => {}
            }
        }
        let unnamed = found
            .iter()
            .find(|(name, _)| !index.contains_key(**name))
            .map(|(name, file)| format!("tensor `{name}` of {file} is missing in the index"));
        match unnamed {
            Some(message) => Err(self.wrong(message)),
            None => Ok(self),
        }
    }

    fn wrong(&self, message: String) -> WeightsError {
        WeightsError::Content {
            path: self.origin.clone(),
            message,
        }
    }

    /// What the file says of itself under this key.
    pub fn said(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Gives a tensor another name.
    pub fn rename(&mut self, from: &str, to: &str) {
        if let Some(entry) = self.entries.remove(from) {
            self.entries.insert(to.to_owned(), entry);
        }
    }

    /// Leaves a tensor out.
    pub fn drop(&mut self, name: &str) {
        self.entries.remove(name);
    }

    /// Checks, from the header alone, that a tensor is there with this shape.
    pub fn expect(&self, name: &str, shape: &[usize]) -> Result<(), String> {
        self.find(name, shape).map(|_| ())
    }

    fn find(&self, name: &str, shape: &[usize]) -> Result<(&Entry, Stored), String> {
        let Some(entry) = self.entries.get(name) else {
            let others: Vec<String> = self.entries.values().map(quoted).take(3).collect();
            return Err(match self.entries.len() {
                0 => format!("tensor `{name}` is missing; the file has no tensor"),
                count => format!(
                    "tensor `{name}` is missing; of {count} tensors there are {}, ...",
                    others.join(", ")
                ),
            });
        };
        if entry.shape != shape {
            return Err(format!(
                "tensor `{}` has shape {:?}, but the config makes it {shape:?}",
                entry.name, entry.shape
            ));
        }
        match &entry.stored {
            Ok(stored) => Ok((entry, *stored)),
            Err(found) => Err(format!(
                "tensor `{}` is {found}; weights must be F32, F16 or BF16: convert them first",
                entry.name
            )),
        }
    }

    /// Takes the values of one tensor, row by row.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        let values = self.read(name, shape)?;
        self.entries.remove(name);
        Ok(values)
    }

    /// The values of one tensor, row by row.
    pub fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        let (entry, stored) = self.find(name, shape)?;
        let name = &entry.name;
        let values = match &entry.place {
            Place::Range(file, range) => numbers(&self.files[*file][range.clone()], stored),
            Place::Pickled(tensor) => {
                let bytes = foreign::call(|| tensor.read().map_err(|error| error.to_string()));
                let bytes = bytes.and_then(|bytes| bytes).map_err(|error| {
                    format!("tensor `{name}` cannot be read: {error}; fetch the file again")
                })?;
                numbers(&bytes, stored)
            }
        };
        if values.len() != shape.iter().product::<usize>() {
            return Err(format!("tensor `{name}` has {} values", values.len()));
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(format!(
                "tensor `{name}` holds {} at element {index}",
                values[index]
            )),
            None => Ok(values),
        }
    }

    /// Refuses tensors that nothing has taken, but those of which `known` says that the network does not need them.
    pub fn finish(&self, known: impl Fn(&str) -> bool) -> Result<(), String> {
        let left = self.entries.iter().filter(|(name, _)| !known(name));
        let left: Vec<String> = left.map(|(_, entry)| quoted(entry)).collect();
        let Some((first, others)) = left.split_first() else {
            return Ok(());
        };
        let more = match others {
            [] => String::new(),
            others => format!(", nor have {} more, such as {}", others.len(), others[0]),
        };
        Err(format!(
            "tensor {first} has no place in the network of the config{more}: does that belong to these weights?"
        ))
    }
}

/// A name in two parts: what wrappers put before it, and the rest. What the family itself puts before its names is no wrapper.
fn unwrapped<'a>(name: &'a str, prefix: &str) -> (&'a str, &'a str) {
    let mut rest = name;
    while let Some(shorter) = WRAPPERS
        .iter()
        .filter(|wrapper| **wrapper != prefix)
        .find_map(|wrapper| rest.strip_prefix(wrapper))
    {
        rest = shorter;
    }
    name.split_at(name.len() - rest.len())
}

fn quoted(entry: &Entry) -> String {
    format!("`{}`", entry.name)
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
