//! Every family of networks against PyTorch and transformers (tests/fixtures/families), and against itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use burn::tensor::{Device, Int, Tensor, TensorData};
use milepost::decode::{Request, Schedule, Settings, assisted, greedy};
use milepost::hook::testing::changed;
use milepost::measure::chord::{Chord, Points, Weighting};
use milepost::measure::evaluation::template_divergences;
use milepost::measure::smooth::SmoothMeasure;
use milepost::model::{
    Activations, Ends, KvPool, Layer, Network, NewToken, Pair, Part, Place, Precision, Role,
    TrainingPass, WeightPart, named_parameters, next_token_loss,
};
use milepost::readback::rehearsed;
use milepost::train::Learner;
use serde_json::{Value, json};

use crate::harness::{Project, close, ids, numbers, rows, timeless};

pub fn fixture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families");
    folder.join(name)
}

pub static REFERENCE: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(&std::fs::read_to_string(fixture("reference.json")).unwrap()).unwrap()
});

/// The names of the networks, each with what PyTorch makes of it.
pub fn networks() -> impl Iterator<Item = (&'static str, &'static Value)> {
    let networks = REFERENCE["networks"].as_object().unwrap().iter();
    networks.map(|(name, expected)| (name.as_str(), expected))
}

pub fn load(name: &str) -> Network {
    Network::load(&fixture(name), &Device::flex()).unwrap()
}

fn trained(name: &str) -> Network {
    Network::load(&fixture(name), &Device::flex().autodiff()).unwrap()
}

fn slices(rows: &[Vec<u32>]) -> Vec<&[u32]> {
    rows.iter().map(Vec::as_slice).collect()
}

pub fn logits(model: &Network) -> Vec<f32> {
    let rows = rows(&REFERENCE["ids"]);
    let shape = [rows.len(), rows[0].len()];
    let ids: Vec<i32> = rows.iter().flatten().map(|&id| id as i32).collect();
    let ids: Tensor<2, Int> = Tensor::from_data(TensorData::new(ids, shape), &model.device());
    model.logits(ids).into_data().try_into_vec::<f32>().unwrap()
}

#[track_caller]
pub fn near(found: &[f32], expected: &Value, floor: f64, what: &str) {
    let expected = numbers(expected);
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        close(f64::from(*found), expected, 1e-4, floor, what);
    }
}

#[test]
fn logits_and_losses_are_those_of_transformers() {
    for (name, expected) in networks() {
        let model = load(name);
        near(&logits(&model), &expected["logits"], 1.0, name);
        let batch = rows(&REFERENCE["ids"]);
        let (sum, count) = next_token_loss(&model, &slices(&batch), None);
        let loss = f64::from(sum.into_scalar::<f32>()) / count as f64;
        close(loss, expected["loss"].as_f64().unwrap(), 1e-5, 0.0, name);
        let losses = model.token_losses(&slices(&batch)).unwrap().concat();
        let mean = losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() / losses.len() as f64;
        close(mean, loss, 1e-5, 0.0, name);
    }
}

#[test]
fn gradients_are_those_of_pytorch() {
    for (name, expected) in networks() {
        let batch = rows(&REFERENCE["ids"]);
        let mut learner = Learner::new(trained(name), 0.0);
        let count = batch.iter().map(|row| row.len() - 1).sum();
        learner.accumulate(count, |model| {
            next_token_loss(model, &slices(&batch), None).0
        });
        learner.gather();
        let gradients = learner.gradients();
        let norms: BTreeMap<String, f64> = gradients.norms().into_iter().collect();
        let expected_norms = expected["norms"].as_object().unwrap();
        let largest = norms.values().fold(0.0, |one: f64, norm| one.max(*norm));
        let names: Vec<&String> = norms.keys().collect();
        assert!(
            names.iter().all(|one| expected_norms.contains_key(*one)),
            "{name}: {names:?}"
        );
        assert_eq!(names.len(), expected_norms.len(), "{name}");
        for (tensor, norm) in expected_norms {
            let what = format!("{name}, {tensor}");
            close(
                norms[tensor],
                norm.as_f64().unwrap(),
                1e-4,
                1e-2 * largest,
                &what,
            );
            let expected = numbers(&expected["gradients"][tensor]);
            let found = gradients.values(tensor).unwrap();
            let scale = expected
                .iter()
                .fold(0.0, |scale: f64, one| scale.max(one.abs()));
            for (found, expected) in found.iter().zip(expected) {
                close(
                    f64::from(*found),
                    expected,
                    1e-4,
                    scale.max(1e-3 * largest),
                    &what,
                );
            }
        }
    }
}

