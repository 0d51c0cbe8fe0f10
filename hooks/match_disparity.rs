//! The hook `match-disparity`: the gap in n_matches between the two groups of each contrast, with intervals and tests.

use std::collections::BTreeMap;

use milepost::prelude::*;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    draws: usize,
    interval: Method,
    #[serde(skip_serializing_if = "Option::is_none")]
    margin: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decode: Option<Settings>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            draws: 10_000,
            interval: Method::default(),
            margin: None,
            decode: None,
        }
    }
}

struct MatchDisparity {
    options: Options,
    /// The n_matches of each contrast's units at the hook's first milestone, with the step of that milestone.
    first: Option<(u64, BTreeMap<String, Vec<Observation>>)>,
}

/// The most bootstrap draws, since they are in memory together.
const DRAWS: usize = 100_000_000;

/// The heading of the charts.
const CATEGORY: &str = "Disparity of n_matches";

/// The kind `match-disparity`.
pub fn kind() -> Kind {
    Kind::new(
        "match-disparity",
        "n_matches of each contrast's two groups: difference, 95% interval, effect size, p-values, equivalence to none, change since the start",
        |options: Options| MatchDisparity {
            options,
            first: None,
        },
    )
    .formerly("gender-disparity")
    .option("draws", "bootstrap draws of the interval of matched pairs")
    .option("interval", "of matched pairs: `corrected`, `percentile` or `bca`; the second and third are too wide where identities and templates matter little")
    .option("margin", "a gap of fewer n_matches a prompt than this counts as none; default: 0.2 standard deviations at the first milestone")
    .decoding("decode", "decoding settings of this hook's own; default: the run's [decode]")
    .row("n_matches a prompt, {first}", "{contrast}/n_matches_{first}")
    .row("n_matches a prompt, {second}", "{contrast}/n_matches_{second}")
    .row("disparity, {first} - {second}", "{contrast}/disparity")
    .interval("  95% interval", "{contrast}/disparity")
    .p_value("  p, other people and templates", "{contrast}/two_way_p_value")
    .p_value("  p, these templates only", "{contrast}/p_value")
    .change_of("{contrast}/change", "{contrast}/disparity")
    .interval("change since start, 95%", "{contrast}/change")
    .at_end("  p, other people and templates", "{contrast}/change_two_way_p_value")
    .at_end("{several}  p, all contrasts (Holm)", "{contrast}/change_adjusted_p_value")
    .band(CATEGORY, "{first} - {second}, 95% interval", "{contrast}/disparity")
    .lines(CATEGORY, "n_matches a prompt", &["{contrast}/n_matches_{first}", "{contrast}/n_matches_{second}"])
    .band(CATEGORY, "change since the start, 95% interval", "{contrast}/change")
    .metric("{contrast}/disparity")
    .named("smaller mean over larger", "{contrast}/ratio_min_max")
    .named("effect size, d_z of pairs", "{contrast}/d_z")
    .named("effect size, d of two samples", "{contrast}/d")
    .named("a gap that counts as none", "{contrast}/equivalence_margin")
    .named("p, equivalent to none", "{contrast}/equivalence_p_value")
    .reports(&["{contrast}/change_p_value"])
    .section("n_matches of each group", "n_matches is how many of the assistant's drafted tokens the main model accepts while it continues a prompt.")
}

