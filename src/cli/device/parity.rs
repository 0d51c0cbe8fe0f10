//! Whether a device computes what flex computes, with the built-in pair.

use anyhow::ensure;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::Rng;
use serde_json::json;

use super::findings::{Findings, Found};
use crate::decode::{Request, Sampling, Settings, assisted};
use crate::mini;
use crate::model::{Network, Pair, Role, next_token_loss};
use crate::random::{Purpose, stream};
use crate::readback::values;
use crate::train::Learner;

/// How far a logit may be from that of flex, relative to the larger of 1 and itself: what sums in another order make of f32, with much to
/// spare. Products in TF32 or f16 are beyond it.
const LOGITS: f64 = 1e-4;
/// How far a loss may be, relatively.
const LOSSES: f64 = 1e-3;
const STEPS: usize = 3;
const PROMPTS: usize = 24;
/// How texts are drawn: with all that processes a distribution.
const DRAWN: Sampling = Sampling {
    temperature: 1.5,
    top_k: 40,
    top_p: 0.9,
};

pub(super) fn look(device: &Device, findings: &mut Findings) {
    let flex = Device::flex();
    findings.part("logits", "logits", || {
        let mut largest = 0.0;
        for role in Role::BOTH {
            let (here, there) = (logits(role, &flex)?, logits(role, device)?);
            ensure!(
                here.len() == there.len(),
                "another number of logits than on flex"
            );
            for (here, there) in here.iter().zip(&there) {
                let (here, there) = (f64::from(*here), f64::from(*there));
                largest = f64::max(largest, apart(there, here, 1.0));
            }
        }
        within("logits", largest, LOGITS)
    });
    findings.part("losses", "losses of 3 steps", || {
        let (here, there) = (losses(&flex)?, losses(device)?);
        let each = here.iter().zip(&there);
        let largest = each.map(|(here, there)| apart(*there, *here, 0.0));
        within("losses", largest.fold(0.0, f64::max), LOSSES)
    });
    let drawn = Settings {
        sampling: Some(DRAWN),
        ..Settings::default()
    };
    for (key, label, settings, may_differ) in [
        ("texts", "texts", Settings::default(), 0),
        // A number may lie within rounding of the boundary between two tokens.
        ("drawn", "texts, drawn", drawn, 1),
    ] {
        findings.part(key, label, || {
            let (here, there) = (texts(&flex, &settings)?, texts(device, &settings)?);
            let pairs = here.iter().zip(&there);
            let equal = pairs.filter(|(here, there)| here == there).count();
            as_on_flex(equal, here.len(), may_differ)
        });
    }
}

fn as_on_flex(equal: usize, all: usize, may_differ: usize) -> anyhow::Result<Found> {
    ensure!(
        equal + may_differ >= all,
        "only {equal} of {all} are continued as on flex"
    );
    let words = if equal == all {
        format!("all {all} as on flex, token for token")
    } else {
        format!("{equal} of {all} as on flex, token for token")
    };
    Ok(Found::new(words, json!({ "equal": equal, "of": all })))
}

/// How far a value is from what it should be. What is no number is far.
fn apart(found: f64, expected: f64, floor: f64) -> f64 {
    let apart = (found - expected).abs() / expected.abs().max(floor);
    if apart.is_finite() {
        apart
    } else {
        f64::INFINITY
    }
}

fn within(what: &str, largest: f64, tolerance: f64) -> anyhow::Result<Found> {
    ensure!(
        largest <= tolerance,
        "{what} differ from those of flex by {largest:.1e}, more than {tolerance:e}: does the device multiply in TF32 or f16?"
    );
    let words = format!("within {largest:.1e} of flex ({tolerance:e} is allowed)");
    Ok(Found::new(
        words,
        json!({ "largest": largest, "allowed": tolerance }),
    ))
}

