//! Measures of the two models' next-token distributions that have a derivative by the logits, and that derivative.

use serde::{Deserialize, Serialize};

use super::agreement::{
    Agreement, by_agreements, check, expected_matches, log_probabilities, probabilities,
};
use super::divergence::DivergenceError;
use crate::model::Role;

/// A measure of the logits of main model and assistant at one or several positions of a text.
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
    /// The matches to expect of a draft, where each of its tokens matches with the agreement at its position: the sum over j of a_1 ... a_j.
    Matches {
        /// How far the models agree at a position.
        agreement: Agreement,
        /// The tokens of the draft.
        positions: usize,
    },
}

/// A measure, and its derivatives by the logits `[positions x vocab]` of either model.
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
    /// At how many positions of a text it looks: the last ones.
    pub fn positions(self) -> usize {
        match self {
            Self::Matches { positions, .. } => positions,
            Self::Kl | Self::Acceptance | Self::LogOdds { .. } => 1,
        }
    }

    /// The measure of the logits `[positions x vocab]` of both models, position by position, with its derivatives. At the point where a token is
    /// equally likely to both models, expected acceptance has two one-sided derivatives; their mean is taken.
    ///
    /// # Errors
    /// When there are not as many logits of both models, none, or not as many at each position; when they hold NaN or infinity, and when a token
    /// has no logit.
    pub fn slope(self, main: &[f32], assistant: &[f32]) -> Result<Slope, DivergenceError> {
        match self {
            Self::Kl => {
                check(main, assistant)?;
                Ok(kl(main, assistant))
            }
            Self::Acceptance => matches(Agreement::Overlap, 1, main, assistant),
            Self::LogOdds { role, tokens } => {
                check(main, assistant)?;
                log_odds(role, tokens, main, assistant)
            }
            Self::Matches {
                agreement,
                positions,
            } => matches(agreement, positions, main, assistant),
        }
    }
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

