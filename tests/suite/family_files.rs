//! The files of networks of every family as they are found: layouts, prefixes, keys, ends of text, padded tables (tests/fixtures/families).

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use milepost::decode::{Request, Settings, assisted, greedy};
use milepost::model::{Network, Pair, named_parameters};
use milepost::readback::rehearsed;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::families::{REFERENCE, fixture, load, logits, near, networks};

#[test]
fn other_layouts_and_number_formats_are_read_as_transformers_reads_them() {
    let layouts = REFERENCE["layouts"].as_object().unwrap();
    assert_eq!(layouts.len(), 5);
    for (name, expected) in layouts {
        near(
            &logits(&load(&format!("layouts/{name}"))),
            expected,
            1.0,
            name,
        );
    }
}

/// Names, shapes and bytes of the tensors of a safetensors file.
fn tensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let all = file.tensors().into_iter();
    all.map(|(name, view)| (name, (view.shape().to_vec(), view.data().to_vec())))
        .collect()
}

#[test]
fn what_is_saved_are_the_tensors_of_transformers_bit_for_bit() {
    for (name, _) in networks() {
        let folder = tempfile::tempdir().unwrap();
        let model = load(name);
        model.save(folder.path()).unwrap();
        // For check_saved.py.
        if let Some(kept) = std::env::var_os("MILEPOST_SAVED_FAMILIES") {
            let kept = Path::new(&kept).join(name);
            std::fs::create_dir_all(&kept).unwrap();
            model.save(&kept).unwrap();
        }
        let file = "model.safetensors";
        let saved = tensors(&folder.path().join(file));
        // transformers itself renames the head of GPT-NeoX in memory, and names it in files as ever.
        assert!(
            saved == tensors(&fixture(name).join(file)),
            "{name}: {:?}",
            saved.keys()
        );
        let again = Network::load(folder.path(), &Device::flex()).unwrap();
        assert_eq!(again.config_json(), model.config_json());
        assert_eq!(logits(&again), logits(&model));
        let names = |model: &Network| -> Vec<String> {
            let parameters = named_parameters(model).into_iter();
            parameters.map(|(name, _)| name).collect()
        };
        assert_eq!(names(&again), names(&model));
    }
}

/// A copy of a fixture.
fn copied(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture(name).join(file), folder.path().join(file)).unwrap();
    }
    folder
}

/// Changes the config of a copy.
fn set(folder: &TempDir, key: &str, value: &Value) {
    let path = folder.path().join("config.json");
    let mut keys: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    keys[key] = value.clone();
    std::fs::write(&path, keys.to_string()).unwrap();
}

fn read(folder: &TempDir) -> Result<Network, String> {
    Network::load(folder.path(), &Device::flex()).map_err(|error| error.to_string())
}

