//! The edits of a recipe, as make_fixtures.py makes them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use half::{bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

const WEIGHTS: &str = "model.safetensors";

fn text<'a>(edit: &'a Value, key: &str) -> &'a str {
    edit[key].as_str().unwrap()
}

/// Makes one edit of a folder.
pub fn apply(folder: &Path, edit: &Value) {
    let kind = text(edit, "op");
    let path = || folder.join(text(edit, "file"));
    match kind {
        "write" => std::fs::write(path(), text(edit, "text")).unwrap(),
        "remove" => drop(std::fs::remove_file(path())),
        "cut" => {
            let bytes = std::fs::read(path()).unwrap();
            let length = (bytes.len() as f64 * edit["at"].as_f64().unwrap()) as usize;
            std::fs::write(path(), &bytes[..length]).unwrap();
        }
        "file" => {
            let from = super::fixture("files").join(text(edit, "from"));
            std::fs::copy(from, path()).unwrap();
        }
        "set" | "delete" => edit_json(&path(), edit),
        _ => edit_tensors(folder, kind, edit),
    }
}

fn edit_json(path: &Path, edit: &Value) {
    let mut file = std::fs::read_to_string(path)
        .map_or(json!({}), |text| serde_json::from_str(&text).unwrap());
    let (last, first) = edit["path"].as_array().unwrap().split_last().unwrap();
    let mut parent = &mut file;
    for key in first {
        parent = match key {
            Value::String(key) => &mut parent[key.as_str()],
            key => &mut parent[key.as_u64().unwrap() as usize],
        };
    }
    match (parent, last.as_str()) {
        (Value::Array(items), Some("+")) => items.push(edit["value"].clone()),
        (Value::Object(items), Some(key)) if edit["op"] == "delete" => {
            drop(items.shift_remove(key))
        }
        (Value::Object(items), Some(key)) => {
            items.insert(key.to_owned(), edit["value"].clone());
        }
        _ => panic!("{edit}"),
    }
    std::fs::write(path, file.to_string()).unwrap();
}

/// A tensor's type, shape and bytes.
type Stored = (Dtype, Vec<usize>, Vec<u8>);

fn edit_tensors(folder: &Path, kind: &str, edit: &Value) {
    let path = folder.join(WEIGHTS);
    let bytes = std::fs::read(&path).unwrap();
    let mut tensors: BTreeMap<String, Stored> = (SafeTensors::deserialize(&bytes).unwrap())
        .iter()
        .map(|(name, view)| {
            let stored = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            (name.to_owned(), stored)
        })
        .collect();
    if kind == "shards" {
        let count = edit["count"].as_u64().unwrap() as usize;
        std::fs::remove_file(path).unwrap();
        return shards(folder, tensors, count);
    }
    if kind == "tensor-prefix" {
        tensors = tensors
            .into_iter()
            .map(|(name, tensor)| (prefixed(&name, edit), tensor))
            .collect();
        return save(&path, &tensors);
    }
    let name = text(edit, "name");
    match kind {
        "tensor-rename" => {
            let tensor = tensors.remove(name).unwrap();
            tensors.insert(text(edit, "to").to_owned(), tensor);
        }
        "tensor-remove" => drop(tensors.remove(name)),
        "tensor-copy" => {
            let tensor = tensors[name].clone();
            tensors.insert(text(edit, "to").to_owned(), tensor);
        }
        "tensor-add" => {
            let shape: Vec<usize> = crate::harness::numbers(&edit["shape"])
                .into_iter()
                .map(|size| size as usize)
                .collect();
            let value = edit["value"].as_f64().unwrap() as f32;
            let count = shape.iter().product();
            let bytes = std::iter::repeat_n(value.to_le_bytes(), count);
            let stored = (Dtype::F32, shape, bytes.flatten().collect());
            tensors.insert(name.to_owned(), stored);
        }
        _ => change(tensors.get_mut(name).unwrap(), kind, edit),
    }
    save(&path, &tensors);
}

/// Changes one tensor that is stored in F32.
fn change((dtype, shape, bytes): &mut Stored, kind: &str, edit: &Value) {
    let numbers = || {
        let chunks = bytes.as_chunks::<4>().0.iter();
        chunks.map(|chunk| f32::from_le_bytes(*chunk))
    };
    match kind {
        "tensor-value" => {
            let value: f32 = text(edit, "value").parse().unwrap();
            let at = 4 * edit["at"].as_u64().unwrap() as usize;
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        "tensor-cast" => {
            (*dtype, *bytes) = match text(edit, "dtype") {
                "F16" => (
                    Dtype::F16,
                    numbers()
                        .flat_map(|x| f16::from_f32(x).to_le_bytes())
                        .collect(),
                ),
                "BF16" => (
                    Dtype::BF16,
                    numbers()
                        .flat_map(|x| bf16::from_f32(x).to_le_bytes())
                        .collect(),
                ),
                "F64" => (
                    Dtype::F64,
                    numbers().flat_map(|x| f64::from(x).to_le_bytes()).collect(),
                ),
                "I32" => (
                    Dtype::I32,
                    numbers().flat_map(|x| (x as i32).to_le_bytes()).collect(),
                ),
                _ => return,
            }
        }
        "tensor-reshape" => {
            let count: usize = shape.iter().product();
            let wanted = crate::harness::numbers(&edit["shape"]).into_iter();
            *shape = wanted
                .map(|size| if size < 0.0 { count } else { size as usize })
                .collect();
        }
        "tensor-shorten" => {
            let row = bytes.len() / shape[0];
            shape[0] -= 1;
            bytes.truncate(row * shape[0]);
        }
        _ => panic!("{edit}"),
    }
}

fn prefixed(name: &str, edit: &Value) -> String {
    if !name.contains(text(edit, "only")) {
        return name.to_owned();
    }
    let strip = text(edit, "strip");
    let short = name.strip_prefix(strip).unwrap_or(name);
    format!("{}{short}", text(edit, "prefix"))
}

fn shards(folder: &Path, tensors: BTreeMap<String, Stored>, count: usize) {
    let mut index = serde_json::Map::new();
    let mut files: BTreeMap<String, BTreeMap<String, Stored>> = BTreeMap::new();
    for (place, (name, tensor)) in tensors.into_iter().enumerate() {
        let file = format!("part-{}.safetensors", place % count);
        index.insert(name.clone(), json!(file));
        files.entry(file).or_default().insert(name, tensor);
    }
    for (file, tensors) in files {
        save(&folder.join(file), &tensors);
    }
    let index = json!({"metadata": {}, "weight_map": index});
    let path = folder.join("model.safetensors.index.json");
    std::fs::write(path, index.to_string()).unwrap();
}

fn save(path: &Path, tensors: &BTreeMap<String, Stored>) {
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    std::fs::write(path, safetensors::serialize(views, Some(metadata)).unwrap()).unwrap();
}