/// By a logit at a position: the derivative by the agreement there, times that of the agreement by the logit.
fn matches(
    agreement: Agreement,
    positions: usize,
    main: &[f32],
    assistant: &[f32],
) -> Result<Slope, DivergenceError> {
    if positions == 0 || !main.len().is_multiple_of(positions) {
        return Err(DivergenceError::Positions(main.len(), positions));
    }
    if main.len() != assistant.len() || main.is_empty() {
        return Err(DivergenceError::Length(main.len(), assistant.len()));
    }
    let vocab = main.len() / positions;
    let mut rows = Vec::with_capacity(positions);
    for (main, assistant) in main.chunks_exact(vocab).zip(assistant.chunks_exact(vocab)) {
        check(main, assistant)?;
        rows.push([probabilities(main), probabilities(assistant)]);
    }
    let agreements: Vec<f64> = rows.iter().map(|[p, q]| agreement.of(p, q)).collect();
    let (mut by_main, mut by_assistant) = (Vec::new(), Vec::new());
    for ([p, q], factor) in rows.iter().zip(by_agreements(&agreements)) {
        for (by, own, other) in [(&mut by_main, p, q), (&mut by_assistant, q, p)] {
            let slopes = agreement.by_logits(own, other).into_iter();
            by.extend(slopes.map(|slope| (factor * slope) as f32));
        }
    }
    Ok(Slope {
        value: expected_matches(&agreements),
        by_main,
        by_assistant,
    })
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

    /// The matches to expect and their terms, by sums over the draft's lengths in f64.
    fn slow(agreement: Agreement, positions: usize, main: &[f64], assistant: &[f64]) -> f64 {
        let vocab = main.len() / positions;
        let softmax = |logits: &[f64]| {
            let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
            logits
                .iter()
                .map(|logit| logit.exp() / sum)
                .collect::<Vec<f64>>()
        };
        let mut matches = 0.0;
        for length in 1..=positions {
            let mut all = 1.0;
            for position in 0..length {
                let row = position * vocab..(position + 1) * vocab;
                let (p, q) = (softmax(&main[row.clone()]), softmax(&assistant[row]));
                let (mut both, mut p_twice, mut q_twice, mut overlap) = (0.0, 0.0, 0.0, 0.0);
                for token in 0..vocab {
                    both += p[token] * q[token];
                    p_twice += p[token] * p[token];
                    q_twice += q[token] * q[token];
                    overlap += if p[token] < q[token] {
                        p[token]
                    } else {
                        q[token]
                    };
                }
                all *= match agreement {
                    Agreement::Overlap => overlap,
                    Agreement::Cosine => both / p_twice.sqrt() / q_twice.sqrt(),
                };
            }
            matches += all;
        }
        matches
    }

    proptest! {
        /// Over four positions of a vocabulary of five: the value, and each derivative by a central difference in f64.
        #[test]
        fn matches_are_those_of_slow_sums_and_slopes_those_of_differences(
            main in proptest::collection::vec(-4.0f32..4.0, 20),
            assistant in proptest::collection::vec(-4.0f32..4.0, 20),
            place in 0..20usize,
        ) {
            const STEP: f64 = 1e-5;
            // Where two probabilities pass each other within the step, there is no slope of the overlap to compare with.
            for (main, assistant) in main.chunks(5).zip(assistant.chunks(5)) {
                let both = log_probabilities(main).into_iter().zip(log_probabilities(assistant));
                prop_assume!(both.into_iter().all(|(p, q)| (p - q).abs() > 10.0 * STEP));
            }
            let exactly = |logits: &[f32]| logits.iter().map(|&logit| f64::from(logit)).collect::<Vec<f64>>();
            for agreement in [Agreement::Overlap, Agreement::Cosine] {
                let measure = SmoothMeasure::Matches { agreement, positions: 4 };
                let found = measure.slope(&main, &assistant).unwrap();
                let value = slow(agreement, 4, &exactly(&main), &exactly(&assistant));
                prop_assert!((found.value - value).abs() < 1e-12, "{}, {value}", found.value);
                prop_assert!(0.0 < value && value <= 4.0);
                for role in Role::BOTH {
                    let moved = |by: f64| {
                        let mut both = [exactly(&main), exactly(&assistant)];
                        both[role as usize][place] += by;
                        slow(agreement, 4, &both[0], &both[1])
                    };
                    let slope = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
                    let own = match role {
                        Role::Main => f64::from(found.by_main[place]),
                        Role::Assistant => f64::from(found.by_assistant[place]),
                    };
                    prop_assert!((slope - own).abs() < 1e-6, "{agreement:?}, {role}: {slope}, {own}");
                }
            }
        }
    }

    #[test]
    fn distributions_that_are_the_same_match_throughout_and_those_apart_never() {
        let logits = [0.5, -1.0, 2.0, 0.25, 0.0, -3.0];
        let apart = [60.0, -60.0, -60.0, -60.0, 60.0, -60.0];
        let other = [-60.0, 60.0, 60.0, 60.0, -60.0, 60.0];
        for agreement in [Agreement::Overlap, Agreement::Cosine] {
            let measure = SmoothMeasure::Matches {
                agreement,
                positions: 3,
            };
            let same = measure.slope(&logits, &logits).unwrap();
            assert!((same.value - 3.0).abs() < 1e-12, "{same:?}");
            // There is nothing above it.
            let slopes = same.by_main.iter().chain(&same.by_assistant);
            assert!(slopes.clone().all(|slope| slope.is_finite()));
            let largest = slopes.fold(0.0f32, |largest, slope| largest.max(slope.abs()));
            assert!(
                agreement == Agreement::Overlap || largest < 1e-6,
                "{same:?}"
            );
            let never = measure.slope(&apart, &other).unwrap();
            assert!(never.value < 1e-12, "{never:?}");
        }
        let odd = SmoothMeasure::Matches {
            agreement: Agreement::Cosine,
            positions: 4,
        };
        let said = odd.slope(&logits, &logits).unwrap_err().to_string();
        assert_eq!(said, "6 logits are not those of 4 positions");
    }
}
