//! Adapters against PEFT (tests/fixtures/lora), and against themselves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use burn::tensor::{Device, Int, Tensor, TensorData};
use milepost::decode::greedy;
use milepost::model::{
    Base, Lora, Network, Precision, TrainingPass, named_parameters, next_token_loss,
};
use milepost::train::Learner;
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Project, close, numbers, rows, timeless, until};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The values made by `tests/fixtures/lora/make_fixtures.py`.
static REFERENCE: LazyLock<Value> = LazyLock::new(|| {
    let text = include_str!("../fixtures/lora/reference.json");
    serde_json::from_str(text).unwrap()
});

/// The adapters, each with what PEFT makes of it.
fn adapters() -> impl Iterator<Item = (&'static str, &'static Value)> {
    let adapters = REFERENCE["adapters"].as_object().unwrap().iter();
    adapters.map(|(name, expected)| (name.as_str(), expected))
}

fn base(path: &str, device: &Device) -> Network {
    Network::load(&fixtures().join(path), device).unwrap()
}

/// An adapter of the fixtures beside its base.
fn load(name: &str, device: &Device) -> Network {
    let path = REFERENCE["adapters"][name]["base"].as_str().unwrap();
    let folder = fixtures().join("lora").join(name);
    base(path, device).with_adapter(&folder).unwrap()
}

fn on_flex() -> Device {
    Device::flex()
}

fn slices(rows: &[Vec<u32>]) -> Vec<&[u32]> {
    rows.iter().map(Vec::as_slice).collect()
}

fn logits(model: &Network, rows: &[Vec<u32>]) -> Vec<f32> {
    let shape = [rows.len(), rows[0].len()];
    let ids: Vec<i32> = rows.iter().flatten().map(|&id| id as i32).collect();
    let ids: Tensor<2, Int> = Tensor::from_data(TensorData::new(ids, shape), &model.device());
    model.logits(ids).into_data().try_into_vec::<f32>().unwrap()
}

fn parameters(model: &Network) -> BTreeMap<String, Vec<f32>> {
    let named = named_parameters(model).into_iter();
    named
        .map(|(name, data)| (name, data.try_into_vec::<f32>().unwrap()))
        .collect()
}

fn settings(r: usize, targets: &[&str]) -> Lora {
    Lora {
        r,
        alpha: 4.0,
        target_modules: targets.iter().map(|&name| name.to_owned()).collect(),
        dropout: 0.0,
        use_rslora: false,
    }
}

fn some_base() -> Base {
    Base {
        name: "the/base".to_owned(),
        revision: None,
    }
}

fn fresh(model: Network, lora: &Lora, seed: u64) -> Network {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    model
        .with_fresh_adapters(lora, some_base(), &mut rng)
        .unwrap()
}

#[track_caller]
fn near(found: &[f32], expected: &[f32], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0.0, |one: f32, x| one.max(x.abs()));
    for (found, expected) in found.iter().zip(expected) {
        let (found, expected) = (f64::from(*found), f64::from(*expected));
        close(found, expected, tolerance, f64::from(scale), what);
    }
}

fn floats(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|one| one as f32).collect()
}

fn accumulate(learner: &mut Learner, batch: &[Vec<u32>]) {
    let count = batch.iter().map(|row| row.len() - 1).sum();
    learner.accumulate(count, |model| {
        next_token_loss(model, &slices(batch), None).0
    });
}

#[test]
fn logits_are_pefts() {
    for (name, expected) in adapters() {
        let ids = rows(&expected["ids"]);
        let found = logits(&load(name, &on_flex()), &ids);
        near(&found, &floats(&expected["logits"]), 1e-4, name);
        let without = base(expected["base"].as_str().unwrap(), &on_flex());
        let moved = logits(&without, &ids).into_iter().zip(&found);
        assert!(
            moved.into_iter().any(|(a, b)| (a - b).abs() > 0.05),
            "{name}"
        );
    }
}