/// Random texts, `[rows][time]`.
fn rows(vocab: usize, count: usize, time: usize) -> Vec<Vec<u32>> {
    let mut rng = stream(1, Purpose::Initialisation, 0, 0);
    let mut row = || {
        (0..time)
            .map(|_| rng.random_range(0..vocab as u32))
            .collect()
    };
    (0..count).map(|_| row()).collect()
}

/// The logits of a model of the built-in pair after each token of random texts.
fn logits(role: Role, device: &Device) -> anyhow::Result<Vec<f32>> {
    let model = mini::model(role, device)?;
    let rows = rows(model.config().vocab_size, 4, 24);
    let ids: Vec<i32> = rows.iter().flatten().map(|&id| id as i32).collect();
    let ids: Tensor<2, Int> = Tensor::from_data(TensorData::new(ids, [4, 24]), device);
    Ok(values(model.logits(ids)))
}

/// The losses of the first steps of training the built-in main model, without dropout.
fn losses(device: &Device) -> anyhow::Result<Vec<f64>> {
    let model: Network = mini::model(Role::Main, &device.clone().autodiff())?;
    let rows = rows(model.config().vocab_size, 4, 33);
    let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    let mut learner = Learner::new(model, 0.0);
    let losses = (0..STEPS).map(|_| {
        learner.accumulate(4 * 32, |model| next_token_loss(model, &rows, None).0);
        let loss = learner.gather();
        learner.clip(learner.gradient_norm(), 1.0);
        learner.step(1e-3);
        loss
    });
    Ok(losses.collect())
}

/// Continuations of some of the built-in prompts by assisted decoding.
fn texts(device: &Device, settings: &Settings) -> anyhow::Result<Vec<Vec<u32>>> {
    let tokenizer = mini::tokenizer()?;
    let lines = mini::TEMPLATES.lines().skip(1);
    let prompts: Vec<&str> = lines.filter_map(|line| line.split(" [M]").next()).collect();
    let some = prompts
        .iter()
        .step_by(prompts.len().div_ceil(PROMPTS).max(1));
    let prompts: Vec<Vec<u32>> = some
        .map(|prompt| tokenizer.encode(prompt))
        .collect::<Result<_, _>>()?;
    let pair = Pair::new(
        mini::model(Role::Main, device)?,
        mini::model(Role::Assistant, device)?,
    )?;
    let requests = prompts.iter().zip(0..);
    let requests = requests.map(|(prompt, seed)| Request { prompt, seed });
    let requests: Vec<Request> = requests.collect();
    let decoded = assisted(&pair, &requests, Some(0), settings, &|_| Ok(()))?;
    Ok(decoded.into_iter().map(|one| one.tokens).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_far_or_no_number_does_not_agree() {
        assert_eq!(apart(2.0, 4.0, 1.0), 0.5);
        assert_eq!(apart(0.25, 0.5, 1.0), 0.25);
        assert_eq!(apart(f64::NAN, 1.0, 1.0), f64::INFINITY);
        assert!(within("logits", 1e-4, LOGITS).is_ok());
        assert!(within("logits", 2e-4, LOGITS).is_err());
        assert!(within("logits", f64::INFINITY, LOGITS).is_err());
    }

    #[test]
    fn a_text_that_differs_is_told() {
        assert!(as_on_flex(24, 24, 0).is_ok());
        assert!(as_on_flex(23, 24, 0).is_err());
        assert!(as_on_flex(23, 24, 1).is_ok());
        assert!(as_on_flex(22, 24, 1).is_err());
    }

    #[test]
    fn flex_agrees_with_itself() {
        let mut findings = Findings::default();
        look(&Device::flex(), &mut findings);
        assert!(!findings.failed);
        let document = findings.document();
        assert_eq!(document["logits"]["largest"], 0.0);
        assert_eq!(document["losses"]["largest"], 0.0);
        for texts in ["texts", "drawn"] {
            assert_eq!(document[texts], json!({ "equal": 24, "of": 24 }));
        }
    }
}
