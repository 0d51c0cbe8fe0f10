//! The hook `template-kl`: the divergence of main model and assistant at the prompts, as KL and related measures, for all prompts and by
//! group.

use std::collections::HashSet;

use milepost::prelude::*;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    positions: Vec<Positions>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            positions: vec![Positions::Last],
        }
    }
}

struct TemplateKl {
    positions: Vec<Positions>,
}

/// The kind `template-kl`.
pub fn kind() -> Kind {
    Kind::new(
        "template-kl",
        "divergence of main model and assistant at the templates: KL, JS, TV, top-1 agreement, expected acceptance",
        |options: Options| TemplateKl {
            positions: options.positions,
        },
    )
    .option(
        "positions",
        "a list of `last` (the prompt's last token, the default), `prompt` (all its tokens), `continuation` (along the main model's continuation)",
    )
    .row("KL at the templates, nats", "kl/mean_nats")
    .row("KL, batchmean convention", "kl/batchmean")
    .row("top-1 agreement", "kl/mean_top1_agreement")
    .lines(
        "Main model and assistant",
        "KL at the templates, nats",
        &["kl/mean_nats", "kl/{first}_nats", "kl/{second}_nats"],
    )
    .metric("kl/mean_nats")
    .named("KL, nats, {first}", "kl/{first}_nats")
    .named("KL, nats, {second}", "kl/{second}_nats")
    .named("KL, batchmean, {first}", "kl/{first}_batchmean")
    .named("KL, batchmean, {second}", "kl/{second}_batchmean")
    .named("expected acceptance", "kl/mean_acceptance_expected")
    .reports(&["kl/{first}_top1_agreement", "kl/{first}_acceptance_expected"])
    .reports(&["kl/{second}_top1_agreement", "kl/{second}_acceptance_expected"])
    .reports(&["divergence/kl_reverse_nats", "divergence/js_nats", "divergence/tv"])
    .reports(&["divergence/entropy_main_nats", "divergence/entropy_assistant_nats", "divergence/margin_main"])
    .reports(&["kl/prompt/*", "kl/continuation/*", "divergence/prompt/*", "divergence/continuation/*"])
    .section_with(furthest_apart)
    .section(
        "How far the models are apart",
        "KL(main, assistant) at the last token of each prompt, in nats, and as PyTorch's batchmean over a single row gives it: divided by the size of the vocabulary.",
    )
}

impl Hook for TemplateKl {
    fn prepare(&mut self, _: &mut Preparation) -> Result<()> {
        let distinct: HashSet<Positions> = self.positions.iter().copied().collect();
        OptionError::unless(!distinct.is_empty(), "positions", "name at least one")?;
        let once = distinct.len() == self.positions.len();
        Ok(OptionError::unless(once, "positions", "name each once")?)
    }

    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        for &positions in &self.positions {
            at(positions, context)?;
        }
        Ok(())
    }
}

fn at(positions: Positions, context: &mut Context) -> Result<()> {
    let all: Vec<MeanDivergence> = match positions {
        // Shared with other hooks.
        Positions::Last => {
            let each = context.divergences()?;
            each.iter().copied().map(MeanDivergence::from).collect()
        }
        _ => context.divergences_at(positions)?.to_vec(),
    };
    // The default positions have the short tags.
    let (part, column) = match positions {
        Positions::Last => (String::new(), String::new()),
        other => (
            format!("{}/", other.as_str()),
            format!("_{}", other.as_str()),
        ),
    };
    let pooled = MeanDivergence::mean(all.iter());
    let groups = context.scene().templates.groups().into_iter();
    let groups = groups.map(|(group, places)| {
        let own = places.into_iter().map(|place| &all[place]);
        (group, MeanDivergence::mean(own))
    });
    for (name, mean) in std::iter::once(("mean", pooled)).chain(groups) {
        let Some(mean) = mean else { continue };
        // The value of `F.kl_div(..., reduction="batchmean")` for one row, divided by the vocabulary size.
        let batchmean = match name {
            "mean" => "batchmean".to_owned(),
            _ => format!("{name}_batchmean"),
        };
        for (tag, value) in [
            (format!("{name}_nats"), mean.kl),
            (batchmean, mean.kl_batchmean),
            (format!("{name}_top1_agreement"), mean.top1_agreement),
            (
                format!("{name}_acceptance_expected"),
                mean.acceptance_expected,
            ),
        ] {
            context.scalar(format!("kl/{part}{tag}"), value);
        }
    }
    if let Some(mean) = pooled {
        for (tag, value) in [
            ("kl_reverse_nats", mean.kl_reverse),
            ("js_nats", mean.js),
            ("tv", mean.tv),
            ("entropy_main_nats", mean.entropy_main),
            ("entropy_assistant_nats", mean.entropy_assistant),
            ("margin_main", mean.margin_main),
        ] {
            context.scalar(format!("divergence/{part}{tag}"), value);
        }
    }
    let kl: Vec<f64> = all.iter().map(|divergence| divergence.kl).collect();
    let agree = all.iter().map(|divergence| divergence.top1_agreement);
    let entropy = all.iter().map(|divergence| divergence.entropy_main);
    context.per_template(format!("top1_agreement{column}"), agree.collect());
    context.per_template(format!("entropy_main{column}_nats"), entropy.collect());
    context.per_template(format!("kl{column}_nats"), kl.clone());
    context.histogram(format!("kl/{part}per_template_nats"), kl);
    Ok(())
}

