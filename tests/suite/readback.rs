//! What leaves the device. Tensors are on flex, but everything is composed of burn's operations, as it is on a graphics card; every read is
//! counted.

use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use burn::tensor::{Device, Tensor, TensorData};
use milepost::cadence::Cadence;
use milepost::clock::Length;
use milepost::data::blocks::Blocks;
use milepost::decode::{Decoding, Request, Sampling, Settings, assisted};
use milepost::measure::divergence::Divergence;
use milepost::measure::evaluation::{mean_loss, template_divergences};
use milepost::measure::likelihood::log_probabilities;
use milepost::measure::positions::{Text, divergences_along};
use milepost::mini;
use milepost::model::{Base, Lora, Network, Pair, Role};
use milepost::random::{Purpose, stream};
use milepost::readback::rehearsed;
use milepost::train::{Begin, Distil, Objective, Plan, finetune};

use crate::harness::{REFERENCE, close, fixture, fixture_pair, rows};
use crate::small_run::{Trace, plan};

/// What comes out, and how often the device was read.
fn read<T: Send>(work: impl FnOnce() -> T + Send) -> (T, usize) {
    rehearsed(work).unwrap()
}

/// A fresh pair with so many blocks each.
fn pair(layers: usize, device: &Device) -> Pair {
    let vocab = mini::tokenizer().unwrap().vocab_size();
    let config = serde_json::json!({
        "model_type": "gpt2", "vocab_size": vocab, "n_positions": 64, "n_embd": 16, "n_layer": layers, "n_head": 2,
        // So that its tokens are not all the same.
        "initializer_range": 0.3,
    });
    let model = |seed| {
        let mut rng = stream(seed, Purpose::Initialisation, 0, 0);
        Network::init(&config.to_string(), &mut rng, device).unwrap()
    };
    Pair::new(model(1), model(2)).unwrap()
}

fn fixtures() -> Pair {
    fixture_pair(&Device::flex())
}

/// A run of so many steps of two micro-batches each, without hooks or checkpoints. It evaluates once, at its start.
fn run(directory: &Path, layers: usize, steps: u64) -> Plan {
    let mut plan = plan(directory, 32, Length::Steps(steps), Vec::new());
    plan.pair = pair(layers, &Device::flex().autodiff());
    plan.training.save = None;
    plan.training.evaluate = Cadence::parse(&["start"]).unwrap();
    plan
}

#[test]
fn a_training_step_reads_once_however_deep_the_models_are() {
    let reads = |layers, steps, change: &(dyn Fn(&mut Plan) + Sync)| {
        let folder = tempfile::tempdir().unwrap();
        let mut plan = run(&folder.path().join("run"), layers, steps);
        change(&mut plan);
        let (outcome, reads) = read(move || {
            finetune(
                plan,
                Begin::Anew,
                &mut Trace::default(),
                &AtomicBool::new(false),
            )
        });
        assert_eq!(outcome.unwrap().clock.step.0, steps);
        reads
    };
    let changes: [&(dyn Fn(&mut Plan) + Sync); 3] = [
        &|_| {},
        &|plan| plan.training.clip = None,
        // The assistant reads the main model's distribution, on the device.
        &|plan| plan.training.objectives.assistant = Objective::Distil(Distil::default()),
    ];
    for change in changes {
        for layers in [1, 3] {
            let [few, many] = [2, 7].map(|steps| reads(layers, steps, change));
            assert_eq!(many - few, 5, "{layers} layers");
        }
    }
}

#[test]
fn training_composed_of_operations_has_the_losses_of_the_kernels() {
    let losses = || {
        let model = Network::load(&fixture("main"), &Device::flex().autodiff()).unwrap();
        let mut learner = milepost::train::Learner::new(model, 0.0);
        let steps = REFERENCE["fine_tuning"].as_array().unwrap().iter();
        let losses = steps.enumerate().map(|(index, step)| {
            let batch = rows(&step["rows"]);
            let batch: Vec<&[u32]> = batch.iter().map(Vec::as_slice).collect();
            for rows in batch.chunks(2) {
                learner.accumulate(4 * 31, |model| {
                    milepost::model::next_token_loss(model, rows, None).0
                });
            }
            let loss = learner.gather();
            let norm = learner.gradient_norm();
            learner.clip(norm, 1.0);
            learner.step(1e-3 * (1.0 - index as f64 / 20.0));
            assert!(learner.not_finite().is_none());
            [loss, norm]
        });
        losses.collect::<Vec<_>>()
    };
    let ((composed, _), own) = (read(losses), losses());
    for (composed, own) in composed.iter().flatten().zip(own.iter().flatten()) {
        close(*composed, *own, 1e-5, 0.0, "loss or norm");
    }
}

