//! Other devices against `flex`: the ones that MILEPOST_TEST_DEVICES names, in a build that has them.

use burn::tensor::{Device, Int, Tensor, TensorData};
use milepost::decode::{Decoding, Request, Sampling, Settings, assisted};
use milepost::device::{DeviceError, open};
use milepost::measure::divergence::Divergence;
use milepost::measure::evaluation::template_divergences;
use milepost::measure::likelihood::log_probabilities;
use milepost::measure::positions::Text;
use milepost::model::{Network, Pair, next_token_loss};
use milepost::train::Learner;

use crate::decoding::decodes_as_the_reference;
use crate::harness::{Project, REFERENCE, close, fixture, fixture_pair, other_devices, rows};

fn logits(device: &Device) -> Vec<f32> {
    let batch = rows(&REFERENCE["forward"]["ids"]);
    let model = Network::load(&fixture("main"), device).unwrap();
    let ids: Vec<i32> = batch.iter().flatten().map(|&id| id as i32).collect();
    let ids: Tensor<2, Int> = Tensor::from_data(TensorData::new(ids, [3, 20]), device);
    model.logits(ids).into_data().try_into_vec().unwrap()
}

/// Every layer's values at texts of two lengths, and the losses of their tokens.
fn inside(device: &Device) -> Vec<f32> {
    let model = Network::load(&fixture("main"), device).unwrap();
    let texts = [&[5, 6, 7, 8][..], &[9], &[1, 2, 3, 4]];
    let seen = model.look_into(&texts, &model.layers(), &|| Ok(()));
    let seen = seen.unwrap().into_iter().flatten();
    let mut values: Vec<f32> = seen.flat_map(|layer| layer.values).collect();
    values.extend(model.token_losses(&texts).unwrap().into_iter().flatten());
    values
}

/// The losses of the first `count` steps of the fine-tuning that PyTorch did too.
fn losses(device: &Device, count: usize) -> Vec<f64> {
    let model = Network::load(&fixture("main"), &device.clone().autodiff()).unwrap();
    let mut learner = Learner::new(model, 0.0);
    let steps = REFERENCE["fine_tuning"].as_array().unwrap();
    let losses = steps.iter().take(count).enumerate().map(|(index, step)| {
        let batch = rows(&step["rows"]);
        let batch: Vec<&[u32]> = batch.iter().map(Vec::as_slice).collect();
        learner.accumulate(4 * 31, |model| next_token_loss(model, &batch, None).0);
        let loss = learner.gather();
        learner.clip(learner.gradient_norm(), 1.0);
        learner.step(1e-3 * (1.0 - index as f64 / 20.0));
        loss
    });
    losses.collect()
}

#[test]
fn twenty_steps_have_the_losses_of_pytorch() {
    let expected = REFERENCE["fine_tuning"].as_array().unwrap();
    let found = losses(&Device::flex(), expected.len());
    assert_eq!(found.len(), 20);
    for (found, step) in found.iter().zip(expected) {
        close(*found, step["loss"].as_f64().unwrap(), 1e-3, 0.0, "loss");
    }
}

#[test]
fn other_devices_agree_with_flex() {
    for (name, device) in other_devices() {
        let both = |of: fn(&Device) -> Vec<f32>| (of(&Device::flex()), of(&device));
        let (mut here, mut there) = both(logits);
        let (more_here, more_there) = both(inside);
        here.extend(more_here);
        there.extend(more_there);
        assert_eq!(here.len(), there.len());
        let mut largest = 0f64;
        for (found, expected) in there.iter().zip(&here) {
            close(f64::from(*found), f64::from(*expected), 1e-4, 1.0, &name);
            largest = largest.max(f64::from(found - expected).abs());
        }
        // Software Vulkan takes its time.
        let steps = if name == "wgpu" { 3 } else { 20 };
        let mut furthest = 0f64;
        for (found, expected) in losses(&device, steps)
            .iter()
            .zip(losses(&Device::flex(), steps))
        {
            close(*found, expected, 1e-3, 0.0, &name);
            furthest = furthest.max((found / expected - 1.0).abs());
        }
        println!(
            "{name}: logits and layers within {largest:.1e}, losses of {steps} steps within {furthest:.1e} (relative) of flex"
        );
    }
}

#[test]
fn other_devices_decode_as_the_reference() {
    for (name, device) in other_devices() {
        decodes_as_the_reference(&device);
        println!("{name}: every token and round is that of the reference");
    }
}

/// Prompts of several lengths with beginnings in common, of tokens of the fixtures.
fn prompts() -> Vec<Vec<u32>> {
    let prompt =
        |index: u32| (0..2 + index % 9).map(move |place| (index / 3 * 7 + place * 17) % 96);
    (0..60).map(|index| prompt(index).collect()).collect()
}

/// Divergences at the end of each prompt and the log-probabilities of its tokens.
fn measured(pair: &Pair) -> (Vec<Divergence>, Vec<f64>) {
    let prompts = prompts();
    let divergences = template_divergences(pair, &prompts, &|| Ok(())).unwrap();
    let texts = prompts.iter().map(|tokens| Text { tokens, from: 0 });
    let texts: Vec<Text> = texts.collect();
    let likelihoods = log_probabilities(pair, &texts, &|| Ok(())).unwrap();
    let likelihoods = likelihoods.into_iter().flatten().flatten();
    (divergences, likelihoods.collect())
}

