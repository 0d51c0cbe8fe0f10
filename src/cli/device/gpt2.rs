//! A training step and a decoding at gpt2's size, with random weights.

use std::time::Instant;

use anyhow::ensure;
use burn::tensor::Device;
use rand::Rng;
use serde_json::{Map, Value, json};

use super::findings::{Findings, Found};
use super::speed::{median_seconds, rounded};
use crate::decode::{Request, Settings, assisted};
use crate::foreign;
use crate::model::{Network, Pair, TrainingPass, next_token_loss};
use crate::random::{Purpose, stream};
use crate::train::{Learner, WeightDecay};

/// The tokens of a row, as in `experiments/ag_news_gpt2.toml`.
const BLOCK: usize = 128;
/// The rows of a batch that are tried.
const BATCHES: [usize; 6] = [4, 8, 16, 32, 64, 128];
/// A step that would take more seconds is not tried.
const PATIENCE: f64 = 120.0;
/// Larger batches are not tried once a step takes so many seconds.
const SLOW: f64 = 2.0;
/// Prompts that are continued, the tokens of each, and the new ones.
const PROMPTS: usize = 32;
const PROMPT: usize = 6;
const NEW: usize = 20;
/// Weights of gpt2, and of distilgpt2.
const WEIGHTS: [f64; 2] = [124e6, 82e6];
const VOCABULARY: usize = 50257;

pub(super) fn look(device: &Device, findings: &mut Findings) {
    let speed = findings.number("product_f32", "gflops");
    findings.part("training", "training, gpt2", || {
        let operations = 6.0 * WEIGHTS[0] * (BATCHES[0] * BLOCK) as f64;
        match too_slow(operations, speed) {
            Some(why) => Ok(Found::new(why, Value::Null)),
            None => training(device),
        }
    });
    findings.part("decoding", "decoding, gpt2", || {
        let drafts = Settings::default().draft_length as f64;
        let a_token = 2.0 * (WEIGHTS[0] + drafts * WEIGHTS[1]);
        match too_slow(a_token * (PROMPTS * NEW) as f64, speed) {
            Some(why) => Ok(Found::new(why, Value::Null)),
            None => decoding(device),
        }
    });
}

/// Why something of so many operations is not tried at a speed in GFLOP/s.
fn too_slow(operations: f64, speed: Option<f64>) -> Option<String> {
    let seconds = operations / (speed? * 1e9);
    (seconds > PATIENCE).then(|| {
        format!(
            "not tried: at the speed of products it would take {:.0} minutes",
            seconds / 60.0
        )
    })
}

/// A network of the shape of gpt2 with so many layers.
fn network(layers: usize, device: &Device) -> anyhow::Result<Network> {
    let config = json!({
        "model_type": "gpt2", "vocab_size": VOCABULARY, "n_positions": 1024, "n_embd": 768, "n_layer": layers, "n_head": 12,
        "embd_pdrop": 0.1, "attn_pdrop": 0.1, "resid_pdrop": 0.1,
    });
    let mut rng = stream(1, Purpose::Initialisation, layers as u64, 0);
    Ok(Network::init(&config.to_string(), &mut rng, device)?)
}

fn texts(count: usize, time: usize) -> Vec<Vec<u32>> {
    let mut rng = stream(1, Purpose::DataOrder, 0, 0);
    let mut row = || {
        (0..time)
            .map(|_| rng.random_range(0..VOCABULARY as u32))
            .collect()
    };
    (0..count).map(|_| row()).collect()
}

/// Tokens a second of a step, for batches of more and more rows: until that is no faster, a step is slow, or memory runs out.
fn training(device: &Device) -> anyhow::Result<Found> {
    let decay = WeightDecay {
        rate: 0.01,
        norms_and_biases: true,
    };
    let mut learner = Learner::new(network(12, &device.clone().autodiff())?, decay);
    let texts = texts(BATCHES[BATCHES.len() - 1], BLOCK + 1);
    let (mut by_batch, mut words) = (Map::new(), Vec::new());
    let mut best = (0, 0.0);
    let mut stopped = Value::Null;
    let mut micro_batch = 0;
    for batch in BATCHES {
        let rows: Vec<&[u32]> = texts[..batch].iter().map(Vec::as_slice).collect();
        let step = || {
            median_seconds(device, || {
                let mut pass = TrainingPass::new(stream(1, Purpose::Dropout, 0, micro_batch));
                micro_batch += 1;
                learner.accumulate(batch * BLOCK, |model| {
                    next_token_loss(model, &rows, Some(&mut pass)).0
                });
                ensure!(learner.gather().is_finite(), "the loss is not finite");
                learner.clip(learner.gradient_norm(), 1.0);
                learner.step(1e-4);
                Ok(())
            })
        };
        let seconds = match foreign::call(step).map_err(anyhow::Error::msg).flatten() {
            Ok(seconds) => seconds,
            // The first batch must do. A larger one may be too large.
            Err(error) if best.0 == 0 => return Err(error),
            Err(error) => {
                let why = foreign::first_words(&error.to_string());
                words.push(format!("{batch} failed: {why}"));
                stopped = json!({ "batch": batch, "failed": why });
                break;
            }
        };
        let speed = (batch * BLOCK) as f64 / seconds;
        by_batch.insert(batch.to_string(), json!(speed));
        words.push(format!("{batch}: {}", rounded(speed)));
        let gain = speed / best.1;
        if speed > best.1 {
            best = (batch, speed);
        }
        if gain < 1.05 || seconds > SLOW {
            break;
        }
    }
    let (batch, speed) = best;
    let words = format!("{} tokens/s ({})", rounded(speed), words.join(", "));
    let value = json!({
        "tokens_per_second": speed, "batch": batch, "block": BLOCK, "by_batch": by_batch, "stopped": stopped,
    });
    Ok(Found::new(words, value))
}

/// New tokens a second of assisted decoding.
fn decoding(device: &Device) -> anyhow::Result<Found> {
    let pair = Pair::new(network(12, device)?, network(6, device)?)?;
    let prompts = texts(PROMPTS, PROMPT);
    let settings = Settings {
        max_new_tokens: NEW,
        ..Settings::default()
    };
    let decode = |count: usize| -> anyhow::Result<usize> {
        let requests = prompts[..count].iter();
        let requests: Vec<Request> = requests.map(|prompt| Request { prompt, seed: 0 }).collect();
        let decoded = assisted(&pair, &requests, None, &settings, &|_| Ok(()))?;
        Ok(decoded.iter().map(|one| one.tokens.len()).sum())
    };
    decode(1)?;
    let began = Instant::now();
    let tokens = decode(PROMPTS)?;
    let speed = tokens as f64 / began.elapsed().as_secs_f64();
    let words = format!("{} new tokens/s ({PROMPTS} prompts)", rounded(speed));
    let value = json!({ "tokens_per_second": speed, "prompts": PROMPTS, "new_tokens": NEW });
    Ok(Found::new(words, value))
}
