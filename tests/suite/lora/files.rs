//! The files of adapters: as PEFT writes them, and what is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use milepost::hook::testing::changed;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{REFERENCE, adapters, base, fixtures, floats, load, logits, near, on_flex, parameters};
use crate::harness::rows;

/// What is saved is what PEFT saved, bit for bit, and is read again so.
#[test]
fn adapters_are_saved_as_pefts() {
    for (name, _) in adapters() {
        let model = load(name, &on_flex());
        let folder = TempDir::new().unwrap();
        model.save(folder.path()).unwrap();
        let read = |folder: &Path| {
            let bytes = std::fs::read(folder.join("adapter_model.safetensors")).unwrap();
            let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            let tensors = file.tensors().into_iter();
            let tensors =
                tensors.map(|(name, view)| (name, (view.shape().to_vec(), view.data().to_vec())));
            let text = std::fs::read_to_string(folder.join("adapter_config.json")).unwrap();
            let config: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
            (tensors.collect::<BTreeMap<_, _>>(), config)
        };
        let (tensors, config) = read(folder.path());
        let (pefts, written) = read(&fixtures().join("lora").join(name));
        assert!(tensors == pefts, "{name}");
        for (key, value) in config {
            assert_eq!(value, written[&key], "{name}: {key}");
        }
        let path = REFERENCE["adapters"][name]["base"].as_str().unwrap();
        let again = base(path, &on_flex()).with_adapter(folder.path()).unwrap();
        assert!(parameters(&again) == parameters(&model));
        if let Some(kept) = std::env::var_os("MILEPOST_SAVED_ADAPTERS") {
            let kept = PathBuf::from(kept).join(name);
            std::fs::create_dir_all(&kept).unwrap();
            model.save(&kept).unwrap();
        }
    }
}