/// The losses of the reference's steps.
fn losses(model: Network) -> Vec<f64> {
    let batches = REFERENCE["batches"].as_array().unwrap();
    let mut learner = Learner::new(model, 0.0);
    let steps = batches.iter().enumerate().map(|(step, batch)| {
        let batch = rows(batch);
        let count = batch.iter().map(|row| row.len() - 1).sum();
        learner.accumulate(count, |model| {
            next_token_loss(model, &slices(&batch), None).0
        });
        let loss = learner.gather();
        learner.clip(learner.gradient_norm(), 1.0);
        learner.step(2e-3 * (1.0 - step as f64 / batches.len() as f64));
        loss
    });
    steps.collect()
}

#[test]
fn twenty_steps_have_the_losses_of_pytorch() {
    for (name, expected) in networks() {
        let found = losses(trained(name));
        assert_eq!(found.len(), 20);
        for (found, expected) in found.iter().zip(numbers(&expected["losses"])) {
            close(*found, expected, 1e-3, 0.0, name);
        }
    }
}

#[test]
fn what_stands_inside_is_what_transformers_shows() {
    for (name, expected) in networks() {
        let model = load(name);
        let text = [rows(&REFERENCE["ids"]).remove(0)];
        let look = |layers: &[Layer]| -> Vec<Activations> {
            let mut found = model.look_into(&text, layers, &|| Ok(())).unwrap();
            found.remove(0)
        };
        let hidden = look(&model.hidden_layers());
        let expected_hidden = expected["hidden"].as_array().unwrap();
        assert_eq!(hidden.len(), expected_hidden.len());
        for (found, expected) in hidden.iter().zip(expected_hidden) {
            near(
                &found.values,
                expected,
                1.0,
                &format!("{name}, {}", found.layer),
            );
        }
        let last = model.config().layers - 1;
        let weights = look(&[Part::AttentionWeights.of(last)]);
        near(&weights[0].values, &expected["attention"], 1.0, name);
        // Every layer is shown, and what a block adds up to is its output.
        let all = look(&model.layers());
        assert_eq!(all.len(), model.layers().len());
        let values = |part: Part| {
            &all.iter()
                .find(|one| one.layer == part.of(last))
                .unwrap()
                .values
        };
        let before = if last == 0 {
            &all[0].values
        } else {
            let layer = Part::Output.of(last - 1);
            &all.iter().find(|one| one.layer == layer).unwrap().values
        };
        let parts = before
            .iter()
            .zip(values(Part::Attention))
            .zip(values(Part::Mlp));
        for (((before, attention), mlp), output) in parts.zip(values(Part::Output)) {
            assert!((before + attention + mlp - output).abs() < 1e-4, "{name}");
        }
    }
}

#[test]
fn reading_on_equals_reading_at_once() {
    for (name, _) in networks() {
        let model = load(name);
        let text = rows(&REFERENCE["ids"]).remove(0);
        let read = || {
            let mut pool = KvPool::new(model.config());
            let (mut sequence, mut pieces) = (Vec::new(), Vec::new());
            // Pieces of several lengths, and a draft that is given up on the way.
            for (end, draft) in [(5, 0), (6, 3), (11, 1), (text.len(), 0)] {
                let read = sequence.len();
                pool.resize(&mut sequence, end);
                let new: Vec<NewToken> = NewToken::of(&text[..end], &sequence, read).collect();
                pieces.push(model.read(&new, &mut pool));
                let longer = [&text[..end], &[1, 2, 3][..draft]].concat();
                pool.resize(&mut sequence, longer.len());
                let new: Vec<NewToken> = NewToken::of(&longer, &sequence, end).collect();
                model.read(&new, &mut pool);
                pool.resize(&mut sequence, end);
            }
            Tensor::cat(pieces, 0)
        };
        let ids: Vec<i32> = text.iter().map(|&id| id as i32).collect();
        let ids = TensorData::new(ids, [1, text.len()]);
        let whole = model.hidden(Tensor::from_data(ids, &Device::flex()), None);
        let whole: Tensor<2> = whole.squeeze_dim(0);
        let (there, _) = rehearsed(read).unwrap();
        for found in [read(), there] {
            let difference: f32 = (whole.clone() - found).abs().max().into_scalar();
            assert!(difference < 1e-4, "{name}: {difference}");
        }
    }
}

