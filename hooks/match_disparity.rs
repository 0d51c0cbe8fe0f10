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
        for (column, counts) in columns_by_position(&decodings) {
            context.per_template(column, counts);
        }
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

/// For each position of the drafts, from the first to the last that was checked anywhere, in how many rounds of each prompt the token there was
/// checked, and in how many it matched.
fn columns_by_position(decodings: &[Decoding]) -> Vec<(String, Vec<f64>)> {
    let prompts: Vec<Vec<DraftPosition>> = (decodings.iter())
        .map(|one| by_position(&one.rounds))
        .collect();
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    // Also where nothing was drafted, there is a first position, which was never checked.
    let positions = 1..=longest.max(1);
    let counts = |position: usize, of: fn(&DraftPosition) -> u64| {
        let counts = prompts
            .iter()
            .map(|prompt| prompt.get(position - 1).map_or(0, of));
        counts.map(|count| count as f64).collect()
    };
    let columns = positions.flat_map(|position| {
        [
            (
                DraftPosition::checked_column(position),
                counts(position, |one| one.checked),
            ),
            (
                DraftPosition::matched_column(position),
                counts(position, |one| one.matched),
            ),
        ]
    });
    columns.collect()
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
    use milepost::decode::{Request, assisted};
    use milepost::hook::testing::{Bench, Reported, decoded};

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

    /// Replays rounds token by token: for each position the rounds that checked a token there, and those in which it matched.
    fn replayed(decodings: &[Decoding], position: usize) -> [Vec<f64>; 2] {
        let mut found = [Vec::new(), Vec::new()];
        for decoding in decodings {
            let mut counts = [0.0; 2];
            for round in &decoding.rounds {
                for token in 1..=round.drafted {
                    let matches = token <= round.matched;
                    if token == position {
                        counts[0] += 1.0;
                        counts[1] += f64::from(u8::from(matches));
                    }
                    if !matches {
                        break;
                    }
                }
            }
            for (column, count) in found.iter_mut().zip(counts) {
                column.push(count);
            }
        }
        found
    }

    /// The columns by position are those of the replayed rounds, up to the longest draft.
    fn is_replayed(reported: &Reported, step: u64, decodings: &[Decoding]) -> Result<usize> {
        let n_matches = reported.per_template("n_matches", step)?;
        let mut sums = vec![0.0; n_matches.len()];
        let mut position = 1;
        while let Ok(matched) = reported.per_template(&format!("matched_{position}"), step) {
            let checked = reported.per_template(&format!("checked_{position}"), step)?;
            let [expected_checked, expected_matched] = replayed(decodings, position);
            assert_eq!(checked, expected_checked, "checked at {position}");
            assert_eq!(matched, expected_matched, "matched at {position}");
            for (sum, one) in sums.iter_mut().zip(matched) {
                *sum += one;
            }
            position += 1;
        }
        assert_eq!(sums, n_matches);
        let beyond = replayed(decodings, position);
        assert!(beyond.iter().flatten().all(|&count| count == 0.0));
        Ok(position - 1)
    }

    #[test]
    fn matches_by_position_are_those_of_replayed_rounds() -> Result<()> {
        let bench = Bench::new()?;
        let reported = bench.run(&kind(), "draws = 20", [0, 6])?;
        for step in [0, 6] {
            let slow = decoded(&bench.pair_at(step), bench.scene(), &bench.scene().decode);
            assert_eq!(is_replayed(&reported, step, &slow)?, 3);
        }
        // Drafts that grow, also beyond the first length; and drawn tokens.
        let growing = "schedule = 'heuristic', draft_length = 2, max_new_tokens = 12";
        for (settings, longest) in [
            (growing.to_owned(), 3..=11),
            (
                "drafting = 'lazy', draft_length = 3, max_new_tokens = 8".to_owned(),
                3..=3,
            ),
            (
                format!("{growing}, sampling = {{ temperature = 0.8 }}"),
                2..=11,
            ),
            ("max_new_tokens = 1".to_owned(), 1..=1),
        ] {
            let options = format!("draws = 20\ndecode = {{ {settings} }}");
            let reported = bench.run(&kind(), &options, [0, 6])?;
            let asked: Options = toml::from_str(&options)?;
            let asked = asked.decode.unwrap_or_default();
            for step in [0, 6] {
                let scene = bench.scene();
                let requests = scene.prompts.iter().map(|prompt| Request {
                    prompt,
                    seed: scene.seed,
                });
                let requests: Vec<Request> = requests.collect();
                let pair = bench.pair_at(step);
                let decodings = assisted(&pair, &requests, &scene.ends, &asked, &|_| Ok(()))?;
                let found = is_replayed(&reported, step, &decodings)?;
                assert!(longest.contains(&found), "{settings}: {found}");
            }
        }
        Ok(())
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
