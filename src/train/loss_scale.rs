//! The scale of the loss in half precision, as PyTorch's `GradScaler` has it (Micikevicius et al. 2018, arXiv 1710.03740): the loss is multiplied by
//! it, so that small gradients are not rounded to 0, and the gradients are divided by it.

use serde::{Deserialize, Serialize};

/// The scale of a model's first step.
const FIRST: f64 = 65536.0;
/// What it is multiplied by after [`INTERVAL`] steps without overflow, and divided by after a step with one. It stays a power of 2.
const GROWTH: f64 = 2.0;
/// After how many steps without overflow it grows.
const INTERVAL: u64 = 2000;

/// The scale of a model's loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossScale {
    scale: f64,
    /// The steps without overflow since it changed.
    steps: u64,
}

impl Default for LossScale {
    fn default() -> Self {
        Self {
            scale: FIRST,
            steps: 0,
        }
    }
}

impl LossScale {
    /// What the loss is multiplied by: a power of 2, at least 1.
    pub fn value(&self) -> f64 {
        self.scale
    }

    /// Takes note of a step whose gradients were all finite.
    pub fn held(&mut self) {
        self.steps += 1;
        if self.steps == INTERVAL {
            *self = Self {
                scale: self.scale * GROWTH,
                steps: 0,
            };
        }
    }

    /// Makes it smaller after a step whose gradients were not all finite. False where it is 1 already, so that the fault is not its own.
    pub fn back_off(&mut self) -> bool {
        if self.scale <= 1.0 {
            return false;
        }
        *self = Self {
            scale: self.scale / GROWTH,
            steps: 0,
        };
        true
    }

    /// Reads one.
    ///
    /// # Errors
    /// In words, when it is not one that training could have had.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let read: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let sound = read.scale.is_finite() && read.scale >= 1.0 && read.steps < INTERVAL;
        let sound = sound && read.scale.log2().fract() == 0.0;
        sound
            .then_some(read)
            .ok_or_else(|| format!("a loss has no scale such as {read:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_grows_and_backs_off_as_pytorchs() {
        let text = include_str!("../../tests/fixtures/precision/reference.json");
        let reference: serde_json::Value = serde_json::from_str(text).unwrap();
        let reference = &reference["scaler"];
        let overflows = reference["overflows"].as_array().unwrap();
        let mut scale = LossScale::default();
        let mut seen: Vec<(u64, f64)> = Vec::new();
        for step in 0..reference["steps"].as_u64().unwrap() {
            if overflows.contains(&step.into()) {
                assert!(scale.back_off());
            } else {
                scale.held();
            }
            if seen.last().is_none_or(|(_, last)| *last != scale.value()) {
                seen.push((step, scale.value()));
            }
        }
        assert_eq!(seen.len(), 5);
        assert_eq!(serde_json::json!(seen), reference["scales"]);
    }

    #[test]
    fn it_does_not_go_below_1() {
        let mut scale = LossScale::default();
        for _ in 0..16 {
            assert!(scale.back_off());
        }
        assert_eq!(scale.value(), 1.0);
        assert!(!scale.back_off());
        assert_eq!(scale.value(), 1.0);
    }

    proptest! {
        #[test]
        fn whatever_training_had_is_read_back(held in proptest::collection::vec(0u8..40, 0..6000)) {
            let mut scale = LossScale::default();
            for one in held {
                if one == 0 {
                    scale.back_off();
                } else {
                    scale.held();
                }
            }
            let bytes = serde_json::to_vec(&scale).unwrap();
            prop_assert_eq!(LossScale::parse(&bytes).unwrap(), scale);
        }
    }

    #[test]
    fn others_are_refused() {
        for wrong in [
            r#"{"scale": 0.0, "steps": 0}"#,
            r#"{"scale": 3.0, "steps": 0}"#,
            r#"{"scale": 1e999, "steps": 0}"#,
            r#"{"scale": 4.0, "steps": 2000}"#,
            r#"{"scale": 4.0}"#,
            "4",
        ] {
            assert!(LossScale::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
