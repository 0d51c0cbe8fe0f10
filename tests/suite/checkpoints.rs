//! Every file layout and number format of a checkpoint, as transformers reads it.

use burn::tensor::{Device, Int, Tensor, TensorData};
use milepost::model::{Network, named_parameters};

use crate::harness::{REFERENCE, close, fixture, numbers, rows};

fn logits(model: &Network, batch: &[Vec<u32>]) -> Vec<f32> {
    let ids: Vec<i32> = batch.iter().flatten().map(|&id| id as i32).collect();
    let data = TensorData::new(ids, [batch.len(), batch[0].len()]);
    let ids: Tensor<2, Int> = Tensor::from_data(data, &model.device());
    model.logits(ids).into_data().try_into_vec().unwrap()
}

#[test]
fn every_layout_and_format_gives_the_logits_of_transformers() {
    let reference = &REFERENCE["variants"];
    let batch = rows(&reference["ids"]);
    let expected = reference["logits"].as_object().unwrap();
    assert_eq!(expected.len(), 7);
    for (name, expected) in expected {
        let model = Network::load(&fixture("variants").join(name), &Device::flex()).unwrap();
        for (found, expected) in logits(&model, &batch).iter().zip(numbers(expected)) {
            close(f64::from(*found), expected, 1e-4, 1.0, name);
        }
    }
    // Half precision is another model: the comparison above can tell.
    assert_ne!(expected["bf16"], expected["sharded"]);
    assert_eq!(expected["bin_f16"], expected["f16"]);
}

/// A copy of a variant after `change`, and the message that it is refused with.
fn refused(variant: &str, change: impl Fn(&std::path::Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture("variants").join(variant)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    change(folder.path());
    let error = Network::load(folder.path(), &Device::flex()).unwrap_err();
    error.to_string()
}

fn halve(path: &std::path::Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn damaged_checkpoints_are_refused_by_file() {
    let shard = "model-00002-of-00004.safetensors";
    let gone = refused("sharded", |folder| {
        std::fs::remove_file(folder.join(shard)).unwrap()
    });
    assert!(
        gone.contains("cannot read") && gone.contains(shard),
        "{gone}"
    );
    let torn = refused("sharded", |folder| halve(&folder.join(shard)));
    assert!(
        torn.contains("not a readable safetensors file") && torn.contains(shard),
        "{torn}"
    );
    let torn = refused("bin", |folder| halve(&folder.join("pytorch_model.bin")));
    assert!(torn.contains("not a readable PyTorch file"), "{torn}");
    let index = "model.safetensors.index.json";
    let outside = refused("sharded", |folder| {
        let text = r#"{"weight_map": {"wte.weight": "../secret.safetensors"}}"#;
        std::fs::write(folder.join(index), text).unwrap();
    });
    assert!(
        outside.contains("not the plain name of a file"),
        "{outside}"
    );
    let broken = refused("sharded", |folder| {
        std::fs::write(folder.join(index), "{").unwrap()
    });
    assert!(broken.contains("not an index of weight files"), "{broken}");
    let fewer = refused("sharded", |folder| {
        let path = folder.join(index);
        let text = std::fs::read_to_string(&path).unwrap();
        // The last layer norm's shard is named no more.
        let mut index: serde_json::Value = serde_json::from_str(&text).unwrap();
        let map = index["weight_map"].as_object_mut().unwrap();
        let shard = map["transformer.ln_f.weight"].clone();
        map.retain(|_, file| *file != shard);
        std::fs::write(&path, index.to_string()).unwrap();
    });
    assert!(fewer.contains("is missing"), "{fewer}");
}

/// A Python with torch and transformers, or None with a word that the test skips.
pub fn transformers() -> Option<std::path::PathBuf> {
    let python = std::env::var_os("MILEPOST_PYTHON").map(std::path::PathBuf::from);
    let python = python.filter(|python| {
        let tried = std::process::Command::new(python)
            .args(["-c", "import torch, transformers"])
            .output();
        tried.is_ok_and(|tried| tried.status.success())
    });
    if python.is_none() {
        println!("skipped: MILEPOST_PYTHON is not a Python with torch and transformers");
    }
    python
}

#[test]
fn what_is_saved_goes_through_transformers_and_back_bit_for_bit() {
    let Some(python) = transformers() else { return };
    let model = Network::load(&fixture("main"), &Device::flex()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    std::fs::create_dir(&ours).unwrap();
    model.save(&ours).unwrap();
    let batch = rows(&REFERENCE["forward"]["ids"]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/round_trip.py");
    let output = assert_cmd::Command::new(python)
        .arg(script)
        .args([&ours, &theirs])
        .write_stdin(serde_json::to_string(&batch).unwrap())
        .assert()
        .success();
    let found: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    for (found, ours) in numbers(&found).iter().zip(logits(&model, &batch)) {
        close(*found, f64::from(ours), 1e-4, 1.0, "logit");
    }
    let again = Network::load(&theirs, &Device::flex()).unwrap();
    for ((name, data), (_, other)) in named_parameters(&model)
        .iter()
        .zip(named_parameters(&again))
    {
        assert_eq!(data.as_bytes(), other.as_bytes(), "{name}");
    }
}
