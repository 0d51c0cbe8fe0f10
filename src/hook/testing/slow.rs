//! Slow, simple computations to compare a hook's numbers with.

use burn::tensor::{Int, Tensor, TensorData};

use crate::decode::{Decoding, Round, Settings};
use crate::hook::Scene;
use crate::model::{Ends, Network, Pair};
use crate::readback::values;

/// The next-token probabilities of `model` after every token of a text: `[time][vocab]` in double precision, from one plain pass over the
/// whole text.
pub fn probabilities(model: &Network, tokens: &[u32]) -> Vec<Vec<f64>> {
    logits(model, tokens)
        .iter()
        .map(|row| softmax(row))
        .collect()
}

/// Decodes every prompt of a scene by greedy assisted decoding with the lengths of `settings`; their sampling, schedule and threshold are
/// ignored. Every token of either model comes from a pass over the whole text.
pub fn decoded(pair: &Pair, scene: &Scene, settings: &Settings) -> Vec<Decoding> {
    let prompts = scene.prompts.iter();
    let decodings = prompts.map(|prompt| continued(pair, prompt, settings, &scene.ends));
    decodings.collect()
}

fn continued(pair: &Pair, prompt: &[u32], settings: &Settings, ends: &Ends) -> Decoding {
    let mut text = prompt.to_vec();
    let limit = prompt.len() + settings.max_new_tokens;
    let mut rounds = Vec::new();
    let mut ended = false;
    while text.len() < limit && !ended {
        let draft = drafted(
            pair,
            &text,
            settings.draft_length.min(limit - text.len() - 1),
            ends,
        );
        let mut matched = 0;
        loop {
            let token = best(&pair.main, &text);
            text.push(token);
            ended = ends.has(token);
            // An end-of-text token counts as the main model's own, and so does the token after the draft.
            if ended || draft.get(matched) != Some(&token) {
                break;
            }
            matched += 1;
        }
        rounds.push(Round {
            drafted: draft.len(),
            matched,
        });
    }
    Decoding {
        tokens: text.split_off(prompt.len()),
        rounds,
    }
}

/// The assistant's draft of up to `longest` tokens. It ends early with an end-of-text token.
fn drafted(pair: &Pair, text: &[u32], longest: usize, ends: &Ends) -> Vec<u32> {
    let mut draft = Vec::new();
    while draft.len() < longest && !draft.last().is_some_and(|last| ends.has(*last)) {
        draft.push(best(&pair.assistant, &[text, &draft].concat()));
    }
    draft
}

/// The most probable next token; among equals the one with the lowest id.
fn best(model: &Network, text: &[u32]) -> u32 {
    let rows = logits(model, text);
    let last = rows.last().map_or(&[][..], |row| row);
    let mut best = 0;
    for (token, logit) in last.iter().enumerate() {
        if *logit > last[best] {
            best = token;
        }
    }
    best as u32
}

/// The logits `[time][vocab]` of a text.
fn logits(model: &Network, tokens: &[u32]) -> Vec<Vec<f32>> {
    let ids: Vec<i32> = tokens.iter().map(|&id| id as i32).collect();
    let ids = TensorData::new(ids, [1, tokens.len()]);
    let logits = model.logits(Tensor::<2, Int>::from_data(ids, &model.device()));
    let values = values(logits);
    let rows = values.chunks_exact(model.config().vocab_size);
    rows.map(<[f32]>::to_vec).collect()
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exps = logits
        .iter()
        .map(|&logit| (f64::from(logit) - f64::from(highest)).exp());
    let exps: Vec<f64> = exps.collect();
    let sum: f64 = exps.iter().sum();
    exps.iter().map(|exp| exp / sum).collect()
}
