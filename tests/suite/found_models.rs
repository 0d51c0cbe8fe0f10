//! Whole model directories of each family as the hub has them: config, weights and tokenizer through a run, a measurement and back.

use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use milepost::data::tokenizer::Tokenizer;
use milepost::model::Network;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};

use crate::checkpoints::transformers;
use crate::harness::{Project, close, ids, milestones, numbers};
use crate::tokenizer_classes;

/// Rows of the tables: more than any of the tokenizers has tokens, as the hub's tables have.
const ROWS: usize = 448;

/// The form of the tokenizer, and the config of a main model of two blocks.
fn found() -> Vec<(&'static str, Value)> {
    let llama = |more: Value| {
        let mut config = json!({
            "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
            "hidden_size": 24, "initializer_range": 0.2, "intermediate_size": 32, "max_position_embeddings": 128, "model_type": "llama", "num_attention_heads": 4,
            "num_hidden_layers": 2, "num_key_value_heads": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_scaling": null, "rope_theta": 10000.0,
            "tie_word_embeddings": false, "torch_dtype": "float32", "transformers_version": "4.35.0", "use_cache": true, "vocab_size": ROWS,
        });
        let more = more.as_object().unwrap().clone();
        config.as_object_mut().unwrap().extend(more);
        config
    };
    let qwen = |kind: &str, architecture: &str, more: Value| {
        let mut config = llama(json!({
            "architectures": [architecture], "model_type": kind, "bos_token_id": 0, "eos_token_id": 370, "max_window_layers": 2, "rope_theta": 1000000.0,
            "sliding_window": null, "use_sliding_window": false, "rms_norm_eps": 1e-6, "tie_word_embeddings": true,
        }));
        config
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        config
    };
    let three = json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64});
    let neox = json!({
        "architectures": ["GPTNeoXForCausalLM"], "bos_token_id": 0, "eos_token_id": 0, "hidden_act": "gelu", "hidden_size": 24, "initializer_range": 0.2,
        "intermediate_size": 32, "layer_norm_eps": 1e-5, "max_position_embeddings": 128, "model_type": "gpt_neox", "num_attention_heads": 2, "num_hidden_layers": 2,
        "rotary_emb_base": 10000, "rotary_pct": 0.25, "tie_word_embeddings": false, "torch_dtype": "float16", "transformers_version": "4.24.0", "use_cache": true,
        "use_parallel_residual": true, "vocab_size": ROWS,
    });
    vec![
        ("pythia", neox),
        ("qwen2.5", qwen("qwen2", "Qwen2ForCausalLM", json!({}))),
        (
            "qwen3",
            qwen("qwen3", "Qwen3ForCausalLM", json!({"head_dim": 8})),
        ),
        (
            "smollm2",
            llama(json!({
                "bos_token_id": 0, "eos_token_id": 0, "is_llama_config": true, "rope_interleaved": false, "rope_theta": 100000, "tie_word_embeddings": true,
            })),
        ),
        (
            "llama 3",
            llama(json!({
                "bos_token_id": 0, "eos_token_id": [0, 369, 370], "head_dim": 6, "mlp_bias": false, "rope_scaling": three, "rope_theta": 500000.0, "tie_word_embeddings": true,
            })),
        ),
        ("tinyllama", llama(json!({}))),
        ("llama 2", llama(json!({"pad_token_id": 0}))),
        (
            "mistral",
            llama(
                json!({"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 4096}),
            ),
        ),
        (
            "smollm3",
            llama(json!({
                "architectures": ["SmolLM3ForCausalLM"], "model_type": "smollm3", "bos_token_id": 0, "eos_token_id": 370, "pad_token_id": 369, "no_rope_layers": [1, 0],
                "layer_types": ["full_attention", "full_attention"], "use_sliding_window": false, "sliding_window": null,
            })),
        ),
    ]
}

const EXPERIMENT: &str = r#"
[models]
main = "main"
assistant = "assistant"
[data]
source = "jsonl"
train = "text.jsonl"
held_out = { share = 0.2, seed = 1 }
prompt = "question"
text = "answer"
[train]
max_steps = 3
batch = 2
block = 32
lr = 1e-3
[decode]
max_new_tokens = 12
[templates]
file = "templates.tsv"
[hooks.template-kl]
at = "end"
[hooks.match-disparity]
at = "end"
[hooks.sample-text]
at = "end"
[hooks.pronoun-gap]
at = "end"
[hooks.drift]
at = "end"
"#;

/// A project with a pair of a family in two directories.
fn project(name: &str, config: &Value) -> Project {
    let project = Project::new();
    for (seed, role) in ["main", "assistant"].into_iter().enumerate() {
        let folder = project.path().join(role);
        std::fs::create_dir(&folder).unwrap();
        tokenizer_classes::write(&folder, tokenizer_classes::named(name));
        let mut config = config.clone();
        if role == "assistant" {
            config["num_hidden_layers"] = json!(1);
            for list in ["no_rope_layers", "layer_types"] {
                if let Some(list) = config[list].as_array_mut() {
                    list.truncate(1);
                }
            }
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed as u64);
        let network = Network::init(&config.to_string(), &mut rng, &Device::flex()).unwrap();
        network.save(&folder).unwrap();
        std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    }
    project
}

#[test]
fn pythia_goes_through_a_run_and_back() {
    goes_through_a_run_and_back(&["pythia"]);
}

#[test]
fn qwen_goes_through_a_run_and_back() {
    goes_through_a_run_and_back(&["qwen2.5", "qwen3"]);
}

#[test]
fn llama_and_mistral_go_through_a_run_and_back() {
    goes_through_a_run_and_back(&["llama 2", "tinyllama", "llama 3", "mistral"]);
}

#[test]
fn smollm_goes_through_a_run_and_back() {
    goes_through_a_run_and_back(&["smollm2", "smollm3"]);
}

fn goes_through_a_run_and_back(names: &[&str]) {
    let mut all = found();
    all.retain(|(name, _)| names.contains(name));
    assert_eq!(all.len(), names.len());
    for (name, config) in all {
        let project = project(name, &config);
        project.write("small.toml", EXPERIMENT);
        let lines = (0..60).map(|line| {
            let answer = format!(" said that it rained in {}.", 1900 + line);
            json!({"question": "The nurse", "answer": answer}).to_string() + "\n"
        });
        project.write("text.jsonl", lines.collect::<String>());
        let tokenizer = Tokenizer::load(&project.path().join("main")).unwrap();
        answers_go_on(name, &project, &tokenizer);
        let run = project.run("a", &[]);
        assert!(
            milestones(&run)
                .iter()
                .any(|line| line["source"] == "sample-text")
        );
        for role in ["main", "assistant"] {
            let saved = run.join("models").join(role);
            let again = Tokenizer::load(&saved).unwrap();
            assert_eq!(tokenizer.difference(&again), None, "{name}");
            let own = Network::load(&project.path().join(role), &Device::flex()).unwrap();
            let saved = Network::load(&saved, &Device::flex()).unwrap();
            assert_eq!(own.ends(), saved.ends(), "{name}");
            assert_ne!(logits(&own), logits(&saved), "{name} was trained");
        }
        measured(name, &project, &tokenizer);
        in_transformers(&run.join("models/main"), &tokenizer);
    }
}

/// An answer has the tokens of a text that goes on behind its prompt. What the tokenizer's class leaves out is said.
fn answers_go_on(name: &str, project: &Project, tokenizer: &Tokenizer) {
    let shown = project.milepost(&["data", "small.toml"]).assert().success();
    let shown = String::from_utf8_lossy(&shown.get_output().stdout).into_owned();
    let first = tokenizer.encode_behind(" said").unwrap()[0];
    let first = format!("{first} {:?}", tokenizer.decode_behind(&[first]).unwrap());
    let answers: Vec<&str> = shown
        .lines()
        .filter(|line| line.contains("    answer  "))
        .collect();
    assert!(!answers.is_empty(), "{shown}");
    for answer in answers {
        let tokens = answer.trim_start_matches("    answer  ");
        assert!(tokens.starts_with(&first), "{name}: {answer}, not {first}");
    }
    let plan = project.milepost(&["plan", "small.toml"]).assert().success();
    let plan = String::from_utf8_lossy(&plan.get_output().stdout).into_owned();
    if let Some(left_out) = tokenizer.left_out() {
        let (_, said) = left_out.split_once("tokenizer.json: ").unwrap();
        let note = format!("note: main/tokenizer.json: {said}");
        assert!(plan.contains(&note), "{note}\n{plan}");
    }
}

/// What is measured of the saved pair, with the tokens that begin a text and without: each continuation is the text that its tokens have behind
/// the prompt.
fn measured(name: &str, project: &Project, tokenizer: &Tokenizer) {
    let begins = tokenizer.clone().with_beginning().unwrap();
    for (begin, tokenizer) in [(true, &begins), (false, tokenizer)] {
        measured_from(name, project, tokenizer, begin);
    }
}

fn measured_from(name: &str, project: &Project, tokenizer: &Tokenizer, begin: bool) {
    let set = format!("models.begin={begin}");
    let arguments = [
        "measure",
        "--main",
        "runs/small/a/models/main",
        "--assistant",
        "runs/small/a/models/assistant",
        "--templates",
        "templates.tsv",
        "--json",
        "out.json",
        "--set",
        &set,
    ];
    project.milepost(&arguments).assert().success();
    let found: Value = serde_json::from_str(&project.read("out.json")).unwrap();
    for row in found["prompts"].as_array().unwrap() {
        let prompt = row["prompt"].as_str().unwrap();
        let (before, said) = (ids(&row["prompt_tokens"]), ids(&row["tokens"]));
        assert_eq!(before, tokenizer.encode(prompt).unwrap(), "{name}");
        assert!(!said.is_empty(), "{name}");
        let text = [&before[tokenizer.beginning().len()..], &said].concat();
        let whole = tokenizer.decode(&text).unwrap();
        let continuation = row["continuation"].as_str().unwrap();
        assert_eq!(format!("{prompt}{continuation}"), whole, "{name}");
    }
}

const BATCH: [[u32; 6]; 2] = [[0, 17, 260, 299, 4, 33], [280, 281, 3, 0, 0, 90]];

fn logits(model: &Network) -> Vec<f32> {
    let tokens: Vec<i32> = BATCH.iter().flatten().map(|&id| id as i32).collect();
    let tokens: Tensor<2, Int> =
        Tensor::from_data(TensorData::new(tokens, [2, 6]), &Device::flex());
    model.logits(tokens).into_data().try_into_vec().unwrap()
}

/// The saved directory in transformers: the same ids of texts, the same logits.
fn in_transformers(saved: &Path, tokenizer: &Tokenizer) {
    let Some(python) = transformers() else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/found_models.py");
    let texts = tokenizer_classes::texts();
    let output = assert_cmd::Command::new(python)
        .arg(script)
        .arg(saved)
        .write_stdin(json!({"texts": texts, "batch": BATCH}).to_string())
        .assert()
        .success();
    let found: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    for (index, text) in texts.into_iter().enumerate() {
        let own = tokenizer.encode(text).unwrap();
        assert_eq!(json!(own), found["ids"][index], "{text:?}");
    }
    let model = Network::load(saved, &Device::flex()).unwrap();
    for (found, own) in numbers(&found["logits"]).iter().zip(logits(&model)) {
        close(*found, f64::from(own), 1e-4, 1.0, "logit");
    }
}
