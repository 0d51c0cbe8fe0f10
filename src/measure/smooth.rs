//! Measures of the two models' next-token distributions that have a derivative by the logits, and that derivative.

use serde::{Deserialize, Serialize};

use super::divergence::{DivergenceError, top_two};
use crate::model::{Role, log_sum_exp};

/// A measure of the logits of main model and assistant at one position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SmoothMeasure {
    /// KL(main || assistant) = sum p (ln p - ln q), in nats.
    Kl,
    /// The expected acceptance sum min(p, q).
    Acceptance,
    /// ln p(first) - ln p(second) of two tokens by one of the models, in nats.
    LogOdds {
        /// The model.
        role: Role,
        /// The ids of the first and the second token.
        tokens: [u32; 2],
    },
}

/// A measure at one position, and its derivatives by the logits `[vocab]` of either model.
#[derive(Debug, Clone, PartialEq)]
pub struct Slope {
    /// The measure.
    pub value: f64,
    /// By the logits of the main model.
    pub by_main: Vec<f32>,
    /// By the logits of the assistant.
    pub by_assistant: Vec<f32>,
}

impl SmoothMeasure {
    /// The measure of two rows of logits `[vocab]`, with its derivatives. At the point where a token is equally likely to both models,
    /// expected acceptance has two one-sided derivatives; their mean is taken.
    ///
    /// # Errors
    /// When the rows differ in length, are empty, or hold NaN or infinity, and when a token has no logit.
    pub fn slope(self, main: &[f32], assistant: &[f32]) -> Result<Slope, DivergenceError> {
        if main.len() != assistant.len() || main.is_empty() {
            return Err(DivergenceError::Length(main.len(), assistant.len()));
        }
        top_two("main", main)?;
        top_two("assistant", assistant)?;
        match self {
            Self::Kl => Ok(kl(main, assistant)),
            Self::Acceptance => Ok(acceptance(main, assistant)),
            Self::LogOdds { role, tokens } => log_odds(role, tokens, main, assistant),
        }
    }
}

fn log_probabilities(logits: &[f32]) -> Vec<f64> {
    let normaliser = log_sum_exp(logits);
    let all = logits.iter().map(|&logit| f64::from(logit) - normaliser);
    all.collect()
}

/// By a logit of the main model p (ln p - ln q - KL), by one of the assistant q - p.
fn kl(main: &[f32], assistant: &[f32]) -> Slope {
    let (log_p, log_q) = (log_probabilities(main), log_probabilities(assistant));
    let both = || log_p.iter().zip(&log_q);
    let value: f64 = both().map(|(p, q)| p.exp() * (p - q)).sum();
    Slope {
        value,
        by_main: (both().map(|(p, q)| (p.exp() * (p - q - value)) as f32)).collect(),
        by_assistant: both().map(|(p, q)| (q.exp() - p.exp()) as f32).collect(),
    }
}

/// By a logit of a model its probability p times the derivative t of the minimum by p, less the mean of t under p.
fn acceptance(main: &[f32], assistant: &[f32]) -> Slope {
    let probabilities = |logits| {
        let all = log_probabilities(logits).into_iter();
        all.map(f64::exp).collect::<Vec<f64>>()
    };
    let (p, q) = (probabilities(main), probabilities(assistant));
    // 1 where the model's probability is the smaller one.
    let share = |own: f64, other: f64| {
        if own == other {
            0.5
        } else {
            f64::from(u8::from(own < other))
        }
    };
    let by = |own: &[f64], other: &[f64]| {
        let both = || own.iter().zip(other);
        let mean: f64 = both().map(|(&own, &other)| own * share(own, other)).sum();
        let slopes = both().map(|(&own, &other)| (own * (share(own, other) - mean)) as f32);
        slopes.collect::<Vec<f32>>()
    };
    Slope {
        value: p.iter().zip(&q).map(|(p, q)| p.min(*q)).sum(),
        by_main: by(&p, &q),
        by_assistant: by(&q, &p),
    }
}