/// No other parameter has one: not even a base weight's was made.
#[test]
fn gradients_of_adapters_are_pefts() {
    for (name, expected) in adapters() {
        let mut learner = Learner::new(load(name, &on_flex().autodiff()), 0.0);
        accumulate(&mut learner, &rows(&expected["ids"]));
        learner.gather();
        let gradients = learner.gradients();
        let names: Vec<String> = gradients
            .norms()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let known = expected["gradients"].as_object().unwrap();
        assert_eq!(names.len(), known.len(), "{name}: {names:?}");
        for parameter in names {
            let found = gradients.values(&parameter).unwrap();
            let expected = floats(&known[&parameter]);
            near(&found, &expected, 1e-4, &format!("{name} {parameter}"));
        }
    }
}

#[test]
fn twenty_steps_of_adamw_are_pytorchs() {
    for (name, expected) in adapters() {
        let model = load(name, &on_flex().autodiff());
        let before = parameters(&model);
        let mut learner = Learner::new(model, REFERENCE["weight_decay"].as_f64().unwrap());
        for step in expected["steps"].as_array().unwrap() {
            accumulate(&mut learner, &rows(&step["rows"]));
            let loss = learner.gather();
            let norm = learner.gradient_norm();
            learner.clip(norm, 1.0);
            learner.step(step["lr"].as_f64().unwrap());
            close(loss, step["loss"].as_f64().unwrap(), 1e-3, 0.0, name);
            close(norm, step["grad_norm"].as_f64().unwrap(), 1e-3, 0.0, name);
        }
        for (parameter, values) in parameters(&learner.model) {
            let is_adapter = parameter.contains(".lora_");
            assert_eq!(values != before[&parameter], is_adapter, "{parameter}");
        }
        // The optimiser keeps nothing of the base.
        let bytes = learner.optimiser.to_bytes().unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(
            file.len(),
            2 * expected["gradients"].as_object().unwrap().len()
        );
        assert!(file.names().iter().all(|name| name.contains(".lora_")));
    }
}

#[test]
fn fresh_adapters_add_nothing_and_are_drawn_as_pefts() {
    for (name, expected) in adapters() {
        let path = expected["base"].as_str().unwrap();
        let lora = load(name, &on_flex()).adapters().unwrap().clone();
        for device in [on_flex(), on_flex().autodiff()] {
            let model = fresh(base(path, &device), &lora, 1);
            let ids = rows(&expected["ids"]);
            assert!(
                logits(&model, &ids) == logits(&base(path, &device), &ids),
                "{name}"
            );
            let same = fresh(base(path, &device), &lora, 1);
            let other = fresh(base(path, &device), &lora, 2);
            assert!(
                parameters(&model) == parameters(&same) && parameters(&model) != parameters(&other)
            );
        }
        for (parameter, values) in parameters(&fresh(base(path, &on_flex()), &lora, 3)) {
            if parameter.ends_with("lora_B.weight") {
                assert!(values.iter().all(|value| *value == 0.0), "{parameter}");
            }
            if parameter.ends_with("lora_A.weight") {
                let bound = 1.0 / ((values.len() / lora.r) as f32).sqrt();
                let largest = values.iter().fold(0.0, |one: f32, x| one.max(x.abs()));
                assert!(largest <= bound && largest > 0.75 * bound, "{parameter}");
                // PEFT's, measured against the same bound.
                let pefts = expected["bounds"][&parameter].as_f64().unwrap();
                assert!((0.75..=1.0001).contains(&pefts), "{parameter} {pefts}");
            }
        }
    }
}