#[test]
fn the_first_weight_that_is_not_finite_is_found_on_the_device() {
    let model = Network::load(&fixture("main"), &Device::flex().autodiff()).unwrap();
    let broken =
        milepost::hook::testing::changed(&model, |name, index, value| match (name, index) {
            ("h.1.mlp.c_fc.bias", 3) => f32::INFINITY,
            ("ln_f.weight", 0) => f32::NAN,
            _ => value,
        });
    let (found, reads) = read(|| milepost::train::Learner::new(broken, 0.0).not_finite());
    assert_eq!(found, Some(("h.1.mlp.c_fc.bias".to_owned(), f64::INFINITY)));
    assert_eq!(reads, 2);
}

/// The decodings of many prompts, and how many turns they took.
fn decode(pair: &Pair, settings: &Settings) -> (Vec<Decoding>, usize) {
    let prompts: Vec<Vec<u32>> = (0..40u32)
        .map(|seed| {
            (0..2 + seed % 9)
                .map(|at| (seed * 31 + at * 7) % 90)
                .collect()
        })
        .collect();
    let requests: Vec<Request> = prompts
        .iter()
        .map(|prompt| Request { prompt, seed: 5 })
        .collect();
    let turns = Cell::new(0);
    let go_on = |_| {
        turns.set(turns.get() + 1);
        Ok(())
    };
    let decodings = assisted(pair, &requests, Some(3), settings, &go_on).unwrap();
    (decodings, turns.get())
}

#[test]
fn a_turn_of_decoding_reads_each_model_once_however_deep_it_is() {
    let settings = Settings {
        max_new_tokens: 12,
        ..Settings::default()
    };
    let all = [
        settings,
        Settings {
            confidence_threshold: 0.4,
            ..settings
        },
        Settings {
            drafting: milepost::decode::Drafting::Lazy,
            ..settings
        },
        Settings {
            sampling: Some(Sampling {
                temperature: 1.5,
                top_k: 40,
                top_p: 0.9,
            }),
            ..settings
        },
    ];
    for settings in all {
        for layers in [1, 4] {
            let pair = pair(layers, &Device::flex());
            let ((composed, turns), reads) = read(|| decode(&pair, &settings));
            assert!(
                turns > 10 && reads <= 2 * turns,
                "{reads} reads, {turns} turns"
            );
            assert!(composed == decode(&pair, &settings).0, "{settings:?}");
        }
        let pair = fixtures();
        let ((composed, _), _) = read(|| decode(&pair, &settings));
        assert!(composed == decode(&pair, &settings).0, "{settings:?}");
    }
}

#[test]
fn the_most_probable_token_is_found_on_the_device() {
    let model = Network::load(&fixture("main"), &Device::flex()).unwrap();
    let [vocab, width] = [model.config().vocab_size, model.config().width];
    // The same row of the head at three tokens: of equal logits the lowest counts.
    let table = milepost::hook::testing::changed(&model, |name, index, value| {
        let (row, column) = (index / width, index % width);
        match name {
            "wte.weight" if [20, 50, vocab - 1].contains(&row) => 3.0 + column as f32,
            _ => value,
        }
    });
    let states = |row: [f32; 4]| {
        let values = row.iter().flat_map(|value| vec![*value; width]);
        let values: Vec<f32> = values.collect();
        Tensor::<2>::from_data(TensorData::new(values, [4, width]), &Device::flex())
    };
    let hidden = || states([1.0, f32::NAN, f32::INFINITY, 0.5]);
    let expected = [Some(20), None, None, Some(20)];
    assert_eq!(table.argmax(hidden()), expected);
    let (found, reads) = read(|| table.argmax(hidden()));
    assert_eq!((&found[..], reads), (&expected[..], 1));
    let (found, reads) = read(|| table.likeliest(hidden()));
    assert_eq!(reads, 1);
    for (found, own) in found.iter().zip(table.likeliest(hidden())) {
        match (found, own) {
            (Some((token, p)), Some((own_token, own))) => {
                assert_eq!(*token, own_token);
                close(*p, own, 1e-6, 0.0, "probability");
            }
            (found, own) => assert_eq!((*found, own), (None, None)),
        }
    }
}