/// The normalisers cancel, so the derivative is 1 by the first token's logit and -1 by the second's.
fn log_odds(
    role: Role,
    tokens: [u32; 2],
    main: &[f32],
    assistant: &[f32],
) -> Result<Slope, DivergenceError> {
    let vocab = main.len();
    if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocab) {
        return Err(DivergenceError::Token(token, vocab));
    }
    let [first, second] = tokens.map(|token| token as usize);
    let own = match role {
        Role::Main => main,
        Role::Assistant => assistant,
    };
    let mut slopes = vec![0.0; own.len()];
    slopes[first] += 1.0;
    slopes[second] -= 1.0;
    let zeros = vec![0.0; own.len()];
    let [by_main, by_assistant] = match role {
        Role::Main => [slopes, zeros],
        Role::Assistant => [zeros, slopes],
    };
    Ok(Slope {
        value: f64::from(own[first]) - f64::from(own[second]),
        by_main,
        by_assistant,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::measure::divergence::Divergence;

    const MEASURES: [SmoothMeasure; 4] = [
        SmoothMeasure::Kl,
        SmoothMeasure::Acceptance,
        SmoothMeasure::LogOdds {
            role: Role::Main,
            tokens: [0, 3],
        },
        SmoothMeasure::LogOdds {
            role: Role::Assistant,
            tokens: [2, 1],
        },
    ];

    fn logits() -> impl Strategy<Value = Vec<f32>> {
        // Steps of 1/8, so that half a step in between is exact.
        proptest::collection::vec((-40i32..40).prop_map(|step| step as f32 / 8.0), 6)
    }

    proptest! {
        /// A central difference over a step so small that no two probabilities pass each other within it.
        #[test]
        fn slopes_are_those_of_differences(main in logits(), assistant in logits(), place in 0..6usize) {
            const STEP: f32 = 1.0 / 1024.0;
            for measure in MEASURES {
                let here = measure.slope(&main, &assistant).unwrap();
                for role in Role::BOTH {
                    let moved = |by: f32| {
                        let mut both = [main.clone(), assistant.clone()];
                        both[role as usize][place] += by;
                        measure.slope(&both[0], &both[1]).unwrap()
                    };
                    let (up, down) = (moved(STEP), moved(-STEP));
                    let slope = (up.value - down.value) / f64::from(2.0 * STEP);
                    let of = |slope: &Slope| match role {
                        Role::Main => f64::from(slope.by_main[place]),
                        Role::Assistant => f64::from(slope.by_assistant[place]),
                    };
                    // Where two probabilities pass each other within the step, the slope there is between the slopes at its ends.
                    let jump = (of(&up) - of(&down)).abs();
                    prop_assert!((slope - of(&here)).abs() <= 1e-5 + jump, "{measure:?}, {role}: {slope}, {}", of(&here));
                }
            }
        }

        #[test]
        fn values_are_those_of_the_divergence(main in logits(), assistant in logits()) {
            let divergence = Divergence::between(&main, &assistant).unwrap();
            let value = |measure: SmoothMeasure| measure.slope(&main, &assistant).unwrap().value;
            prop_assert!((value(SmoothMeasure::Kl) - divergence.kl).abs() < 1e-12);
            prop_assert!((value(SmoothMeasure::Acceptance) - divergence.acceptance_expected).abs() < 1e-12);
        }
    }

    #[test]
    fn a_logit_that_is_no_number_is_named() {
        let error = SmoothMeasure::Kl.slope(&[0.0, f32::NAN], &[0.0, 0.0]);
        let said = error.unwrap_err().to_string();
        assert_eq!(said, "logit 1 of the main model is NaN");
        let missing = SmoothMeasure::LogOdds {
            role: Role::Main,
            tokens: [0, 2],
        };
        let error = missing.slope(&[0.0, 1.0], &[0.0, 0.0]);
        let said = error.unwrap_err().to_string();
        assert_eq!(said, "there is no token 2: there are logits of 2 tokens");
    }
}
