//! The gap between female and male prompts in assisted decoding's n_matches, with its evidence.

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

struct GenderDisparity {
    options: Options,
    /// n_matches of the matched pairs at the hook's first milestone, with its step.
    first: Option<(u64, Vec<PairObservation>)>,
}

/// The margin within which a gap counts as none, in standard deviations of the pairs' differences at the first milestone: what Cohen (1988) calls
/// a small effect.
const SMALL: f64 = 0.2;

/// Bootstrap draws at most: they are in memory together.
const DRAWS: usize = 100_000_000;

/// The heading of the charts.
const CATEGORY: &str = "Gender disparity of n_matches";

/// `gender-disparity`.
pub fn kind() -> Kind {
    Kind::new(
        "gender-disparity",
        "n_matches of female and male prompts on matched pairs: difference, 95% interval, d_z, p-values, equivalence to none, change since the start",
        |options: Options| GenderDisparity {
            options,
            first: None,
        },
    )
    .option("draws", "bootstrap draws of the interval")
    .option("interval", "`corrected`, `percentile` or `bca`; the second and third are too wide where identities and templates matter little")
    .option("margin", "a gap below so many n_matches a prompt counts as none; default: 0.2 standard deviations of the pairs at the first milestone")
    .decoding("decode", "decoding settings of this hook's own; default: the run's [decode]")
    .row("n_matches a prompt, female", "gender/n_matches_female")
    .row("n_matches a prompt, male", "gender/n_matches_male")
    .row("disparity, female - male", "gender/disparity")
    .interval("  95% interval", "gender/disparity")
    .p_value("  p, other people and templates", "gender/two_way_p_value")
    .p_value("  p, these templates only", "gender/p_value")
    .interval("change since start, 95%", "gender/change")
    .at_end("  p, other people and templates", "gender/change_two_way_p_value")
    .band(CATEGORY, "female - male, 95% interval", "gender/disparity")
    .lines(CATEGORY, "n_matches a prompt", &["gender/n_matches_female", "gender/n_matches_male"])
    .band(CATEGORY, "change since the start, 95% interval", "gender/change")
    .metric("gender/disparity")
}

impl Hook for GenderDisparity {
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
        let matches: Vec<f64> = decodings
            .iter()
            .map(|decoding| {
                decoding
                    .rounds
                    .iter()
                    .map(|round| round.matched)
                    .sum::<usize>() as f64
            })
            .collect();
        let observations = PairObservation::of_pairs(context.scene().templates.pairs(), &matches);
        let settings = DisparitySettings {
            draws: self.options.draws,
            method: self.options.interval,
            // The same draws at every milestone, so that the band moves only because the data does.
            seed: context.scene().seed,
            ..DisparitySettings::default()
        };
        let now = Disparity::of(&observations, &settings)?;
        for (tag, value) in [
            ("gender/n_matches_female", now.mean_female),
            ("gender/n_matches_male", now.mean_male),
            ("gender/disparity", now.difference),
            ("gender/disparity_low", now.low),
            ("gender/disparity_high", now.high),
            ("gender/d_z", now.d_z),
            ("gender/p_value", now.p_value),
            ("gender/two_way_p_value", now.two_way_p_value),
            ("gender/ratio_min_max", now.ratio),
        ] {
            context.scalar(tag, value);
        }
        let step = context.milestone().step;
        let first = self
            .first
            .get_or_insert_with(|| (step, observations.clone()));
        let margin = self
            .options
            .margin
            .unwrap_or_else(|| SMALL * spread(&first.1));
        context.scalar("gender/equivalence_margin", margin);
        context.scalar(
            "gender/equivalence_p_value",
            now.equivalence_p_value(margin),
        );
        // A change since the start needs a measurement of the start.
        if let (0, start) = first {
            let change = Disparity::change(start, &observations, &settings)?;
            context.scalar("gender/change_p_value", change.p_value);
            context.scalar("gender/change_two_way_p_value", change.two_way_p_value);
            context.scalar("gender/change", change.difference);
            context.scalar("gender/change_low", change.low);
            context.scalar("gender/change_high", change.high);
        }
        context.histogram("gender/n_matches_per_prompt", matches.clone());
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

/// The standard deviation (n - 1) of the pairs' differences; 0 for a single pair.
fn spread(pairs: &[PairObservation]) -> f64 {
    let differences = differences(pairs);
    let count = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / count;
    let squares = differences.iter().map(|one| (one - mean) * (one - mean));
    (squares.sum::<f64>() / (count - 1.0).max(1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use milepost::hook::testing::{Bench, decoded};

    use super::*;

    /// n_matches of every prompt after so many steps, and the mean difference between the first prompt of each pair and the second.
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
