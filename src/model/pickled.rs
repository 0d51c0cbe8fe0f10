//! Tensors of a file that PyTorch pickled.

use std::path::Path;

use pytorch_reader::{DType, PickleValue, PytorchError, PytorchReader};

use super::WeightsError;
use super::entry::{Entry, Place, Stored, file_name, format};
use crate::foreign;

/// The tensors of a file that PyTorch pickled.
pub(super) fn pickled(path: &Path) -> Result<Vec<Entry>, WeightsError> {
    let wrong = |message: String| WeightsError::Content {
        path: path.to_owned(),
        message,
    };
    let length = std::fs::metadata(path).map_err(|source| WeightsError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    let (length, read) = (
        length.len(),
        foreign::call(|| {
            let root = PytorchReader::read_pickle_data(path, None)?;
            Ok((root, PytorchReader::new(path)?))
        }),
    );
    let (root, reader) = read
        .map_err(|panic| format(path, "PyTorch", &panic))?
        .map_err(|error: PytorchError| format(path, "PyTorch", &error))?;
    if let PickleValue::Dict(values) = root {
        let nested = |value: &PickleValue| {
            matches!(value, PickleValue::Dict(items) if !items.is_empty())
                || matches!(value, PickleValue::List(items) if !items.is_empty())
        };
        let nested = values.iter().filter(|(_, value)| nested(value));
        if let Some(name) = nested.map(|(name, _)| name).min() {
            return Err(wrong(format!(
                "`{name}` holds further values, not a tensor; save the model's state_dict alone"
            )));
        }
    }
    let mut found = Vec::new();
    for (name, tensor) in reader.into_tensors() {
        // A view may repeat a few stored values without end.
        if foreign::call(|| tensor.byte_len()).is_ok_and(|bytes| bytes as u64 > length) {
            return Err(wrong(format!(
                "tensor `{name}` of shape {:?} is larger than the file; store it whole",
                tensor.shape()
            )));
        }
        found.push(Entry {
            name,
            file: file_name(path),
            stored: match tensor.dtype() {
                DType::F32 => Ok(Stored::F32),
                DType::F16 => Ok(Stored::F16),
                DType::BF16 => Ok(Stored::Bf16),
                other => Err(format!("{other:?}")),
            },
            shape: tensor.shape().to_vec(),
            place: Place::Pickled(Box::new(tensor)),
        });
    }
    Ok(found)
}
