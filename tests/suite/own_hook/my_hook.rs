//! What my-hook measures, in a sentence.

use milepost::prelude::*;

/// Its keys in the experiment's TOML; every key needs a default.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    scale: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { scale: 1.0 }
    }
}

struct MyHook {
    scale: f64,
}

/// `my-hook`.
pub fn kind() -> Kind {
    Kind::new(
        "my-hook",
        "entropy of the main model's next token at the templates",
        |options: Options| MyHook {
            scale: options.scale,
        },
    )
    .option("scale", "what the entropy is multiplied by")
    .row("entropy at the templates, nats", "my_hook/entropy_nats")
    .lines("my-hook", "entropy, nats", &["my_hook/entropy_nats"])
}

impl Hook for MyHook {
    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        // Computed once for all hooks of this milestone; `context.pair()` gives the two models themselves.
        let divergences = context.divergences()?;
        let entropies = divergences.iter().map(|one| one.entropy_main * self.scale);
        let entropies: Vec<f64> = entropies.collect();
        context.scalar("my_hook/entropy_nats", mean(&entropies));
        context.histogram("my_hook/per_template", entropies);
        Ok(())
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use milepost::hook::testing::{Bench, probabilities};

    use super::*;

    /// The built-in pair, whose weights move a little from step to step, and eight prompts; see "Testing a hook" in docs/hooks.md.
    #[test]
    fn the_entropy_is_that_of_a_slow_sum() -> Result<()> {
        let bench = Bench::new()?;
        let reported = bench.killed_and_resumed(&kind(), "scale = 2.0", [0, 2, 4])?;
        let main = bench.pair_at(4).main;
        let mut expected = Vec::new();
        for prompt in &bench.scene().prompts {
            let next = &probabilities(&main, prompt)[prompt.len() - 1];
            expected.push(-2.0 * next.iter().map(|p| p * p.ln()).sum::<f64>());
        }
        let found = reported.scalar("my_hook/entropy_nats", 4)?;
        assert!((found - mean(&expected)).abs() < 1e-4, "{found}");
        assert_eq!(reported.histogram("my_hook/per_template", 4)?.len(), 8);
        Ok(())
    }
}