fn numbers(one: &Divergence) -> [(f64, &'static str); 8] {
    [
        (one.kl, "kl"),
        (one.kl_reverse, "kl_reverse"),
        (one.js, "js"),
        (one.tv, "tv"),
        (one.acceptance_expected, "acceptance"),
        (one.entropy_main, "entropy of the main model"),
        (one.entropy_assistant, "entropy of the assistant"),
        (one.margin_main, "margin"),
    ]
}

#[test]
fn the_divergences_of_a_batch_of_prompts_are_read_at_once() {
    for layers in [1, 4] {
        let pair = pair(layers, &Device::flex());
        // 200 prompts of 5 tokens are one batch, and 1000 are three.
        let prompts = |count: u32| -> Vec<Vec<u32>> {
            let prompt = |seed: u32| (0..5).map(|at| (seed * 13 + at * at * 7) % 90).collect();
            (0..count).map(prompt).collect()
        };
        for (count, batches) in [(200, 1), (1000, 3)] {
            let prompts = prompts(count);
            let (found, reads) = read(|| template_divergences(&pair, &prompts, &|| Ok(())));
            assert_eq!(reads, batches, "{layers} layers");
            let own = template_divergences(&pair, &prompts, &|| Ok(())).unwrap();
            for (found, own) in found.unwrap().iter().zip(&own) {
                assert_eq!(found.top1_agreement, own.top1_agreement);
                // The logits themselves differ in their last bits.
                for ((found, what), (own, _)) in numbers(found).iter().zip(numbers(own)) {
                    close(*found, own, 1e-5, 0.01, what);
                }
            }
        }
    }
}

/// Of a trained pair at real text, against double precision on the host.
#[test]
fn the_divergences_of_a_trained_pair_are_those_of_double_precision() {
    let device = Device::flex();
    let model = |role| mini::model(role, &device).unwrap();
    let pair = Pair::new(model(Role::Main), model(Role::Assistant)).unwrap();
    let tokenizer = mini::tokenizer().unwrap();
    let prompts: Vec<Vec<u32>> = milepost::generator::articles(1)
        .take(200)
        .map(|article| tokenizer.encode(&article.description).unwrap()[..9].to_vec())
        .collect();
    let (found, _) = read(|| template_divergences(&pair, &prompts, &|| Ok(())).unwrap());
    let own = template_divergences(&pair, &prompts, &|| Ok(())).unwrap();
    let mut largest = std::collections::BTreeMap::new();
    for (found, own) in found.iter().zip(&own) {
        assert_eq!(found.top1_agreement, own.top1_agreement);
        for ((found, what), (own, _)) in numbers(found).into_iter().zip(numbers(own)) {
            close(found, own, 2e-5, 0.1, what);
            let largest: &mut f64 = largest.entry(what).or_default();
            *largest = largest.max((found - own).abs());
        }
    }
    println!("largest differences: {largest:?}");
}

#[test]
fn a_logit_that_is_not_finite_is_the_same_error_everywhere() {
    let mut pair = fixtures();
    pair.assistant = milepost::hook::testing::changed(&pair.assistant, |name, index, value| {
        if (name, index) == ("wte.weight", 40) {
            f32::NAN
        } else {
            value
        }
    });
    let texts = [&[5, 6, 7][..], &[8, 9]].map(|tokens| Text { tokens, from: 0 });
    let message = || {
        let error = divergences_along(&pair, &texts, &|| Ok(())).unwrap_err();
        error.to_string()
    };
    let own = message();
    assert!(own.contains("assistant"), "{own}");
    assert_eq!(read(message).0, own);
}

#[test]
fn likelihoods_and_held_out_losses_are_read_at_once() {
    let texts: Vec<Vec<u32>> = (0..90u32)
        .map(|seed| (0..3 + seed % 11).map(|at| (seed + at * at) % 90).collect())
        .collect();
    let texts: Vec<Text> = texts
        .iter()
        .map(|tokens| Text { tokens, from: 1 })
        .collect();
    let pair = fixtures();
    let (found, reads) = read(|| log_probabilities(&pair, &texts, &|| Ok(())).unwrap());
    assert_eq!(reads, 2, "one of each model");
    let own = log_probabilities(&pair, &texts, &|| Ok(())).unwrap();
    let flat = |all: [Vec<Vec<f64>>; 2]| all.into_iter().flatten().flatten().collect::<Vec<_>>();
    for (found, own) in flat(found).iter().zip(flat(own)) {
        close(*found, own, 1e-5, 1.0, "log-probability");
    }

    let rows: Vec<&[u32]> = texts.iter().map(|text| text.tokens).collect();
    let losses = || pair.main.token_losses(&rows).unwrap();
    // One of each length.
    let (found, reads) = read(losses);
    assert_eq!(reads, 11);
    for (found, own) in found.iter().flatten().zip(losses().iter().flatten()) {
        close(f64::from(*found), f64::from(*own), 1e-5, 1.0, "loss");
    }

    let text: Vec<u32> = (0..40 * 16).map(|at| at * at % 97).collect();
    let blocks = Blocks::cut(text, 16).unwrap();
    let loss = || mean_loss(pair.get(Role::Main), &blocks, false, 4, &|| Ok(())).unwrap();
    let (found, reads) = read(loss);
    assert_eq!(reads, 1);
    close(found, loss(), 1e-6, 0.0, "mean loss");
}

/// Reads anywhere else would not be counted.
/// Weights that are not saved are not read: a model of a billion weights has adapters of a few million.
#[test]
fn a_network_with_adapters_is_saved_by_reading_the_adapters_alone() {
    let lora = Lora {
        r: 2,
        alpha: 2.0,
        target_modules: vec!["c_attn".to_owned(), "mlp.c_proj".to_owned()],
        dropout: 0.0,
        use_rslora: false,
    };
    let base = || Base {
        name: "mini:main".to_owned(),
        revision: None,
    };
    for layers in [1, 3] {
        let network = pair(layers, &Device::flex()).main;
        let mut rng = stream(1, Purpose::Initialisation, 0, 0);
        let network = network.with_fresh_adapters(&lora, base(), &mut rng);
        let network = network.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (saved, reads) = read(|| network.save(folder.path()));
        saved.unwrap();
        // A and B of two layers a block.
        assert_eq!(reads, 4 * layers);
    }
}

#[test]
fn tensors_are_read_in_one_place() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["src", "hooks"] {
        let files = ignore_tests(&root.join(folder));
        for path in files {
            let text = std::fs::read_to_string(&path).unwrap();
            let own = text.split("#[cfg(test)]").next().unwrap_or_default();
            let reads = ["into_data", "to_data", "into_scalar", "Transaction"];
            for line in own
                .lines()
                .filter(|line| reads.iter().any(|read| line.contains(read)))
            {
                let name = path
                    .strip_prefix(root)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned();
                found.push(format!("{name}: {}", line.trim()));
            }
        }
    }
    let expected = [
        // A device is tried when it is opened.
        "src/device/mod.rs: ones.sum().into_scalar::<f32>()",
        // On flex alone.
        "src/model/layers/embedding.rs: let ids: Vec<u32> = index.into_data().iter::<u32>().collect();",
        "src/readback.rs: .try_into_data()",
    ];
    found.sort();
    assert_eq!(
        found, expected,
        "read through src/readback.rs, or say here why not"
    );
}

/// The Rust files of a folder, without files of tests.
fn ignore_tests(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(ignore_tests(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs")
            && path.file_name().is_some_and(|name| name != "tests.rs")
        {
            files.push(path);
        }
    }
    files
}