/// How many prompts are shown.
const SHOWN: usize = 5;

/// A table of the prompts where the models are furthest apart at the end, by KL in nats. Empty when KL was not recorded at start and end.
fn furthest_apart(recorded: &dyn Recorded) -> String {
    let (start, end) = (
        recorded.column_at_start("kl_nats"),
        recorded.column_at_end("kl_nats"),
    );
    let (Some(first), Some(last)) = (start, end) else {
        return String::new();
    };
    let rows = recorded.prompts().iter().zip(first.iter().zip(last));
    let mut rows: Vec<(&String, (&f64, &f64))> = rows.collect();
    rows.sort_by(|(_, (_, a)), (_, (_, b))| b.total_cmp(a));
    let table = html! {
        h3 { "Prompts where the models are furthest apart at the end" }
        div.scroll { table {
            thead { tr { th.text { "prompt" } th { "KL before, nats" } th { "KL after, nats" } } }
            tbody { @for (prompt, (first, last)) in rows.into_iter().take(SHOWN) {
                tr { td.text { (prompt) } td { (number(*first)) } td { (number(*last)) } }
            } }
        } }
    };
    table.into_string()
}

#[cfg(test)]
mod tests {
    use milepost::hook::testing::{Bench, probabilities};

    use super::*;

    #[test]
    fn divergences_are_those_of_slow_sums() -> Result<()> {
        let bench = Bench::new()?;
        let reported = bench.run(&kind(), "positions = ['last', 'prompt']", [0, 3])?;
        let (pair, prompts) = (bench.pair_at(3), &bench.scene().prompts);
        let (mut last, mut everywhere, mut tv) = (Vec::new(), Vec::new(), 0.0);
        for prompt in prompts {
            let [p, q] = Role::BOTH.map(|role| probabilities(pair.get(role), prompt));
            let kl = p
                .iter()
                .zip(&q)
                .map(|(p, q)| -> f64 { p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum() });
            let kl: Vec<f64> = kl.collect();
            let end = prompt.len() - 1;
            last.push(kl[end]);
            everywhere.push(kl.iter().sum::<f64>() / kl.len() as f64);
            let gaps = p[end].iter().zip(&q[end]).map(|(p, q)| (p - q).abs());
            tv += gaps.sum::<f64>() / 2.0 / prompts.len() as f64;
        }
        for (column, expected) in [("kl_nats", &last), ("kl_prompt_nats", &everywhere)] {
            let found = reported.per_template(column, 3)?;
            for (found, expected) in found.iter().zip(expected) {
                assert!(
                    (found - expected).abs() < 1e-4,
                    "{column}: {found}, {expected}"
                );
            }
        }
        let entropies = reported.per_template("entropy_main_nats", 3)?;
        for (found, prompt) in entropies.iter().zip(prompts) {
            let p = &probabilities(&pair.main, prompt)[prompt.len() - 1];
            let expected = -p.iter().map(|p| p * p.ln()).sum::<f64>();
            assert!((found - expected).abs() < 1e-4, "{found}, {expected}");
        }
        let mean = last.iter().sum::<f64>() / last.len() as f64;
        assert!((reported.scalar("kl/mean_nats", 3)? - mean).abs() < 1e-4);
        assert!((reported.scalar("kl/batchmean", 3)? - mean / 2048.0).abs() < 1e-7);
        assert!((reported.scalar("divergence/tv", 3)? - tv).abs() < 1e-4);
        Ok(())
    }

    #[test]
    fn equal_models_do_not_diverge() -> Result<()> {
        let main = Bench::new()?.pair_at(0).main;
        let bench = Bench::new()?.pair(Pair::new(main.clone(), main)?)?;
        let reported = bench.run(&kind(), "", [0, 2])?;
        assert_eq!(reported.scalars("kl/mean_nats"), [(0, 0.0), (2, 0.0)]);
        assert_eq!(reported.scalar("kl/mean_top1_agreement", 2)?, 1.0);
        Ok(())
    }
}
