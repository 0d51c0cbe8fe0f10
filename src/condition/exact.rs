//! A number that a checkpoint gives back as it was.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number that keeps every bit that matters through JSON. JSON has no numbers that are not finite, so these are written as words.
#[derive(Debug, Clone, Copy)]
pub struct Exact(pub f64);

impl PartialEq for Exact {
    /// NaN is the same as NaN.
    fn eq(&self, other: &Self) -> bool {
        self.0.total_cmp(&other.0).is_eq() || self.0.is_nan() && other.0.is_nan()
    }
}

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_finite() {
            serializer.serialize_f64(self.0)
        } else {
            serializer.collect_str(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(f64),
            Word(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(value) => Ok(Self(value)),
            Written::Word(word) => word.parse().map(Self).map_err(serde::de::Error::custom),
        }
    }
}
