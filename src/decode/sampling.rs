//! Sampling: the processed distribution (temperature, then top-k, then top-p, in transformers' order), draws from it, and the acceptance of
//! drafts that preserves the main model's distribution (Leviathan et al. 2023, arXiv 2211.17192, algorithm 1).

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Deserializer, Serialize};

/// How tokens are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sampling {
    /// The logits are divided by this.
    #[serde(deserialize_with = "temperature")]
    pub temperature: f64,
    /// Keeps only this many of the most probable tokens, and any that are as probable as the last of them; 0 keeps all.
    pub top_k: usize,
    /// Keeps only the smallest set of most probable tokens whose probabilities add up to at least this.
    #[serde(deserialize_with = "top_p")]
    pub top_p: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
        }
    }
}

fn temperature<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    if value > 0.0 && value.is_finite() {
        Ok(value)
    } else {
        Err(serde::de::Error::custom(
            "must be above 0; leave `sampling` out for greedy decoding",
        ))
    }
}

fn top_p<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    if value > 0.0 && value <= 1.0 {
        Ok(value)
    } else {
        Err(serde::de::Error::custom("must be above 0 and at most 1"))
    }
}

/// A distribution over the vocabulary, from which tokens are drawn.
#[derive(Debug, Clone)]
pub struct Distribution(Vec<f32>);

impl Sampling {
    /// The processed distribution of logits `[vocab]`. None when one of them is not finite.
    pub fn distribution(&self, logits: &[f32]) -> Option<Distribution> {
        if !logits.iter().all(|logit| logit.is_finite()) {
            return None;
        }
        let floor = match self.top_k {
            0 => f32::NEG_INFINITY,
            k if k >= logits.len() => f32::NEG_INFINITY,
            k => {
                let mut sorted = logits.to_vec();
                *sorted
                    .select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a))
                    .1
            }
        };
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights = logits.iter().map(|&logit| {
            if logit < floor {
                0.0
            } else {
                (f64::from(logit - highest) / self.temperature).exp() as f32
            }
        });
        let mut distribution = Distribution(weights.collect());
        distribution.normalise();
        if self.top_p < 1.0 {
            distribution.keep_nucleus(self.top_p);
        }
        Some(distribution)
    }
}

impl Distribution {
    /// The probability of a token.
    pub fn probability(&self, token: u32) -> f64 {
        f64::from(self.0[token as usize])
    }

    /// Draws a token.
    pub fn draw(&self, rng: &mut ChaCha8Rng) -> u32 {
        draw(self.0.iter().map(|&weight| f64::from(weight)), rng)
    }

    /// Draws from norm(max(p - q, 0)), where p is `self` and q is `other`.
    pub fn draw_excess(&self, other: &Self, rng: &mut ChaCha8Rng) -> u32 {
        let excess = self.0.iter().zip(&other.0);
        draw(excess.map(|(&p, &q)| f64::from((p - q).max(0.0))), rng)
    }

    fn normalise(&mut self) {
        let sum: f64 = self.0.iter().map(|&weight| f64::from(weight)).sum();
        for weight in &mut self.0 {
            *weight = (f64::from(*weight) / sum) as f32;
        }
    }

    /// Keeps the smallest set of most probable tokens that together have at least the probability `top_p`.
    fn keep_nucleus(&mut self, top_p: f64) {
        let mut order: Vec<usize> = (0..self.0.len()).filter(|&i| self.0[i] > 0.0).collect();
        order.sort_by(|&a, &b| self.0[b].total_cmp(&self.0[a]));
        let mut above = 0.0;
        for token in order {
            let probability = f64::from(self.0[token]);
            if above >= top_p {
                self.0[token] = 0.0;
            }
            above += probability;
        }
        self.normalise();
    }
}

/// Draws an index with probability proportional to its weight.
fn draw(weights: impl Iterator<Item = f64> + Clone, rng: &mut ChaCha8Rng) -> u32 {
    let total: f64 = weights.clone().sum();
    let mut rest = rng.random::<f64>() * total;
    let mut last = 0;
    for (index, weight) in weights.enumerate() {
        if weight > 0.0 {
            last = index;
            if rest < weight {
                break;
            }
            rest -= weight;
        }
    }
    // By rounding, the loop can end without a break; then the last token with a weight is taken.
    last as u32
}