/// A uniform draw of many numbers has the variance of its bounds: `1 / (3 in)`.
#[test]
fn the_first_factor_is_uniform() {
    let path = "families/llama";
    let model = fresh(base(path, &on_flex()), &settings(500, &["q_proj"]), 5);
    let all = parameters(&model);
    let values = &all["layers.0.self_attn.q_proj.lora_A.weight"];
    let count = values.len() as f64;
    let mean = values.iter().map(|one| f64::from(*one)).sum::<f64>() / count;
    let square = values
        .iter()
        .map(|one| f64::from(*one).powi(2))
        .sum::<f64>()
        / count;
    close(square, 1.0 / (3.0 * 16.0), 0.05, 0.0, "variance");
    assert!(mean.abs() < 4.0 * (square / count).sqrt(), "{mean}");
}

#[test]
fn merged_weights_compute_the_same() {
    for (name, expected) in adapters() {
        let model = load(name, &on_flex());
        let merged = model.clone().merged();
        assert!(merged.adapters().is_none());
        let ids = rows(&expected["ids"]);
        near(&logits(&merged, &ids), &logits(&model, &ids), 1e-5, name);
        let names: Vec<String> = parameters(&merged).into_keys().collect();
        let path = expected["base"].as_str().unwrap();
        let own: Vec<String> = parameters(&base(path, &on_flex())).into_keys().collect();
        assert_eq!(names, own);
        // New tokens are read by the same sum.
        let ends = model.ends().clone();
        let [slow, fast] = [&merged, &model].map(|model| {
            let prompts = [vec![3, 1, 4], vec![1, 5]];
            let prompts = prompts.iter().map(|prompt| prompt.as_slice());
            prompts
                .map(|prompt| greedy(model, prompt, 8, &ends).unwrap())
                .collect::<Vec<_>>()
        });
        assert_eq!(slow, fast, "{name}");
    }
    // All weights of a merged network are trained.
    let mut learner = Learner::new(load("gpt2", &on_flex().autodiff()).merged(), 0.0);
    accumulate(&mut learner, &rows(&REFERENCE["adapters"]["gpt2"]["ids"]));
    learner.gather();
    let parameters = parameters(&learner.model).len();
    assert_eq!(learner.gradients().norms().len(), parameters);
}

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Adapters of any rank beside any of the layers: those are there and no others, and merged they compute the same.
    #[test]
    fn any_rank_and_layers(
        network in prop::sample::select(vec!["gpt2/assistant", "families/qwen2", "families/mistral", "families/neox_odd", "families/smollm3"]),
        r in 1usize..9, chosen in any::<u8>(), whole_names: bool, use_rslora: bool, seed: u64,
    ) {
        let model = base(network, &on_flex());
        let all = model.all_linear();
        let chosen: Vec<String> = all.iter().enumerate()
            .filter(|(index, _)| chosen >> index & 1 == 1 || all.len() == index + 1)
            .map(|(_, name)| name.clone()).collect();
        let suffix = Lora { alpha: 3.0, use_rslora, ..settings(r, &[]) };
        let lora = Lora { target_modules: chosen.clone(), ..suffix.clone() };
        // A name may be as long as that of the layer.
        let layers = model.adapted_by(&lora);
        let lora = if whole_names { Lora { target_modules: layers.clone(), ..suffix } } else { lora };
        prop_assert_eq!(&model.adapted_by(&lora), &layers);
        let expected = if use_rslora { 3.0 / (r as f64).sqrt() } else { 3.0 / r as f64 };
        prop_assert!((lora.scale() - expected).abs() < 1e-12);
        let mut adapted = fresh(model.clone(), &lora, seed);
        let named = parameters(&adapted);
        let of = |part: &str| named.keys().filter(|name| name.ends_with(part)).count();
        prop_assert_eq!([of(".lora_A.weight"), of(".lora_B.weight")], [layers.len(); 2]);
        prop_assert_eq!(named.len(), parameters(&model).len() + 2 * layers.len());
        for name in named.keys().filter(|name| name.contains(".lora_")) {
            prop_assert!(chosen.iter().any(|layer| name.contains(&format!(".{layer}.lora_"))), "{}", name);
        }
        // Moved away from nothing, by a step of training.
        let mut learner = Learner::new(fresh(base(network, &on_flex().autodiff()), &lora, seed), 0.0);
        let rows = [vec![1, 2, 3, 4, 5, 6], vec![7, 3, 2, 9, 1, 0]];
        for _ in 0..2 {
            accumulate(&mut learner, &rows);
            learner.gather();
            learner.step(0.03);
        }
        adapted = learner.model;
        let (found, merged) = (logits(&adapted, &rows), logits(&adapted.clone().merged(), &rows));
        near(&merged, &found, 1e-5, network);
        prop_assert!(found != logits(&model, &rows));
    }
}

