//! How far two next-token distributions agree, as a number from 0 to 1 that has a derivative, and what it says of a draft.

use serde::{Deserialize, Serialize};

use super::divergence::{DivergenceError, top_two};
use crate::model::log_sum_exp;

/// A measure of how far the next-token distributions p of the main model and q of the assistant agree. It is 1 exactly where they are the same.
/// It does not matter which of the two is which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Agreement {
    /// sum min(p, q): the probability that the main model accepts a token that the assistant drew (Leviathan et al. 2023, arXiv 2211.17192,
    /// corollary 3.6). Its derivative jumps where a token is equally likely to both.
    Overlap,
    /// sum p q / sqrt(sum p^2 sum q^2): the probability that a draw of each model is the same token, as a part of the geometric mean of the
    /// probabilities that two draws of one model are. It is smooth everywhere.
    Cosine,
}

impl Agreement {
    /// The agreement of two rows of logits `[vocab]`.
    ///
    /// # Errors
    /// When the rows differ in length, are empty, or hold NaN or infinity.
    pub fn between(self, main: &[f32], assistant: &[f32]) -> Result<f64, DivergenceError> {
        check(main, assistant)?;
        Ok(self.of(&probabilities(main), &probabilities(assistant)))
    }

    /// The agreement of two distributions `[vocab]`.
    pub(super) fn of(self, p: &[f64], q: &[f64]) -> f64 {
        match self {
            Self::Overlap => p.iter().zip(q).map(|(p, q)| p.min(*q)).sum(),
            Self::Cosine => product(p, q) / (product(p, p) * product(q, q)).sqrt(),
        }
    }

    /// The derivatives by the logits of the model whose distribution is `own`.
    pub(super) fn by_logits(self, own: &[f64], other: &[f64]) -> Vec<f64> {
        match self {
            Self::Overlap => overlap_by_logits(own, other),
            Self::Cosine => cosine_by_logits(own, other),
        }
    }
}

/// The probability times the derivative t of the minimum by it, less the mean of t under `own`. Where a token is equally likely to both models,
/// the minimum has two one-sided derivatives; their mean is taken.
fn overlap_by_logits(own: &[f64], other: &[f64]) -> Vec<f64> {
    // 1 where the model's probability is the smaller one.
    let share = |own: f64, other: f64| {
        if own == other {
            0.5
        } else {
            f64::from(u8::from(own < other))
        }
    };
    let both = || own.iter().zip(other);
    let mean: f64 = both().map(|(&own, &other)| own * share(own, other)).sum();
    let slopes = both().map(|(&own, &other)| own * (share(own, other) - mean));
    slopes.collect()
}

/// p (q / sqrt(A B) - c p / A), with A = sum p^2, B = sum q^2 and c the cosine: the softmax's own mean cancels, since c does not change with the
/// length of p.
fn cosine_by_logits(own: &[f64], other: &[f64]) -> Vec<f64> {
    let square = product(own, own);
    let lengths = (square * product(other, other)).sqrt();
    let cosine = product(own, other) / lengths;
    let both = own.iter().zip(other);
    let slopes = both.map(|(own, other)| own * (other / lengths - cosine * own / square));
    slopes.collect()
}

fn product(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

/// Refuses rows of logits that cannot be compared.
pub(super) fn check(main: &[f32], assistant: &[f32]) -> Result<(), DivergenceError> {
    if main.len() != assistant.len() || main.is_empty() {
        return Err(DivergenceError::Length(main.len(), assistant.len()));
    }
    top_two("main", main)?;
    top_two("assistant", assistant)?;
    Ok(())
}

pub(super) fn log_probabilities(logits: &[f32]) -> Vec<f64> {
    let normaliser = log_sum_exp(logits);
    let all = logits.iter().map(|&logit| f64::from(logit) - normaliser);
    all.collect()
}

pub(super) fn probabilities(logits: &[f32]) -> Vec<f64> {
    let all = log_probabilities(logits).into_iter();
    all.map(f64::exp).collect()
}

/// The matches to expect of a draft whose token i, once all before it matched, matches with probability a_i: the sum over j of a_1 ... a_j.
pub fn expected_matches(agreements: &[f64]) -> f64 {
    let each = agreements.iter().rev();
    each.fold(0.0, |rest, agreement| agreement * (1.0 + rest))
}

/// The derivatives of [`expected_matches`] by each agreement: that all before it match, times 1 and the matches to expect of what follows.
pub(super) fn by_agreements(agreements: &[f64]) -> Vec<f64> {
    let mut before = 1.0;
    let slopes = agreements.iter().enumerate().map(|(place, agreement)| {
        let slope = before * (1.0 + expected_matches(&agreements[place + 1..]));
        before *= agreement;
        slope
    });
    slopes.collect()
}
