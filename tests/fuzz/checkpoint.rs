//! Models from changed files.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor};
use milepost::model::{Network, Roberta};
use tempfile::TempDir;

use crate::runner::Target;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// A copy of a fixture's folder.
fn copy(name: &str) -> TempDir {
    let folder = crate::runner::folder();
    for entry in std::fs::read_dir(fixture(name)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

/// Reads a GPT-2 of which one file is the input.
fn gpt2(variant: &str, file: &'static str, words: &[&'static str]) -> Target {
    let folder = copy(variant);
    let path = folder.path().join(file);
    let seed = std::fs::read(&path).unwrap();
    let read = move |input: &[u8]| {
        std::fs::write(&path, input).unwrap();
        if let Ok(model) = Network::load(folder.path(), &Device::flex()) {
            let tokens = Tensor::<2, Int>::from_data([[0, 1]], &model.device());
            let _ = model.logits(tokens).into_data();
        }
    };
    Target {
        seeds: vec![seed],
        words: words.to_vec(),
        read: Box::new(read),
    }
}

/// `config.json` of a GPT-2.
pub fn config() -> Target {
    let words = [
        "num_hidden_layers",
        "\"n_inner\": 9223372036854775807,",
        "eos_token_id",
        "[1,2]",
        "\"layer_norm_epsilon\": -1,",
        "pruned_heads",
        "quantization_config",
    ];
    gpt2("gpt2/variants/base", "config.json", &words)
}

/// `model.safetensors`.
pub fn safetensors() -> Target {
    let words = [
        "F16",
        "BF16",
        "F64",
        "I64",
        "lm_head.weight",
        "module.",
        "_orig_mod.",
        "data_offsets",
        "[0,0]",
    ];
    gpt2("gpt2/variants/base", "model.safetensors", &words)
}

/// `model.safetensors.index.json`.
pub fn index() -> Target {
    let words = [
        "..",
        "/",
        "model-00001-of-00004.safetensors",
        "weight_map",
        "config.json",
    ];
    gpt2(
        "gpt2/variants/sharded",
        "model.safetensors.index.json",
        &words,
    )
}

/// `pytorch_model.bin`.
pub fn pickle() -> Target {
    let words = [
        "\u{2}",
        "BFloat16Storage",
        "HalfStorage",
        "_rebuild_tensor_v2",
        "OrderedDict",
        "lm_head.weight",
        "PK",
    ];
    gpt2("gpt2/variants/bin", "pytorch_model.bin", &words)
}

/// Reads a classifier of which one file is the input.
fn roberta(file: &'static str, words: &[&'static str]) -> Target {
    let folder = copy("roberta/softmax");
    let path = folder.path().join(file);
    let seed = std::fs::read(&path).unwrap();
    let read = move |input: &[u8]| {
        std::fs::write(&path, input).unwrap();
        if let Ok(model) = Roberta::load(folder.path(), &Device::flex()) {
            let _ = model.logits(&[vec![0, 7, 2]], &|_| Ok(()));
        }
    };
    Target {
        seeds: vec![seed],
        words: words.to_vec(),
        read: Box::new(read),
    }
}

/// `config.json` of a classifier.
pub fn roberta_config() -> Target {
    roberta(
        "config.json",
        &[
            "xlm-roberta",
            "num_labels",
            "is_decoder",
            "id2label",
            "problem_type",
            "pad_token_id",
        ],
    )
}

/// A classifier's `model.safetensors`.
pub fn roberta_weights() -> Target {
    roberta(
        "model.safetensors",
        &[
            "F16",
            "roberta.pooler.dense.weight",
            "position_ids",
            "module.",
            "data_offsets",
        ],
    )
}
