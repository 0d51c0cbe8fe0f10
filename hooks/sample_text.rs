//! The hook `sample-text`: continuations of a few prompts as TensorBoard text, with the assistant's tokens marked.

use milepost::prelude::*;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    prompts: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { prompts: 4 }
    }
}

struct SampleText {
    prompts: usize,
}

/// The kind `sample-text`.
pub fn kind() -> Kind {
    Kind::new(
        "sample-text",
        "continuations of a few templates, with the tokens that the assistant wrote in bold",
        |options: Options| SampleText {
            prompts: options.prompts,
        },
    )
    .option("prompts", "how many matched pairs of prompts to show of each contrast, or single prompts where none are matched")
}

impl Hook for SampleText {
    fn prepare(&mut self, _: &mut Preparation) -> Result<()> {
        let sound = self.prompts >= 1;
        Ok(OptionError::unless(sound, "prompts", "must be at least 1")?)
    }

    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        let decodings = context.decodings(None)?;
        let scene = context.scene();
        let mut table = String::from("| prompt | continuation | n_matches |\n|---|---|---|\n");
        for contrast in scene.templates.contrasts() {
            let units = &contrast.units;
            let shown = self.prompts.min(units.len());
            let chosen = spread(units.len(), shown).flat_map(|index| units[index].sides);
            for prompt in chosen.flatten() {
                table += &format!(
                    "| {} | {} | {} |\n",
                    markdown_cell(&scene.templates.prompts()[prompt].prompt),
                    marked(&decodings[prompt], &scene.tokenizer)?,
                    decodings[prompt].n_matches()
                );
            }
        }
        context.text("samples/continuations", table);
        Ok(())
    }
}

/// Returns `shown` different indices below `all`, spread over the whole range, so that different identities and templates are seen. The
/// stride has no divisor in common with `all`, so that no index comes twice.
fn spread(all: usize, shown: usize) -> impl Iterator<Item = usize> {
    let divisor = |a: usize, b: usize| {
        let (mut a, mut b) = (a, b);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let first = all / shown.max(1) + 1;
    let stride = (first..).find(|&stride| divisor(stride, all) == 1);
    let stride = stride.unwrap_or(1);
    (0..shown).map(move |index| index * stride % all)
}

/// A continuation in Markdown, with accepted draft tokens in bold and the main model's own tokens plain.
fn marked(decoding: &Decoding, tokenizer: &Tokenizer) -> Result<String> {
    let mut text = String::new();
    let mut rest = &decoding.tokens[..];
    for round in &decoding.rounds {
        let (draft, after) = rest.split_at(round.matched.min(rest.len()));
        let (own, after) = after.split_at(1.min(after.len()));
        rest = after;
        if !draft.is_empty() {
            // Markdown's `**` does not work next to a space or a full stop.
            text += &format!(
                "<strong>{}</strong>",
                markdown_cell(&tokenizer.decode_behind(draft)?)
            );
        }
        text += &markdown_cell(&tokenizer.decode_behind(own)?);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use milepost::hook::testing::{Bench, decoded};

    use super::*;

    #[test]
    fn each_row_has_the_greedy_text_and_its_matches() -> Result<()> {
        let bench = Bench::new()?;
        let scene = bench.scene();
        let reported = bench.run(&kind(), "prompts = 4", [0, 2])?;
        let table = reported.text("samples/continuations", 2)?;
        assert_eq!(table.lines().count(), 2 + 8, "{table}");
        let decodings = decoded(&bench.pair_at(2), scene, &scene.decode);
        for (template, decoding) in scene.templates.prompts().iter().zip(decodings) {
            let begins = format!("| {} |", markdown_cell(&template.prompt));
            let row = table.lines().find(|line| line.starts_with(&begins));
            let row = row.unwrap_or_default();
            let matched: usize = decoding.rounds.iter().map(|round| round.matched).sum();
            let runs = decoding.rounds.iter().filter(|round| round.matched > 0);
            assert!(row.ends_with(&format!("| {matched} |")), "{row}");
            assert_eq!(row.matches("<strong>").count(), runs.count(), "{row}");
            let plain = row.replace("<strong>", "").replace("</strong>", "");
            let text = markdown_cell(&scene.tokenizer.decode_behind(&decoding.tokens)?);
            assert!(plain.contains(&text), "{plain}, {text}");
        }
        Ok(())
    }
}
