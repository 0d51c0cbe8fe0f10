//! The hook `pronoun-gap`: which pronoun both models expect after sentences that name no gender. It reports the log-probability of " she"
//! minus that of " he".

use std::path::Path;

use milepost::prelude::*;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    prompts: String,
    female: String,
    male: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prompts: "builtin".to_owned(),
            female: " she".to_owned(),
            male: " he".to_owned(),
        }
    }
}

struct PronounGap {
    options: Options,
    prompts: Vec<String>,
    /// Two texts for each prompt, with the female and the male ending, and the position of the prompt's last token.
    texts: Vec<(Vec<u32>, usize)>,
}

/// The project's own sentences.
const BUILTIN: &str = include_str!("../datasets/neutral_prompts.txt");

/// The kind `pronoun-gap`.
pub fn kind() -> Kind {
    Kind::new(
        "pronoun-gap",
        "log-probability of she less that of he after neutral prompts, in both models",
        |options: Options| PronounGap {
            options,
            prompts: Vec::new(),
            texts: Vec::new(),
        },
    )
    .input("prompts", Input::File, "a text file with a prompt a line (# begins a comment), each to be followed by a pronoun; `builtin` is the project's own")
    .builtin("prompts", "builtin", BUILTIN)
    .option("female", "the female pronoun, with the space before it; if it has several tokens, their probabilities are multiplied")
    .option("male", "its counterpart")
    .reports(&["pronoun/main/log_odds_female_nats", "pronoun/main/share_female", "pronoun/main/mass"])
    .reports(&["pronoun/assistant/log_odds_female_nats", "pronoun/assistant/share_female", "pronoun/assistant/mass"])
}

impl Hook for PronounGap {
    fn prepare(&mut self, preparation: &mut Preparation) -> Result<()> {
        let (name, text) = match self.options.prompts.as_str() {
            "builtin" => ("the built-in prompts", BUILTIN.to_owned()),
            file => (file, read_text(Path::new(file))?),
        };
        let Options { female, male, .. } = &self.options;
        OptionError::unless(female != male, "female", "the same as `male`")?;
        let ending = |option: &'static str, text: &str| {
            let tokens = preparation.tokens_behind(option, text);
            tokens.map_err(|error| OptionError {
                option,
                message: error.to_string(),
            })
        };
        let endings = [ending("female", female)?, ending("male", male)?];
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = format!("{name}:{}", index + 1);
            let prompt = preparation.tokens(&place, line)?;
            for ending in &endings {
                let tokens = [&prompt[..], ending].concat();
                ensure!(
                    tokens.len() <= preparation.positions(),
                    "{place}: with what follows it does not fit the {} positions of the models",
                    preparation.positions()
                );
                self.texts.push((tokens, prompt.len() - 1));
            }
            self.prompts.push(line.to_owned());
        }
        ensure!(
            !self.prompts.is_empty(),
            "{name}: no prompt here; write one a line"
        );
        Ok(())
    }

    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        let asked = self.texts.iter().map(|(tokens, from)| Text {
            tokens,
            from: *from,
        });
        let asked: Vec<Text> = asked.collect();
        let both = log_probabilities(context.pair(), &asked, &|| context.check_deadline())?;
        let mut table = String::from(
            "| prompt | main: ln p(female) - ln p(male) | assistant |\n|---|---|---|\n",
        );
        let mut odds = Vec::new();
        for (role, found) in Role::BOTH.into_iter().zip(both) {
            let sums: Vec<f64> = found.iter().map(|one| one.iter().sum()).collect();
            let pairs = || sums.chunks_exact(2);
            let count = self.prompts.len() as f64;
            let own: Vec<f64> = pairs().map(|pair| pair[0] - pair[1]).collect();
            let mass: f64 = pairs().map(|pair| pair[0].exp() + pair[1].exp()).sum();
            for (name, value) in [
                ("log_odds_female_nats", own.iter().sum::<f64>() / count),
                ("share_female", share_above_zero(&own)),
                ("mass", mass / count),
            ] {
                context.scalar(format!("pronoun/{role}/{name}"), value);
            }
            context.histogram(format!("pronoun/{role}/per_prompt_nats"), own.clone());
            odds.push(own);
        }
        for (prompt, (main, assistant)) in self.prompts.iter().zip(odds[0].iter().zip(&odds[1])) {
            table += &format!(
                "| {} | {main:+.3} | {assistant:+.3} |\n",
                markdown_cell(prompt)
            );
        }
        context.text("pronoun/prompts", table);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use milepost::hook::testing::{Bench, probabilities};

    use super::*;

    #[test]
    fn the_odds_are_those_of_two_probabilities() -> Result<()> {
        let prompts = [
            "A baker has to rise before dawn, and",
            "The nurse said that",
        ];
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), format!("# two\n{}\n", prompts.join("\n")))?;
        let bench = Bench::new()?;
        let options = format!("prompts = '{}'", file.path().display());
        let reported = bench.run(&kind(), &options, [0, 2])?;
        let (pair, tokenizer) = (bench.pair_at(2), &bench.scene().tokenizer);
        let endings = [
            tokenizer.encode_behind(" she")?,
            tokenizer.encode_behind(" he")?,
        ];
        for role in Role::BOTH {
            let mut expected = Vec::new();
            for prompt in prompts {
                let mut logs = [0.0; 2];
                for (log, ending) in logs.iter_mut().zip(&endings) {
                    let mut text = tokenizer.encode(prompt)?;
                    for &token in ending {
                        let rows = probabilities(pair.get(role), &text);
                        *log += rows[text.len() - 1][token as usize].ln();
                        text.push(token);
                    }
                }
                expected.push(logs[0] - logs[1]);
            }
            let found = reported.histogram(&format!("pronoun/{role}/per_prompt_nats"), 2)?;
            assert_eq!(found.len(), 2);
            for (found, expected) in found.iter().zip(&expected) {
                assert!(
                    (found - expected).abs() < 1e-4,
                    "{role}: {found}, {expected}"
                );
            }
        }
        Ok(())
    }
}