/// A folder with an adapter of the fixtures, whose config has these keys besides.
fn with_keys(keys: &[(&str, Value)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    let from = fixtures().join("lora/gpt2");
    let weights = "adapter_model.safetensors";
    std::fs::copy(from.join(weights), folder.path().join(weights)).unwrap();
    let text = std::fs::read_to_string(from.join("adapter_config.json")).unwrap();
    let mut config: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
    for (key, value) in keys {
        config.insert((*key).to_owned(), value.clone());
    }
    let text = serde_json::to_string(&config).unwrap();
    std::fs::write(folder.path().join("adapter_config.json"), text).unwrap();
    folder
}

fn refusal(folder: &TempDir) -> Option<String> {
    let loaded = base("gpt2/main", &on_flex()).with_adapter(folder.path());
    loaded.err().map(|error| error.to_string())
}

/// Every key of PEFT's config that is set to something is known, or is refused by its name.
#[test]
fn what_pefts_config_has_beyond_is_refused_by_key() {
    const READ: [&str; 9] = [
        "base_model_name_or_path",
        "bias",
        "init_lora_weights",
        "lora_alpha",
        "lora_dropout",
        "peft_type",
        "r",
        "target_modules",
        "use_rslora",
    ];
    const WITHOUT_EFFECT: [&str; 9] = [
        "auto_mapping",
        "ensure_weight_tying",
        "fan_in_fan_out",
        "inference_mode",
        "loftq_config",
        "megatron_core",
        "peft_version",
        "qalora_group_size",
        "task_type",
    ];
    let text = std::fs::read_to_string(fixtures().join("lora/gpt2/adapter_config.json")).unwrap();
    let config: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
    let mut beyond = 0;
    for key in config
        .keys()
        .map(String::as_str)
        .chain(["a_key_of_the_future"])
    {
        for value in [
            json!(true),
            json!(1),
            json!("some"),
            json!([1]),
            json!({"h": 1}),
        ] {
            let refused = refusal(&with_keys(&[(key, value.clone())]));
            if WITHOUT_EFFECT.contains(&key) {
                assert_eq!(refused, None, "{key} {value}");
            } else if !READ.contains(&key) && (key != "revision" || !value.is_string()) {
                let refused = refused.unwrap();
                assert!(refused.contains(&format!("`{key}`")), "{refused}");
                assert!(refused.contains("adapter_config.json"), "{refused}");
                beyond += 1;
            }
        }
    }
    assert!(beyond > 100);
    for (key, value) in [
        ("peft_type", json!("IA3")),
        ("bias", json!("all")),
        ("init_lora_weights", json!("pissa")),
        ("init_lora_weights", json!("olora")),
        ("target_modules", json!(".*c_attn")),
        ("target_modules", json!([])),
        ("r", json!(0)),
        ("r", json!(2.5)),
        ("lora_alpha", json!("8")),
        ("lora_dropout", json!(1.0)),
        ("use_rslora", json!(3)),
        ("base_model_name_or_path", json!(null)),
        ("revision", json!(7)),
    ] {
        let refused = refusal(&with_keys(&[(key, value)])).unwrap();
        assert!(
            refused.contains(&format!("`{key}`")) || refused.contains(key),
            "{refused}"
        );
    }
    for (keys, part) in [
        (vec![("r", json!(5))], "shape"),
        (vec![("target_modules", json!(["c_proj"]))], "missing"),
        (vec![("target_modules", json!(["nothing"]))], "no layer"),
    ] {
        let refused = refusal(&with_keys(&keys)).unwrap();
        assert!(refused.contains(part), "{refused}");
    }
    // As in PEFT, a name may stand for nothing, and ways to draw do not matter.
    let spare = json!(["c_attn", "nothing"]);
    for (key, value) in [
        ("target_modules", spare),
        ("init_lora_weights", json!("gaussian")),
    ] {
        assert_eq!(refusal(&with_keys(&[(key, value)])), None);
    }
}

/// The adapter of GPT-2 in the fixtures, with these of its two files of weights.
fn with_weights(names: &[&str]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in ["adapter_config.json"].iter().chain(names) {
        let from = fixtures().join("lora/gpt2").join(name);
        std::fs::copy(from, folder.path().join(name)).unwrap();
    }
    folder
}

const SAFE: &str = "adapter_model.safetensors";
const PICKLED: &str = "adapter_model.bin";

#[test]
fn what_pytorch_pickled_is_the_same_adapter() {
    let expected = &REFERENCE["adapters"]["gpt2"];
    let pickled = with_weights(&[PICKLED]);
    let model = base("gpt2/main", &on_flex())
        .with_adapter(pickled.path())
        .unwrap();
    assert!(parameters(&model) == parameters(&load("gpt2", &on_flex())));
    let found = logits(&model, &rows(&expected["ids"]));
    near(&found, &floats(&expected["logits"]), 1e-4, "logits");
    // Where there are both, the other is not read, as by PEFT.
    let both = with_weights(&[SAFE, PICKLED]);
    std::fs::write(both.path().join(PICKLED), "damaged").unwrap();
    assert_eq!(refusal(&both), None);
    std::fs::write(both.path().join(SAFE), "damaged").unwrap();
    std::fs::copy(
        fixtures().join("lora/gpt2").join(PICKLED),
        both.path().join(PICKLED),
    )
    .unwrap();
    let refused = refusal(&both).unwrap();
    assert!(refused.contains(SAFE), "{refused}");
    let neither = refusal(&with_weights(&[])).unwrap();
    assert!(
        neither.contains(SAFE) && neither.contains(PICKLED),
        "{neither}"
    );
}

#[test]
fn what_pytorch_pickled_and_is_damaged_is_refused_by_file() {
    let bytes = std::fs::read(fixtures().join("lora/gpt2").join(PICKLED)).unwrap();
    let folder = with_weights(&[PICKLED]);
    let path = folder.path().join(PICKLED);
    let mut damaged: Vec<Vec<u8>> = [0, 1, 2, 3]
        .map(|part| bytes[..part * bytes.len() / 4].to_vec())
        .into();
    damaged.push(b"no pickle at all".to_vec());
    damaged.push(bytes.iter().map(|byte| !byte).collect());
    for bytes in damaged {
        std::fs::write(&path, bytes).unwrap();
        let refused = refusal(&folder).unwrap();
        assert!(
            refused.contains(PICKLED) && !refused.contains("panicked"),
            "{refused}"
        );
    }
    // One that is whole, of another adapter.
    std::fs::copy(fixtures().join("lora/mini").join(PICKLED), &path).unwrap();
    let refused = refusal(&folder).unwrap();
    assert!(
        refused.contains(PICKLED) && refused.contains("shape"),
        "{refused}"
    );
}

/// An adapter that was saved here knows every value of the weights that it was trained beside. One of PEFT's does not.
#[test]
fn an_adapter_beside_other_weights_is_refused() {
    let folder = TempDir::new().unwrap();
    load("gpt2", &on_flex()).save(folder.path()).unwrap();
    let own = base("gpt2/main", &on_flex());
    for tensor in ["wte.weight", "h.1.mlp.c_proj.bias", "ln_f.weight"] {
        let other = changed(&own, |name, index, weight| match (name, index) {
            (name, 5) if name == tensor => weight + 1e-3,
            _ => weight,
        });
        let refused = other.clone().with_adapter(folder.path()).unwrap_err();
        let refused = refused.to_string();
        for part in [SAFE, "other weights", "gpt2/main"] {
            assert!(refused.contains(part), "{refused}");
        }
        assert!(other.with_adapter(&fixtures().join("lora/gpt2")).is_ok());
    }
    assert!(own.with_adapter(folder.path()).is_ok());
}
