//! Writes by filling sentences with choices, and keeps count of how probable the choices were.

use std::collections::HashMap;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Draws choices, multiplies their probabilities, and remembers what a text has already settled: a slot such as `{place}` is drawn
/// where it first stands and repeats the same word afterwards. A choice that never shows in the text is never made.
pub(super) struct Scribe<'a> {
    rng: &'a mut ChaCha8Rng,
    log_prob: f64,
    settled: HashMap<&'static str, String>,
}

/// How a slot that is not settled yet is drawn.
pub(super) trait Slots {
    /// Settles `slot` (and whatever hangs together with it) by choices of the scribe.
    fn draw(&self, slot: &str, scribe: &mut Scribe);
}

impl<'a> Scribe<'a> {
    pub fn new(rng: &'a mut ChaCha8Rng) -> Self {
        Self {
            rng,
            log_prob: 0.0,
            settled: HashMap::new(),
        }
    }

    /// ln of the probability of all choices so far.
    pub fn log_prob(&self) -> f64 {
        self.log_prob
    }

    /// Yes with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        let yes = self.rng.random::<f64>() < p;
        self.log_prob += if yes { p } else { 1.0 - p }.ln();
        yes
    }

    /// Each with the same probability.
    pub fn one<'b, T>(&mut self, options: &'b [T]) -> &'b T {
        self.ranked(options, 0.0)
    }

    /// The option of rank r with a probability proportional to `1 / (r + 1)^spread`.
    pub fn ranked<'b, T>(&mut self, options: &'b [T], spread: f64) -> &'b T {
        let weights = weights(options.len(), spread);
        let mut left = self.rng.random::<f64>();
        let last = options.len() - 1;
        let rank = weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        // Rounding can leave a sliver behind the last option.
        let rank = rank.unwrap_or(last);
        self.log_prob += weights[rank].ln();
        &options[rank]
    }

    /// One of `options` that the text has not used for any of `slots`, each with the same probability.
    pub fn unused<'b>(&mut self, options: &'b [&'b str], slots: &[&str]) -> &'b str {
        let used: Vec<&String> = slots
            .iter()
            .filter_map(|slot| self.settled.get(slot))
            .collect();
        let free: Vec<&'b str> = options
            .iter()
            .copied()
            .filter(|option| !used.iter().any(|used| used == option))
            .collect();
        self.one::<&'b str>(&free)
    }

    /// Settles a slot.
    pub fn settle(&mut self, slot: &'static str, word: impl Into<String>) {
        self.settled.insert(slot, word.into());
    }

    /// What a slot is settled to.
    pub fn settled(&self, slot: &str) -> Option<&str> {
        self.settled.get(slot).map(String::as_str)
    }

    /// The sentence with its `{slots}` filled, from left to right.
    pub fn fill(&mut self, sentence: &str, slots: &dyn Slots) -> String {
        let mut text = String::new();
        let mut rest = sentence;
        while let Some((before, after)) = rest.split_once('{') {
            let (slot, after) = after.split_once('}').unwrap_or((after, ""));
            if self.settled(slot).is_none() {
                slots.draw(slot, self);
            }
            text.push_str(before);
            text.push_str(self.settled(slot).unwrap_or_default());
            rest = after;
        }
        text + rest
    }
}

/// A word with a capital letter.
pub(super) fn capital(word: &str) -> String {
    let mut letters = word.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

fn weights(count: usize, spread: f64) -> Vec<f64> {
    let raw: Vec<f64> = (0..count)
        .map(|rank| (rank as f64 + 1.0).powf(-spread))
        .collect();
    let sum: f64 = raw.iter().sum();
    raw.iter().map(|weight| weight / sum).collect()
}

/// Entropy in nats of a choice among `count` options with the given spread.
pub fn choice_entropy(count: usize, spread: f64) -> f64 {
    let weights = weights(count, spread);
    -weights
        .iter()
        .map(|weight| weight * weight.ln())
        .sum::<f64>()
}
