//! What is found out about a device, part by part: printed as it comes, and kept for the file.

use serde_json::{Map, Value, json};

use crate::cli::terminal::say;
use crate::foreign;

/// The result of a part.
pub(super) struct Found {
    words: String,
    value: Value,
}

impl Found {
    pub fn new(words: impl Into<String>, value: Value) -> Self {
        Self {
            words: words.into(),
            value,
        }
    }
}

/// What was found so far.
#[derive(Default)]
pub(super) struct Findings {
    parts: Map<String, Value>,
    /// Whether a part failed.
    pub failed: bool,
}

impl Findings {
    /// Finds out a part and prints its line. An error or a panic becomes its line.
    pub fn part(&mut self, key: &str, label: &str, find: impl FnOnce() -> anyhow::Result<Found>) {
        let found = foreign::call(find).map_err(anyhow::Error::msg);
        let found = match found.and_then(|found| found) {
            Ok(found) => found,
            Err(error) => {
                self.failed = true;
                let reason = foreign::first_words(&format!("{error:#}"));
                Found::new(format!("failed: {reason}"), json!({ "failed": reason }))
            }
        };
        say!("  {label:<22} {}", found.words);
        self.parts.insert(key.to_owned(), found.value);
    }

    /// A number of a part: `number("product_f32", "gflops")`.
    pub fn number(&self, part: &str, key: &str) -> Option<f64> {
        self.parts.get(part)?.get(key)?.as_f64()
    }

    /// All of it, for the file.
    pub fn document(&self) -> Value {
        let mut parts = self.parts.clone();
        parts.insert("opens".to_owned(), json!(true));
        Value::Object(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_fails_or_panics_is_a_reason_and_the_others_go_on() {
        let mut findings = Findings::default();
        findings.part("one", "one", || {
            Ok(Found::new("1", json!({ "number": 1.0 })))
        });
        assert!(!findings.failed);
        findings.part("two", "two", || anyhow::bail!("no such thing\nand more"));
        findings.part("three", "three", || panic!("gave up"));
        findings.part("four", "four", || Ok(Found::new("4", json!(4))));
        assert!(findings.failed);
        assert_eq!(findings.number("one", "number"), Some(1.0));
        assert_eq!(findings.number("two", "number"), None);
        let expected = json!({
            "one": { "number": 1.0 },
            "two": { "failed": "no such thing" },
            "three": { "failed": "gave up" },
            "four": 4,
            "opens": true,
        });
        assert_eq!(findings.document(), expected);
    }
}