/// What is drawn after the prompts.
fn drawn(pair: &Pair) -> Vec<Decoding> {
    let settings = Settings {
        sampling: Some(Sampling {
            temperature: 1.5,
            top_k: 40,
            top_p: 0.9,
        }),
        ..Settings::default()
    };
    let prompts = prompts();
    let requests = prompts.iter().zip(0..);
    let requests: Vec<Request> = requests
        .map(|(prompt, seed)| Request { prompt, seed })
        .collect();
    assisted(pair, &requests, None, &settings, &|_| Ok::<_, String>(())).unwrap()
}

/// The devices measure in single precision, `flex` in double.
#[test]
fn other_devices_measure_and_draw_as_flex() {
    for (name, device) in other_devices() {
        let pairs = [&Device::flex(), &device].map(fixture_pair);
        let [(here, likelihoods_here), (there, likelihoods_there)] = pairs.each_ref().map(measured);
        let mut furthest = 0f64;
        let mut agree = |found: f64, expected: f64, what: &str| {
            close(found, expected, 2e-5, 0.1, &format!("{what} on {name}"));
            furthest = furthest.max((found - expected).abs() / expected.abs().max(0.1));
        };
        for (there, here) in there.iter().zip(&here) {
            agree(there.kl, here.kl, "kl");
            agree(there.js, here.js, "js");
            agree(there.tv, here.tv, "tv");
            agree(
                there.acceptance_expected,
                here.acceptance_expected,
                "expected acceptance",
            );
            agree(there.entropy_main, here.entropy_main, "entropy");
            agree(there.margin_main, here.margin_main, "margin");
            assert_eq!(there.top1_agreement, here.top1_agreement, "{name}");
        }
        for (there, here) in likelihoods_there.iter().zip(&likelihoods_here) {
            agree(*there, *here, "log-probability");
        }
        let [here, there] = pairs.each_ref().map(drawn);
        assert_eq!(here, there, "{name}");
        println!(
            "{name}: measures within {furthest:.1e} of flex, {} draws equal",
            here.len()
        );
    }
}

#[test]
fn a_device_that_is_not_here_is_one_message() {
    let error = open("abacus").unwrap_err().to_string();
    assert!(
        error.contains("unknown device `abacus`") && error.contains("tch:cuda:N"),
        "{error}"
    );
    for (name, feature) in [
        ("tch", cfg!(feature = "tch")),
        ("tch:cuda:0", cfg!(feature = "tch")),
        ("wgpu", cfg!(feature = "wgpu")),
        ("metal", cfg!(feature = "metal")),
    ] {
        match open(name) {
            Ok(_) => assert!(feature, "{name}"),
            Err(error @ DeviceError::NotCompiled { .. }) => {
                assert!(!feature, "{name}");
                assert!(error.to_string().contains("--features"), "{error}");
            }
            Err(error) => {
                // One message, not a library's pages.
                assert!(error.to_string().len() < 500, "{error}");
                assert!(
                    feature && error.to_string().contains("cannot be used here"),
                    "{error}"
                );
            }
        }
    }
    assert!(open("tch:cuda:x").is_err());
}

#[test]
fn the_device_page_says_what_flex_is_and_how_fast() {
    let project = Project::new();
    let arguments = [
        "device",
        "--device",
        "flex",
        "--quick",
        "--json",
        "device.json",
    ];
    let output = project.milepost(&arguments).assert().success();
    let page = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    for line in [
        "flex\n  is ",
        "\n  memory ",
        "\n  product, f32 ",
        "use flex",
    ] {
        assert!(page.contains(line), "{line:?} is not in:\n{page}");
    }
    let document: serde_json::Value = serde_json::from_str(&project.read("device.json")).unwrap();
    let flex = &document["devices"]["flex"];
    assert_eq!(flex["opens"], true);
    assert!(
        flex["types"].as_array().unwrap().contains(&"f32".into()),
        "{flex}"
    );
    assert!(flex.get("training").is_none(), "{flex}");
    assert_eq!(document["advice"]["device"], "flex");
    // The speed of products, by a clock of the test's own. The machine does not keep its speed.
    let side = flex["product_f32"]["side"].as_u64().unwrap() as usize;
    let matrix = Tensor::<2>::ones([side, side], &Device::flex());
    let seconds = (0..5).map(|_| {
        let began = std::time::Instant::now();
        drop(matrix.clone().matmul(matrix.clone()));
        began.elapsed().as_secs_f64()
    });
    let best = 2.0 * (side as f64).powi(3) / seconds.fold(f64::INFINITY, f64::min) / 1e9;
    let found = flex["product_f32"]["gflops"].as_f64().unwrap();
    assert!(
        found > best / 20.0 && found < best * 20.0,
        "{found} and {best} GFLOP/s"
    );
}

#[test]
fn the_device_page_has_a_line_for_each_device_that_is_not_there() {
    let project = Project::new();
    let output = project
        .milepost(&["device", "--quick"])
        .env("PATH", "")
        .assert()
        .success();
    let page = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    for (name, is_here) in [
        ("tch", cfg!(feature = "tch")),
        ("wgpu", cfg!(feature = "wgpu")),
        ("vulkan", cfg!(feature = "vulkan")),
        ("metal", cfg!(feature = "metal")),
    ] {
        let not_here = format!("\n{name}\n  device `{name}` is not in this build");
        assert_eq!(page.contains(&not_here), !is_here, "{name}:\n{page}");
    }
    // One that is named must be there.
    let error = project.fails(&["device", "--device", "abacus"], 2);
    assert!(error.contains("unknown device `abacus`"), "{error}");
    if !cfg!(feature = "metal") {
        let error = project.fails(&["device", "--device", "flex,metal"], 2);
        assert!(error.contains("--features metal"), "{error}");
    }
}