#[test]
fn prefixes_that_tools_leave_are_recognised() {
    for name in ["llama", "neox", "qwen3"] {
        let expected = logits(&load(name));
        for prefix in ["module.", "_orig_mod.", "module._orig_mod.", "model."] {
            let folder = copied(name);
            let path = folder.path().join("model.safetensors");
            let all = tensors(&path);
            let views = all.iter().map(|(name, (shape, bytes))| {
                let dtype = safetensors::Dtype::F32;
                let view = safetensors::tensor::TensorView::new(dtype, shape.clone(), bytes);
                (format!("{prefix}{name}"), view.unwrap())
            });
            std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
            match read(&folder) {
                Ok(model) => assert_eq!(logits(&model), expected, "{prefix} {name}"),
                // Llama's own prefix is no wrapper.
                Err(error) => {
                    assert!(
                        prefix == "model." && name != "neox",
                        "{prefix} {name}: {error}"
                    );
                    assert!(
                        error.contains("`model.lm_head.weight`") || error.contains("`model.model."),
                        "{error}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_is_not_supported_is_refused_by_its_key() {
    let scaling = |kind: &str| json!({"rope_type": kind, "factor": 2.0});
    let refused = [
        ("llama", "model_type", json!("falcon"), "`model_type`"),
        ("llama", "hidden_act", json!("quick_gelu"), "`hidden_act`"),
        (
            "llama",
            "rope_scaling",
            scaling("yarn"),
            "`rope_type` is `yarn`",
        ),
        (
            "llama",
            "rope_scaling",
            scaling("longrope"),
            "`rope_type` is `longrope`",
        ),
        ("llama", "rope_scaling", scaling("default"), "`factor`"),
        (
            "llama",
            "rope_scaling",
            json!({"type": "linear"}),
            "`factor` is missing",
        ),
        (
            "llama",
            "rope_scaling",
            json!({"type": "linear", "factor": "2"}),
            "not a number",
        ),
        (
            "llama",
            "rope_scaling",
            json!({"type": "linear", "factor": -1}),
            "positive",
        ),
        (
            "llama",
            "rope_scaling",
            scaling("llama3"),
            "`low_freq_factor` is missing",
        ),
        (
            "llama",
            "rope_scaling",
            json!({"type": "default", "mrope_section": [1, 1]}),
            "`mrope_section`",
        ),
        ("llama", "rope_theta", json!(0), "`rope_theta`"),
        (
            "llama",
            "partial_rotary_factor",
            json!(0.5),
            "`partial_rotary_factor`",
        ),
        (
            "llama",
            "quantization_config",
            json!({"bits": 4}),
            "`quantization_config`",
        ),
        (
            "llama",
            "num_key_value_heads",
            json!(3),
            "`num_key_value_heads`",
        ),
        (
            "llama",
            "num_key_value_heads",
            json!(0),
            "`num_key_value_heads`",
        ),
        ("llama", "head_dim", json!(5), "`head_dim`"),
        ("llama", "pad_token_id", json!(40), "`pad_token_id`"),
        ("llama", "pad_token_id", json!(-1), "`pad_token_id`"),
        ("llama", "eos_token_id", json!([1, 40]), "`eos_token_id`"),
        ("llama", "eos_token_id", json!([]), "`eos_token_id`"),
        (
            "llama",
            "layer_types",
            json!(["full_attention", "sliding_attention"]),
            "`layer_types`",
        ),
        ("llama", "sliding_window", json!(8), "`sliding_window`"),
        (
            "llama",
            "architectures",
            json!(["MistralForCausalLM"]),
            "`architectures`",
        ),
        (
            "llama",
            "attention_dropout",
            json!(1.0),
            "`attention_dropout`",
        ),
        ("llama", "rms_norm_eps", json!(0), "`rms_norm_eps`"),
        ("mistral", "sliding_window", json!(47), "`sliding_window`"),
        ("mistral", "attention_bias", json!(true), "`attention_bias`"),
        (
            "mistral",
            "num_key_value_heads",
            json!("2"),
            "`num_key_value_heads`",
        ),
        (
            "qwen2",
            "use_sliding_window",
            json!(true),
            "`sliding_window`",
        ),
        ("qwen2", "use_mrope", json!(true), "`use_mrope`"),
        ("qwen3", "mlp_bias", json!(true), "`mlp_bias`"),
        ("smollm3", "no_rope_layers", json!([1]), "`no_rope_layers`"),
        (
            "smollm3",
            "no_rope_layers",
            json!([1, 2]),
            "`no_rope_layers`",
        ),
        ("neox_short", "rotary_pct", json!(0.0), "`rotary_pct`"),
        ("neox_short", "rotary_pct", json!(1.5), "`rotary_pct`"),
        ("neox_short", "rope_theta", json!(3.0), "`rope_theta`"),
        ("neox_short", "hidden_act", json!("silu2"), "`hidden_act`"),
        (
            "neox_short",
            "num_attention_heads",
            json!(3),
            "`num_attention_heads`",
        ),
        (
            "neox_short",
            "hidden_dropout",
            json!(-0.1),
            "`hidden_dropout`",
        ),
        (
            "neox_short",
            "rope_scaling",
            scaling("yarn"),
            "`rope_type` is `yarn`",
        ),
    ];
    for (name, key, value, said) in refused {
        let folder = copied(name);
        set(&folder, key, &value);
        // What the config asks for is refused before the weights are looked at.
        std::fs::write(folder.path().join("model.safetensors"), "").unwrap();
        let error = read(&folder).unwrap_err();
        assert!(
            error.contains(said) && error.contains("config.json"),
            "{name}, {key} {value}: {error}"
        );
    }
}

#[test]
fn what_changes_nothing_is_no_reason_to_refuse() {
    let all = [
        ("mistral", "sliding_window", json!(48)),
        ("qwen2", "sliding_window", json!(null)),
        (
            "qwen2",
            "layer_types",
            json!(["full_attention", "full_attention"]),
        ),
        ("llama", "rope_scaling", json!(null)),
        ("llama", "rope_scaling", json!({"type": "default"})),
        (
            "llama",
            "rope_parameters",
            json!({"rope_type": "default", "rope_theta": 10000.0}),
        ),
        ("llama", "pretraining_tp", json!(1)),
        ("llama", "torch_dtype", json!("bfloat16")),
        ("llama", "bos_token_id", json!(null)),
        ("neox_short", "rope_theta", json!(100)),
    ];
    for (name, key, value) in all {
        let folder = copied(name);
        set(&folder, key, &value);
        let model = read(&folder).unwrap_or_else(|error| panic!("{name}, {key}: {error}"));
        assert_eq!(logits(&model), logits(&load(name)), "{name}, {key}");
    }
}

#[test]
fn a_head_that_is_not_stored_is_missed_by_name() {
    let cases = [
        ("qwen2_padded", "lm_head.weight"),
        ("neox_sequential", "embed_out.weight"),
    ];
    for (name, head) in cases {
        let folder = copied(name);
        set(&folder, "tie_word_embeddings", &json!(false));
        let error = read(&folder).unwrap_err();
        assert!(error.contains(&format!("`{head}` is missing")), "{error}");
    }
}

#[test]
fn texts_end_with_each_token_that_the_files_name() {
    let prompt = [3, 1, 4];
    let all = greedy(&load("llama"), &prompt, 12, None).unwrap();
    let cut_at = |ends: &[u32]| {
        let last = all.iter().position(|token| ends.contains(token));
        all[..last.map_or(all.len(), |last| last + 1)].to_vec()
    };
    // (config.json, generation_config.json, what ends a text)
    let [first, second] = [all[7], all[3]];
    let cases = [
        (json!(null), None, vec![]),
        (json!(first), None, vec![first]),
        (json!([first, second]), None, vec![first, second]),
        (json!(null), Some(json!(second)), vec![second]),
        (
            json!(null),
            Some(json!([second, first])),
            vec![second, first],
        ),
        (
            json!(first),
            Some(json!([second, first])),
            vec![first, second],
        ),
        (json!(first), Some(json!(null)), vec![first]),
    ];
    for (own, generation, expected) in cases {
        let folder = copied("llama");
        set(&folder, "eos_token_id", &own);
        if let Some(generation) = &generation {
            let text = json!({"eos_token_id": generation}).to_string();
            std::fs::write(folder.path().join("generation_config.json"), text).unwrap();
        }
        let model = read(&folder).unwrap();
        assert_eq!(model.ends().ids(), expected);
        assert_eq!(model.config().eos_token_id, expected.first().copied());
        let found = greedy(&model, &prompt, 12, model.ends()).unwrap();
        assert_eq!(found, cut_at(&expected));
        // What is saved ends as well.
        let saved = tempfile::tempdir().unwrap();
        model.save(saved.path()).unwrap();
        assert_eq!(read(&saved).unwrap().ends(), model.ends());
    }
    let folder = copied("llama");
    std::fs::write(
        folder.path().join("generation_config.json"),
        r#"{"eos_token_id": [1, 2]}"#,
    )
    .unwrap();
    let error = read(&folder).unwrap_err();
    assert!(
        error.contains("`eos_token_id`: [1,2], but config.json has 39"),
        "{error}"
    );
}

/// Rows of the head that are padding are never said, however high their logits are, and count in no distribution.
#[test]
fn tables_that_are_padded_to_different_sizes_make_a_pair() {
    let folder = copied("qwen2_padded");
    let path = folder.path().join("model.safetensors");
    let mut all = tensors(&path);
    // Rows behind the vocabulary that are ten times those of other tokens.
    let (shape, table) = all.get_mut("model.embed_tokens.weight").unwrap();
    let width = 4 * shape[1];
    for row in 40..48 {
        for at in 0..shape[1] {
            let from = (row - 40) * width + 4 * at;
            let value = f32::from_le_bytes(table[from..from + 4].try_into().unwrap());
            let to = row * width + 4 * at;
            table[to..to + 4].copy_from_slice(&(10.0 * value).to_le_bytes());
        }
    }
    let views = all.iter().map(|(name, (shape, bytes))| {
        let dtype = safetensors::Dtype::F32;
        let view = safetensors::tensor::TensorView::new(dtype, shape.clone(), bytes);
        (name.clone(), view.unwrap())
    });
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    let loud = read(&folder).unwrap();
    let said = greedy(&loud, &[1], 20, None).unwrap();
    assert!(
        said.iter().any(|token| *token >= 40),
        "the padding is loud: {said:?}"
    );
    let quiet = load("qwen2_padded");
    let plain = load("qwen2");
    for (main, assistant) in [(&loud, &plain), (&plain, &loud), (&loud, &quiet)] {
        let pair = Pair::over(main.clone(), assistant.clone(), 40);
        let pair = pair.unwrap();
        if main.config().vocab_size == assistant.config().vocab_size {
            assert_eq!(pair.main.config().vocab_size, 48);
            continue;
        }
        let request = [Request {
            prompt: &[1],
            seed: 0,
        }];
        let settings = Settings::default();
        let decode = || assisted(&pair, &request, None, &settings, &|_| Ok(())).unwrap();
        let found = decode();
        assert_eq!(rehearsed(decode).unwrap().0, found);
        assert!(found[0].tokens.iter().all(|token| *token < 40));
        assert_eq!(found[0].tokens, greedy(&pair.main, &[1], 20, None).unwrap());
        assert_eq!(pair.main.config().vocab_size, 40);
        // The loss counts the padding, as transformers has it.
        let text: &[u32] = &[1, 5, 9, 2];
        let loss = |model: &Network| model.token_losses(&[text]).unwrap();
        assert_eq!(loss(&pair.main), loss(main));
        assert_eq!(loss(&pair.assistant), loss(assistant));
    }
    let error = Pair::over(plain, quiet, 41).unwrap_err().to_string();
    assert!(
        error.contains("main model's table of embeddings has only 40 rows"),
        "{error}"
    );
}

/// Where SmolLM3 has no list of the blocks that turn, every fourth does not, or as the interval says.
#[test]
fn blocks_without_positions_are_counted_by_an_interval() {
    let with = |keys: &[(&str, Value)]| {
        let folder = copied("smollm3");
        for (key, value) in keys {
            set(&folder, key, value);
        }
        logits(&read(&folder).unwrap())
    };
    let (list, interval) = ("no_rope_layers", "no_rope_layer_interval");
    assert_eq!(
        with(&[(list, json!(null)), (interval, json!(2))]),
        with(&[])
    );
    assert_eq!(with(&[(list, json!(null))]), with(&[(list, json!([1, 1]))]));
    assert_eq!(
        with(&[(list, json!(null)), (interval, json!(1))]),
        with(&[(list, json!([0, 0]))])
    );
    // A damaged number takes no memory.
    let folder = copied("smollm3");
    set(&folder, list, &json!(null));
    set(&folder, "num_hidden_layers", &json!(1u64 << 50));
    let error = read(&folder).unwrap_err();
    assert!(
        error.contains("`layers.2.input_layernorm.weight` is missing"),
        "{error}"
    );
}

/// Every key that is honoured counts: with another value the logits are others.
#[test]
fn another_value_of_a_key_gives_other_logits() {
    let scaled = |key: &str, value: Value| {
        let mut scaling = json!({
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        });
        scaling[key] = value;
        scaling
    };
    let all = [
        ("llama", "rope_theta", json!(100)),
        ("llama", "rms_norm_eps", json!(0.1)),
        ("llama", "hidden_act", json!("gelu")),
        ("llama", "hidden_act", json!("relu")),
        (
            "llama",
            "rope_scaling",
            json!({"type": "linear", "factor": 2.0}),
        ),
        (
            "llama",
            "rope_parameters",
            json!({"rope_type": "default", "rope_theta": 100}),
        ),
        ("llama_linear", "rope_scaling", json!(null)),
        ("llama_linear", "hidden_act", json!("gelu")),
        ("llama_scaled", "rope_scaling", scaled("factor", json!(2.0))),
        (
            "llama_scaled",
            "rope_scaling",
            scaled("low_freq_factor", json!(0.2)),
        ),
        (
            "llama_scaled",
            "rope_scaling",
            scaled("high_freq_factor", json!(1.5)),
        ),
        (
            "llama_scaled",
            "rope_scaling",
            scaled("original_max_position_embeddings", json!(4)),
        ),
        ("llama_scaled", "rope_theta", json!(500.0)),
        ("smollm3", "no_rope_layers", json!([1, 1])),
        ("smollm3", "no_rope_layers", json!([0, 0])),
        ("neox_short", "rotary_pct", json!(0.25)),
        ("neox_short", "rotary_emb_base", json!(10)),
        ("neox_short", "layer_norm_eps", json!(0.1)),
        ("neox_sequential", "use_parallel_residual", json!(true)),
        ("neox_sequential", "hidden_act", json!("silu")),
        ("neox_odd", "rope_scaling", json!(null)),
    ];
    for (name, key, value) in all {
        let folder = copied(name);
        set(&folder, key, &value);
        let changed = logits(&read(&folder).unwrap());
        let plain = logits(&load(name));
        let both = changed.iter().zip(&plain);
        let apart = both.fold(0f32, |most, (one, other)| most.max((one - other).abs()));
        // Logits are compared with those of transformers to a third of that.
        assert!(apart > 3e-4, "{name}, {key} {value}: {apart}");
    }
}