/// The pair of a case, over the tokenizer's 40 tokens.
fn pair(case: &Value) -> Pair {
    let model = |role: &str| load(case[role].as_str().unwrap());
    Pair::over(model("main"), model("assistant"), 40).unwrap()
}

fn name(case: &Value) -> String {
    format!("{} with {}", case["main"], case["assistant"])
}

#[test]
fn every_token_and_round_of_assisted_decoding_is_that_of_the_reference() {
    let pairs = ["pairs", "more_pairs"].map(|key| REFERENCE[key].as_array().unwrap());
    let mut decodings = 0;
    for case in pairs.into_iter().flatten() {
        let (pair, prompts) = (pair(case), rows(&case["prompts"]));
        let ends = Ends::from(ids(&case["ends"]));
        for setting in case["settings"].as_array().unwrap() {
            let settings = Settings {
                draft_length: setting["draft_length"].as_u64().unwrap() as usize,
                max_new_tokens: setting["max_new_tokens"].as_u64().unwrap() as usize,
                schedule: match setting["schedule"].as_str().unwrap() {
                    "constant" => Schedule::Constant,
                    _ => Schedule::Heuristic,
                },
                ..Settings::default()
            };
            let requests = prompts.iter().map(|prompt| Request { prompt, seed: 0 });
            let requests: Vec<Request> = requests.collect();
            let decode = || assisted(&pair, &requests, &ends, &settings, &|_| Ok(())).unwrap();
            let (there, _) = rehearsed(decode).unwrap();
            assert_eq!(there, decode(), "{}", name(case));
            for (index, expected) in setting["expected"].as_array().unwrap().iter().enumerate() {
                let found = &there[index];
                let what = format!("{}, {settings:?}, prompt {index}", name(case));
                assert_eq!(found.tokens, ids(&expected["tokens"]), "{what}");
                let rounds = found.rounds.iter();
                let rounds: Vec<Vec<u32>> = rounds
                    .map(|round| vec![round.drafted as u32, round.matched as u32])
                    .collect();
                assert_eq!(rounds, rows(&expected["rounds"]), "{what}");
                decodings += 1;
                let new = settings.max_new_tokens;
                assert_eq!(
                    found.tokens,
                    greedy(&pair.main, &prompts[index], new, &ends).unwrap()
                );
            }
        }
    }
    assert_eq!(decodings, 528);
}

/// The mean KL divergence of a pair after some prompts, in nats.
fn mean_kl(pair: &Pair, prompts: &[Vec<u32>]) -> f64 {
    let found = template_divergences(pair, prompts, &|| Ok(())).unwrap();
    found.iter().map(|one| one.kl).sum::<f64>() / prompts.len() as f64
}

/// The shares of all tensors in the change of the mean KL divergence from a pair to the same pair with other weights.
fn shares(
    case: &Value,
    rule: &dyn Fn(Role, &str, usize, f32) -> f32,
) -> (f64, Vec<milepost::measure::chord::Share>) {
    let from = pair(case);
    let moved = |role: Role| {
        changed(from.get(role), |name, index, value| {
            rule(role, name, index, value)
        })
    };
    let to = Pair::over(moved(Role::Main), moved(Role::Assistant), 40).unwrap();
    let prompts = rows(&case["prompts"]);
    let observed = mean_kl(&to, &prompts) - mean_kl(&from, &prompts);
    let chord = Chord::new(&from, &to, &prompts).unwrap();
    let weighting = Weighting {
        weights: vec![1.0 / prompts.len() as f64; prompts.len()],
        observed,
    };
    let points = Points {
        first: 12,
        most: 12,
    };
    let found = chord.decompose(SmoothMeasure::Kl, &[weighting], points, &|_, _| Ok(()));
    (observed, found.unwrap().changes.remove(0).shares)
}

#[test]
fn shares_of_the_weights_add_up_to_the_change() {
    for case in REFERENCE["pairs"].as_array().unwrap() {
        let (observed, shares) = shares(case, &|_, _, index, value| {
            (f64::from(value) + 0.02 * (index as f64 + 1.0).sin()) as f32
        });
        let sum: f64 = shares.iter().map(|share| share.value).sum();
        let size: f64 = shares.iter().map(|share| share.value.abs()).sum();
        close(sum, observed, 1e-4, size, &name(case));
        // Each tensor stands once, and a tied table a second time, as the head.
        for role in Role::BOTH {
            let own: Vec<_> = shares.iter().filter(|share| share.role == role).collect();
            let heads = own.iter().filter(|share| share.weight.place == Place::HEAD);
            assert_eq!(heads.count(), 1, "{}", name(case));
            let parameters = named_parameters(pair(case).get(role)).len();
            let tied = own.iter().any(|share| {
                share.weight.place == Place::HEAD
                    && share.weight.tensor.starts_with("embed_")
                    && share.weight.tensor != "embed_out.weight"
            });
            assert_eq!(own.len(), parameters + usize::from(tied), "{}", name(case));
        }
    }
}