#[test]
fn targets_that_stand_for_no_layer_are_refused() {
    for (network, targets) in [
        ("gpt2/main", ["wte", "q_proj", "lm_head", "attn", "_attn"]),
        (
            "families/llama",
            ["embed_tokens", "c_attn", "lm_head", "self_attn", "proj"],
        ),
        (
            "families/neox",
            ["embed_in", "embed_out", "attention", "norm", "h_to_4h"],
        ),
    ] {
        for target in targets {
            let model = base(network, &on_flex());
            let known = model.all_linear()[0].clone();
            let lora = settings(2, &[&known, target]);
            let refused = model
                .with_fresh_adapters(&lora, some_base(), &mut ChaCha8Rng::seed_from_u64(0))
                .unwrap_err();
            assert_eq!(refused.key, "target_modules");
            let refused = refused.to_string();
            assert!(
                refused.contains(&format!("`{target}`")) && refused.contains(&known),
                "{refused}"
            );
        }
    }
}

/// Masks are functions of the pass alone. What they are of a layer is tested beside it.
#[test]
fn dropout_of_adapters_is_seeded() {
    let model = load("llama", &on_flex()).with_dropout(0.0);
    let tokens = [[3, 1, 4, 1, 5, 9]];
    let tokens = || {
        let ids: Vec<i32> = tokens.iter().flatten().copied().collect();
        Tensor::<2, Int>::from_data(TensorData::new(ids, [1, 6]), &on_flex())
    };
    let hidden = |model: &Network, seed: Option<u64>| {
        let mut pass = seed.map(|seed| TrainingPass::new(ChaCha8Rng::seed_from_u64(seed)));
        let hidden = model.hidden(tokens(), pass.as_mut());
        hidden.into_data().try_into_vec::<f32>().unwrap()
    };
    // Without dropout of its own nothing is drawn.
    assert_eq!(hidden(&model, Some(1)), hidden(&model, None));
    let dropping = model.clone().with_adapter_dropout(0.5);
    assert_eq!(dropping.adapters().unwrap().dropout, 0.5);
    assert_eq!(hidden(&dropping, None), hidden(&model, None));
    assert_eq!(hidden(&dropping, Some(1)), hidden(&dropping, Some(1)));
    assert_ne!(hidden(&dropping, Some(1)), hidden(&dropping, Some(2)));
    assert_ne!(hidden(&dropping, Some(1)), hidden(&model, None));
}

#[test]
fn half_precision_differs_by_its_rounding() {
    let model = load("llama", &on_flex().autodiff());
    let batch = rows(&REFERENCE["adapters"]["llama"]["ids"]);
    let loss = |precision: Precision| {
        let mut pass = TrainingPass::new(ChaCha8Rng::seed_from_u64(0)).in_precision(precision);
        let (sum, count) = next_token_loss(&model, &slices(&batch), Some(&mut pass));
        f64::from(sum.into_scalar::<f32>()) / count as f64
    };
    let single = loss(Precision::F32);
    for (precision, bound) in [(Precision::Bf16, 2e-2), (Precision::F16, 2e-3)] {
        let apart = (loss(precision) / single - 1.0).abs();
        assert!(apart > 0.0 && apart < bound, "{precision:?} {apart}");
    }
}

