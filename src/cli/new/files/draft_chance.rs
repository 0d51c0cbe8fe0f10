//! The hook `draft-chance`: how probable the main model finds the token that the assistant would draft first after a prompt. It is the chance
//! that this token is accepted where the main model samples.

use milepost::prelude::*;

/// The keys of `[hooks.draft-chance]`. Every key has a default.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    temperature: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { temperature: 1.0 }
    }
}

struct DraftChance {
    temperature: f64,
}

/// The kind `draft-chance`.
pub fn kind() -> Kind {
    Kind::new(
        "draft-chance",
        "the main model's probability of the token that the assistant drafts first",
        |options: Options| DraftChance {
            temperature: options.temperature,
        },
    )
    .option("temperature", "the main model's logits are divided by it")
    .row("chance of the first draft", "draft_chance/mean")
    .row("  {first}", "draft_chance/{first}")
    .row("  {second}", "draft_chance/{second}")
    .row("  gap, {first} - {second}", "draft_chance/{gap}")
    .interval("  95% interval", "draft_chance/{gap}")
    .lines(
        "The first draft",
        "chance of the first draft",
        &["draft_chance/{first}", "draft_chance/{second}"],
    )
}

impl Hook for DraftChance {
    fn prepare(&mut self, _: &mut Preparation) -> Result<()> {
        let sound = self.temperature.is_finite() && self.temperature > 0.0;
        Ok(OptionError::unless(
            sound,
            "temperature",
            "must be above 0",
        )?)
    }

    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        let scene = context.scene();
        let mut chances = vec![0.0; scene.prompts.len()];
        let go_on = || context.check_deadline();
        each_prompt(
            context.pair(),
            &scene.prompts,
            &go_on,
            &mut |prompt, main, assistant| {
                chances[prompt] = probability(main, highest(assistant), self.temperature);
                Ok(())
            },
        )?;
        context.scalar("draft_chance/mean", mean(chances.iter()));
        for (group, prompts) in scene.templates.groups() {
            let own = prompts.iter().map(|&prompt| &chances[prompt]);
            context.scalar(format!("draft_chance/{group}"), mean(own));
        }
        context.gap("draft_chance", &chances)?;
        context.per_template("draft_chance", chances);
        Ok(())
    }
}

/// The token with the highest logit. Of equal logits, the first.
fn highest(logits: &[f32]) -> usize {
    let tokens = 0..logits.len();
    tokens
        .rev()
        .max_by(|&one, &other| logits[one].total_cmp(&logits[other]))
        .unwrap_or(0)
}

/// The softmax of `logits` at `token`, in double precision.
fn probability(logits: &[f32], token: usize, temperature: f64) -> f64 {
    let own = f64::from(logits[token]);
    let odds = logits
        .iter()
        .map(|&logit| (f64::from(logit) - own) / temperature);
    1.0 / odds.map(f64::exp).sum::<f64>()
}

fn mean<'a>(values: impl ExactSizeIterator<Item = &'a f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

#[cfg(test)]
mod tests {
    use milepost::hook::testing::{Bench, probabilities};

    use super::*;

    /// The bench is a small pair whose weights move a little from step to step, and eight prompts.
    #[test]
    fn the_chance_is_that_of_slow_distributions() -> Result<()> {
        let bench = Bench::new()?;
        let reported = bench.killed_and_resumed(&kind(), "", [0, 2, 4])?;
        let pair = bench.pair_at(4);
        let mut expected = Vec::new();
        for prompt in &bench.scene().prompts {
            let last = prompt.len() - 1;
            let [main, assistant] = [&pair.main, &pair.assistant]
                .map(|model| probabilities(model, prompt).remove(last));
            let mut draft = 0;
            for (token, probability) in assistant.iter().enumerate() {
                if *probability > assistant[draft] {
                    draft = token;
                }
            }
            expected.push(main[draft]);
        }
        let found = reported.per_template("draft_chance", 4)?;
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-5, "{found}, {expected}");
        }
        let female: Vec<f64> = expected.iter().copied().step_by(2).collect();
        let found = reported.scalar("draft_chance/female", 4)?;
        assert!((found - mean(female.iter())).abs() < 1e-5, "{found}");
        Ok(())
    }

    #[test]
    fn a_probability_is_that_of_the_tempered_distribution() {
        let logits = [1.0, 3.0, 2.0];
        assert_eq!(highest(&logits), 1);
        let expected = 1.0 / (1.0 + (-0.5f64).exp() + (-1.0f64).exp());
        assert!((probability(&logits, 1, 2.0) - expected).abs() < 1e-12);
    }

    #[test]
    fn a_temperature_of_nothing_is_refused() -> Result<()> {
        let refused = Bench::new()?.build(&kind(), "temperature = 0.0");
        assert!(refused.is_err());
        Ok(())
    }
}