/// Where one tensor alone moves, the whole change is its own, and its place is that of its name.
#[test]
fn the_change_of_one_tensor_is_its_own() {
    let all = [
        ("lm_head.weight", WeightPart::Head),
        ("embed_tokens.weight", WeightPart::Tokens),
        ("layers.1.self_attn.k_proj.weight", WeightPart::AttentionQkv),
        (
            "layers.1.self_attn.o_proj.weight",
            WeightPart::AttentionOutput,
        ),
        ("layers.0.mlp.gate_proj.weight", WeightPart::FeedForwardIn),
        ("layers.0.mlp.down_proj.weight", WeightPart::FeedForwardOut),
        (
            "layers.0.post_attention_layernorm.weight",
            WeightPart::Norms,
        ),
        ("norm.weight", WeightPart::Norms),
        ("embed_out.weight", WeightPart::Head),
        (
            "layers.1.attention.query_key_value.bias",
            WeightPart::AttentionQkv,
        ),
        (
            "layers.1.attention.dense.weight",
            WeightPart::AttentionOutput,
        ),
        (
            "layers.1.mlp.dense_h_to_4h.weight",
            WeightPart::FeedForwardIn,
        ),
        (
            "layers.1.mlp.dense_4h_to_h.bias",
            WeightPart::FeedForwardOut,
        ),
        ("embed_in.weight", WeightPart::Tokens),
    ];
    let mut seen = 0;
    // A Llama and a GPT-NeoX, whose heads are their own.
    for case in REFERENCE["pairs"].as_array().unwrap().iter().take(2) {
        for (tensor, part) in all {
            let (observed, shares) = shares(case, &|role, name, index, value| {
                if role == Role::Main && name == tensor {
                    value + 0.1 * ((index * 7) as f32).cos()
                } else {
                    value
                }
            });
            let Some(own) = shares
                .iter()
                .find(|share| share.role == Role::Main && share.weight.tensor == tensor)
            else {
                continue;
            };
            assert_eq!(own.weight.place.part, part);
            close(own.value, observed, 1e-4, 1e-3, tensor);
            let others = shares.iter().filter(|share| *share != own);
            assert!(
                others.map(|share| share.value).all(|one| one == 0.0),
                "{tensor}"
            );
            seen += 1;
        }
    }
    // One of the names is in both.
    assert_eq!(seen, all.len() + 1);
}

#[test]
fn the_bits_of_training_do_not_depend_on_the_number_of_threads() {
    for name in ["qwen3", "llama_pad", "neox", "neox_sequential"] {
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(|| losses(trained(name)))
        };
        let one = with(1);
        assert!(one == with(2) && one == with(5), "{name}");
    }
}

/// On flex and as a card would do it, training has the same losses.
#[test]
fn training_composed_of_burns_operations_has_the_same_losses() {
    for (name, expected) in networks() {
        let (found, _) = rehearsed(|| losses(trained(name))).unwrap();
        for (found, expected) in found.iter().zip(numbers(&expected["losses"])) {
            close(*found, expected, 1e-3, 0.0, name);
        }
    }
}

/// Dropout changes the losses in training alone, by what the pass draws.
#[test]
fn dropout_is_drawn_by_the_pass() {
    let text: &[u32] = &[3, 9, 27, 1, 3, 9];
    for name in ["llama", "qwen3", "neox", "neox_sequential"] {
        let plain = trained(name);
        let dropping = plain.clone().with_dropout(0.3);
        let loss = |model: &Network, seed: Option<u64>| {
            let rng =
                |seed| milepost::random::stream(seed, milepost::random::Purpose::Dropout, 0, 0);
            let mut pass = seed.map(|seed| TrainingPass::new(rng(seed)));
            next_token_loss(model, &[text], pass.as_mut())
                .0
                .into_scalar::<f32>()
        };
        assert_eq!(loss(&plain, None), loss(&dropping, None), "{name}");
        assert_eq!(loss(&plain, Some(1)), loss(&plain, None), "{name}");
        assert_ne!(loss(&dropping, Some(1)), loss(&plain, None), "{name}");
        assert_eq!(loss(&dropping, Some(1)), loss(&dropping, Some(1)), "{name}");
        assert_ne!(loss(&dropping, Some(1)), loss(&dropping, Some(2)), "{name}");
    }
}