const LORA: &str = "train.lora.main.r=3 train.lora.main.dropout=0.1 train.lora.main.target_modules='all-linear' train.save='every 4 steps'";

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
#[cfg(unix)]
fn a_killed_run_with_adapters_resumes_to_what_it_would_have_been() {
    let project = Project::new();
    let set = ["--set", &format!("{LORA} train.max_steps=30")];
    let whole = project.run("whole", &set);
    let arguments = [&["finetune", "small.toml", "--name", "killed"], &set[..]].concat();
    let mut child = project.spawn(&arguments);
    let killed = project.path().join("runs/small/killed");
    let second = killed.join("checkpoints/step-00000008");
    until("the second checkpoint", || second.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    project
        .milepost(&["finetune", "small.toml", "--resume", "killed"])
        .assert()
        .success();
    assert_eq!(timeless(&whole), timeless(&killed));
    let adapter = ["adapter_config.json", "adapter_model.safetensors"];
    for file in [
        "main/adapter_config.json",
        "main/adapter_model.safetensors",
        "assistant/model.safetensors",
    ] {
        let bytes = |run: &Path| std::fs::read(run.join("models").join(file)).unwrap();
        assert!(bytes(&whole) == bytes(&killed), "{file}");
    }
    // A checkpoint has the adapters alone, with the name of their base.
    let checkpoint = whole.join("checkpoints/step-00000028");
    assert_eq!(names_in(&checkpoint.join("main")), adapter);
    let config = std::fs::read_to_string(checkpoint.join("main/adapter_config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["base_model_name_or_path"], "mini:main");
    let size = |path: PathBuf| std::fs::metadata(path).unwrap().len();
    let of_main = size(checkpoint.join("main.optimiser.safetensors"));
    assert!(of_main < size(checkpoint.join("assistant.optimiser.safetensors")) / 2);
}

/// What is measured is what the saved adapter computes: the run's last numbers come out again.
#[test]
fn a_saved_adapter_is_measured_trained_on_and_merged() {
    let project = Project::new();
    let run = project.run("first", &["--set", LORA]);
    let value = |run: &Path, tag: &str, last: bool| {
        let lines = timeless(run).into_iter();
        let found: Vec<f64> = lines
            .filter_map(|line| line["scalars"][tag].as_f64())
            .collect();
        if last {
            found[found.len() - 1]
        } else {
            found[0]
        }
    };
    let tag = "kl/mean_nats";
    let models = "models.main='runs/small/first/models/main' models.assistant='runs/small/first/models/assistant'";
    let again = |name: &str, more: &str| {
        project.run(
            name,
            &["--set", &format!("{models} train.max_steps=2 {more}")],
        )
    };
    // Unmerged, with adapters that go on, and with one that is not trained.
    for (name, more) in [
        ("on", "train.lora.main.r=3"),
        ("stays", "train.models=['assistant']"),
    ] {
        let other = again(name, more);
        assert_eq!(value(&other, tag, false), value(&run, tag, true), "{name}");
    }
    let stays = project.path().join("runs/small/stays/models/main");
    let bytes = |folder: &Path| std::fs::read(folder.join("adapter_model.safetensors")).unwrap();
    assert!(bytes(&stays) == bytes(&run.join("models/main")));
    assert!(bytes(&project.path().join("runs/small/on/models/main")) != bytes(&stays));
    // Exported whole, and read again as any model.
    project
        .milepost(&["export", "runs/small/first", "--merged"])
        .assert()
        .success();
    assert_eq!(names_in(&run.join("merged")), ["main"]);
    let whole = Network::load(&run.join("merged/main"), &on_flex()).unwrap();
    let alone = [
        "export",
        "runs/small/first/models/main",
        "--merged",
        "--out",
        "alone",
    ];
    project.milepost(&alone).assert().success();
    let one = Network::load(&project.path().join("alone"), &on_flex()).unwrap();
    assert!(parameters(&whole) == parameters(&one));
    let set = "models.main='runs/small/first/merged/main' models.assistant='runs/small/first/models/assistant' train.max_steps=2";
    let whole = project.run("whole", &["--set", set]);
    let (found, expected) = (value(&whole, tag, false), value(&run, tag, true));
    close(found, expected, 1e-4, 0.0, "exported");
    for (arguments, part) in [
        (
            &["export", "runs/small/whole", "--merged"][..],
            "no adapter",
        ),
        (
            &["export", "runs/small/first", "runs/small/whole", "--merged"],
            "at a time",
        ),
    ] {
        let refused = project.fails(arguments, 2);
        assert!(refused.contains(part), "{refused}");
    }
    // Merged where all weights are trained.
    let merged = again("merged", "");
    let (found, expected) = (value(&merged, tag, false), value(&run, tag, true));
    close(found, expected, 1e-4, 0.0, "merged");
    assert!(merged.join("models/main/model.safetensors").is_file());
    let arguments = ["finetune", "small.toml", "--name", "x", "--set"];
    for (more, part) in [
        ("train.lora.main.r=4", "another `r`"),
        ("train.lora.main.alpha=3", "another `alpha`"),
        (
            "train.lora.main.target_modules=['c_attn']",
            "another `target_modules`",
        ),
        ("train.lora.main.use_rslora=true", "another `use_rslora`"),
    ] {
        let set = format!("{models} {more}");
        let refused = project.fails(&[&arguments[..], &[&set]].concat(), 2);
        assert!(refused.contains(part), "{refused}");
    }
}

#[test]
fn settings_that_cannot_be_used_are_refused_at_their_key() {
    let project = Project::new();
    for (set, part) in [
        ("train.lora.main.r=0", "from 1 to"),
        ("train.lora.main.dropout=1.0", "below 1"),
        ("train.lora.main.bias='all'", "only \"none\""),
        (
            "train.lora.main.modules_to_save=['wte']",
            "no layer is trained whole",
        ),
        ("train.lora.main.target_modules='.*attn'", "all-linear"),
        ("train.lora.main.target_modules=[]", "names no layer"),
        (
            "train.lora.main.target_modules=['wte']",
            "`wte` is no dense layer",
        ),
        ("train.lora.main.use_dora=true", "use_dora"),
        ("train.lora.main.rank_pattern={}", "rank_pattern"),
        (
            "train.lora.assistant={} train.models=['main']",
            "not trained",
        ),
    ] {
        let refused = project.fails(&["finetune", "small.toml", "--set", set], 2);
        assert!(refused.contains(part), "{set}: {refused}");
    }
}

/// Replays, and hooks that look at weights and gradients, know the adapters by the names that PEFT's files have.
#[test]
fn hooks_and_interventions_know_adapters_by_their_names() {
    let project = Project::new();
    project.write(
        "hooks.toml",
        "[interventions.freeze]\nkind = \"freeze\"\nmodel = \"main\"\nparameters = [\"h.0.*\"]\nat = \"step 2\"\n",
    );
    let small = project.read("small.toml") + &project.read("hooks.toml");
    project.write("frozen.toml", small + "[train.lora.main]\n");
    project
        .milepost(&["finetune", "frozen.toml", "--name", "a"])
        .assert()
        .success();
    let run = project.path().join("runs/frozen/a");
    let gradients: Vec<String> = timeless(&run)
        .iter()
        .filter_map(|line| line["scalars"].as_object())
        .flat_map(|scalars| scalars.keys().cloned())
        .filter(|tag| tag.contains("main") && tag.contains("grad"))
        .collect();
    assert!(!gradients.is_empty());
    let set = "interventions.freeze.parameters=['wte.weight']";
    let refused = project.fails(&["finetune", "frozen.toml", "--name", "b", "--set", set], 2);
    assert!(
        refused.contains("wte.weight") && refused.contains("h.0.attn.c_attn.lora_A.weight"),
        "{refused}"
    );
}
