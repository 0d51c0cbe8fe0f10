//! The hook `representation`: how similar a model's hidden states at the prompts are to those before fine-tuning, as linear CKA, layer by
//! layer.

use milepost::prelude::*;

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Options {}

struct Representation;

/// The kind `representation`.
pub fn kind() -> Kind {
    Kind::new(
        "representation",
        "linear CKA of each model's hidden states at the prompts' last tokens, now against step 0, by layer",
        |_: Options| Representation,
    )
    .compares_with_start()
    .reports(&["representation/main/*", "representation/assistant/*"])
}

impl Hook for Representation {
    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        let prompts = &context.scene().prompts;
        ensure!(prompts.len() > 1, "likeness needs at least two prompts");
        for role in Role::BOTH {
            let go_on = || context.check_deadline();
            let now = context.pair().get(role).hidden_states(prompts, &go_on)?;
            let then = context.start()?.get(role).hidden_states(prompts, &go_on)?;
            let mut sum = 0.0;
            for (layer, (now, then)) in now.iter().zip(&then).enumerate() {
                context.check_deadline()?;
                let likeness = linear_cka(now, then, prompts.len());
                ensure!(
                    likeness.is_finite(),
                    "layer {layer} of the {role} model is the same for all prompts"
                );
                sum += likeness;
                // Layer 0 is the output of the embeddings, the last one that of the final layer norm.
                context.scalar(format!("representation/{role}/layer_{layer:02}"), likeness);
            }
            context.scalar(
                format!("representation/{role}/mean"),
                sum / now.len() as f64,
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use milepost::hook::testing::Bench;

    use super::*;

    /// CKA from the similarity of texts to each other: inner products of all pairs of rows, centred by the means of rows and columns.
    fn slow_cka(x: &[f32], y: &[f32], rows: usize) -> f64 {
        let centred = |values: &[f32]| -> Vec<f64> {
            let row = |index: usize| {
                values
                    .chunks(values.len() / rows)
                    .nth(index)
                    .into_iter()
                    .flatten()
            };
            let product = |i: usize, j: usize| -> f64 {
                row(i)
                    .zip(row(j))
                    .map(|(a, b)| f64::from(*a) * f64::from(*b))
                    .sum()
            };
            let all = || 0..rows;
            let mean = |i: usize| all().map(|j| product(i, j)).sum::<f64>() / rows as f64;
            let total = all().map(mean).sum::<f64>() / rows as f64;
            all()
                .flat_map(|i| all().map(move |j| (i, j)))
                .map(|(i, j)| product(i, j) - mean(i) - mean(j) + total)
                .collect()
        };
        let (k, l) = (centred(x), centred(y));
        let sum = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        sum(&k, &l) / (sum(&k, &k) * sum(&l, &l)).sqrt()
    }

    #[test]
    fn likeness_is_1_at_the_start_and_later_as_the_slow_formula_says() -> Result<()> {
        let bench = Bench::new()?;
        let reported = bench.run(&kind(), "", [0, 6])?;
        let (then, now, prompts) = (bench.pair_at(0), bench.pair_at(6), &bench.scene().prompts);
        for role in Role::BOTH {
            let states = |pair: &Pair| pair.get(role).hidden_states(prompts, &|| Ok(()));
            let (then, now) = (states(&then)?, states(&now)?);
            for (layer, (then, now)) in then.iter().zip(&now).enumerate() {
                let value = |step| {
                    reported.scalar(&format!("representation/{role}/layer_{layer:02}"), step)
                };
                assert!((value(0)? - 1.0).abs() < 1e-12);
                let expected = slow_cka(now, then, prompts.len());
                assert!(expected < 1.0 - 1e-7, "nothing moved in layer {layer}");
                assert!(
                    (value(6)? - expected).abs() < 1e-9,
                    "{role} {layer}: {expected}"
                );
            }
        }
        Ok(())
    }
}