/// A run with a Qwen2 and a GPT-NeoX whose tables are padded to different sizes: its hooks, its end, and that it goes on after a stop.
#[test]
fn a_run_of_two_families_goes_on_as_if_it_had_never_stopped() {
    let project = Project::new();
    let tokenizer = milepost::mini::tokenizer().unwrap();
    let configs = [
        (
            "qwen",
            json!({
                "model_type": "qwen3", "vocab_size": tokenizer.vocab_size() + 24, "hidden_size": 16, "intermediate_size": 24,
                "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "attention_bias": true,
                "max_position_embeddings": 64, "initializer_range": 0.2, "eos_token_id": [0, 1],
            }),
        ),
        (
            "neox",
            json!({
                "model_type": "gpt_neox", "vocab_size": tokenizer.vocab_size(), "hidden_size": 16, "intermediate_size": 24,
                "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.2,
                "hidden_dropout": 0.1, "eos_token_id": 0,
            }),
        ),
    ];
    for (seed, (name, config)) in configs.into_iter().enumerate() {
        let mut rng =
            milepost::random::stream(seed as u64, milepost::random::Purpose::Initialisation, 0, 0);
        let model = Network::init(&config.to_string(), &mut rng, &Device::flex()).unwrap();
        let folder = project.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        model.save(&folder).unwrap();
        tokenizer.save(&folder).unwrap();
    }
    let hooks = "[hooks.weight-attribution]\nat = \"end\"\n[hooks.representation]\nat = \"end\"\n";
    project.write("small.toml", project.read("small.toml") + hooks);
    let set = [
        "--set",
        "models.main='qwen' models.assistant='neox' train.save='every 2 steps'",
    ];
    let whole = project.run("whole", &set);
    let arguments = [
        "finetune",
        "small.toml",
        "--name",
        "stopped",
        "--until",
        "step 4",
    ];
    let stop = [&arguments[..], &set].concat();
    let said = project.milepost(&stop).output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("go on with --resume stopped"), "{said}");
    let stopped = project.path().join("runs/small/stopped");
    project
        .milepost(&["finetune", "small.toml", "--resume", "stopped"])
        .assert()
        .success();
    assert_eq!(timeless(&whole), timeless(&stopped));
    for role in ["main", "assistant"] {
        let file = Path::new("models").join(role).join("model.safetensors");
        let read = |run: &Path| std::fs::read(run.join(&file)).unwrap();
        assert_eq!(read(&whole), read(&stopped), "{role}");
    }
    let saved = Network::load(&whole.join("models/main"), &Device::flex()).unwrap();
    assert_eq!(saved.config().vocab_size, tokenizer.vocab_size() + 24);
    assert_eq!(saved.ends().ids(), [0, 1]);
}

/// In bf16 the losses are near those in single precision, and not the same.
#[test]
fn training_in_bf16_is_near() {
    let batch = rows(&REFERENCE["ids"]);
    for (name, _) in networks() {
        let model = trained(name);
        let loss = |precision: Precision| {
            let rng = milepost::random::stream(1, milepost::random::Purpose::Dropout, 0, 0);
            let mut pass = TrainingPass::new(rng).in_precision(precision);
            let (sum, count) = next_token_loss(&model, &slices(&batch), Some(&mut pass));
            f64::from(sum.into_scalar::<f32>()) / count as f64
        };
        let (single, half) = (loss(Precision::F32), loss(Precision::Bf16));
        assert!(single != half, "{name}");
        close(half, single, 1e-2, 0.0, name);
    }
}

/// As PyTorch's table has it: the vector of the padding token is not trained by where it stands, only as a row of a head that is the table.
#[test]
fn padding_is_not_trained_by_where_it_stands() {
    let text: &[u32] = &[7, 3, 7, 1, 5];
    for (name, pad) in [("llama_pad", 7), ("llama_biases", 5), ("llama", 7)] {
        let mut learner = Learner::new(trained(name), 0.0);
        learner.accumulate(4, |model| next_token_loss(model, &[text], None).0);
        learner.gather();
        let gradient = learner.gradients().values("embed_tokens.weight").unwrap();
        let row = |token: usize| gradient[token * 16..][..16].iter().any(|one| *one != 0.0);
        assert!(row(3), "{name}");
        assert_eq!(row(pad), name != "llama_pad", "{name}");
    }
}