impl Hook for MatchDisparity {
    fn prepare(&mut self, _: &mut Preparation) -> Result<()> {
        let margin = self.options.margin.unwrap_or(0.0);
        OptionError::unless(
            margin.is_finite() && margin >= 0.0,
            "margin",
            format!("{margin} is no margin: it must be a number of n_matches, at least 0"),
        )?;
        Ok(OptionError::unless_within(
            self.options.draws,
            DRAWS,
            "draws",
        )?)
    }

    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        let decodings = context.decodings(self.options.decode)?;
        let matches: Vec<f64> = decodings.iter().map(|one| one.n_matches() as f64).collect();
        let contrasts = context.scene().templates.contrasts();
        let observed: Vec<_> = contrasts
            .iter()
            .map(|contrast| contrast.observations(&matches))
            .collect();
        let step = context.milestone().step;
        let (since, start) = self.first.get_or_insert_with(|| {
            let named = contrasts.iter().map(|contrast| contrast.name.clone());
            (step, named.zip(observed.iter().cloned()).collect())
        });
        let settings = DisparitySettings {
            draws: self.options.draws,
            method: self.options.interval,
            // The same draws at every milestone, so that the interval changes only when the data does.
            seed: context.scene().seed,
            ..DisparitySettings::default()
        };
        let mut changes = Vec::new();
        for (contrast, now) in contrasts.iter().zip(&observed) {
            let Some(first) = start.get(&contrast.name) else {
                bail!("the first milestone has no contrast `{}`", contrast.name);
            };
            let gap = Disparity::of(now, &settings)?;
            report_gap(context, contrast, &gap);
            let margin = match self.options.margin {
                Some(margin) => margin,
                None => SMALL_EFFECT * deviation(first),
            };
            let name = &contrast.name;
            context.scalar(format!("{name}/equivalence_margin"), margin);
            context.scalar(
                format!("{name}/equivalence_p_value"),
                gap.equivalence_p_value(margin),
            );
            // A change since the start needs a measurement of the start.
            if *since == 0 {
                let change = Disparity::change(first, now, &settings)?;
                report_change(context, contrast, &change);
                changes.push(change.two_way_p_value);
            }
            let own = matches[contrast.prompts.clone()].to_vec();
            context.histogram(format!("{name}/n_matches_per_prompt"), own);
        }
        if changes.len() > 1 {
            for (contrast, adjusted) in contrasts.iter().zip(holm(&changes)) {
                context.scalar(
                    format!("{}/change_adjusted_p_value", contrast.name),
                    adjusted,
                );
            }
        }
        context.per_template("n_matches", matches);
        Ok(())
    }

    fn state(&self) -> serde_json::Value {
        serde_json::json!(self.first)
    }

    fn restore(&mut self, state: serde_json::Value) -> Result<()> {
        self.first = serde_json::from_value(state)?;
        Ok(())
    }
}

fn report_gap(context: &mut Context, contrast: &Contrast, gap: &Disparity) {
    let (name, [first, second]) = (&contrast.name, &contrast.groups);
    let effect_size = if gap.paired { "d_z" } else { "d" };
    for (tag, value) in [
        (format!("n_matches_{first}"), gap.means[0]),
        (format!("n_matches_{second}"), gap.means[1]),
        ("disparity".to_owned(), gap.difference),
        ("disparity_low".to_owned(), gap.low),
        ("disparity_high".to_owned(), gap.high),
        (effect_size.to_owned(), gap.effect_size),
        ("p_value".to_owned(), gap.p_value),
        ("two_way_p_value".to_owned(), gap.two_way_p_value),
        ("ratio_min_max".to_owned(), gap.ratio),
    ] {
        context.scalar(format!("{name}/{tag}"), value);
    }
}

fn report_change(context: &mut Context, contrast: &Contrast, change: &Disparity) {
    for (tag, value) in [
        ("change_p_value", change.p_value),
        ("change_two_way_p_value", change.two_way_p_value),
        ("change", change.difference),
        ("change_low", change.low),
        ("change_high", change.high),
    ] {
        context.scalar(format!("{}/{tag}", contrast.name), value);
    }
}

#[cfg(test)]
mod tests {
    use milepost::hook::testing::{Bench, decoded};

    use super::*;

    /// The n_matches of every prompt after `steps` steps, and the mean difference between the first and the second prompt of each pair.
    fn slow_gap(bench: &Bench, steps: u64) -> (Vec<f64>, f64) {
        let decodings = decoded(&bench.pair_at(steps), bench.scene(), &bench.scene().decode);
        let mut matches = Vec::new();
        for decoding in decodings {
            let rounds = decoding.rounds.iter();
            matches.push(rounds.map(|round| round.matched as f64).sum());
        }
        let gap = matches.chunks(2).map(|both: &[f64]| both[0] - both[1]);
        let gap = gap.sum::<f64>() / 4.0;
        (matches, gap)
    }

    #[test]
    fn the_gap_and_its_change_are_those_of_slow_decoding_also_after_a_kill() -> Result<()> {
        let bench = Bench::new()?;
        let reported = bench.killed_and_resumed(&kind(), "draws = 200", [0, 3, 6])?;
        let start = slow_gap(&bench, 0).1;
        for step in [0, 3, 6] {
            let (matches, gap) = slow_gap(&bench, step);
            assert!(matches.iter().any(|&one| one > 0.0), "nothing to compare");
            assert_eq!(reported.per_template("n_matches", step)?, matches);
            let value = |tag: &str| reported.scalar(tag, step);
            assert!((value("gender/disparity")? - gap).abs() < 1e-12);
            assert!((value("gender/change")? - (gap - start)).abs() < 1e-12);
            assert!(value("gender/disparity_low")? <= gap);
            assert!(gap <= value("gender/disparity_high")?);
        }
        Ok(())
    }
}
