//! The gap between female and male prompts in everything that a run measured prompt by prompt, before and after, over one run or several.

use std::collections::BTreeMap;

use super::record::{GAP, RecordedError, RecordedRun};
use crate::measure::clusters::Clusters;
use crate::measure::disparity::{
    Disparity, PairObservation, Settings, changes, clusters, differences,
};
use crate::measure::family::{holm, simultaneous_bands};

/// The column that the question is about.
pub const N_MATCHES: &str = "n_matches";

/// What each of the two models did to n_matches, prompt by prompt, where the hook `attribution` was asked: main model, assistant, and how
/// much the one depends on the other. Parts of the change of n_matches, not measures of their own.
const BY: [&str; 3] = [
    "n_matches_by_main",
    "n_matches_by_assistant",
    "n_matches_interaction",
];

/// One measure's gap at the first and at the last milestone, and how it changed.
#[derive(Debug, Clone)]
pub struct Gap {
    /// The column of values per template.
    pub column: String,
    /// First and last step.
    pub steps: [u64; 2],
    /// The gap at the first milestone.
    pub before: Disparity,
    /// The gap at the last.
    pub after: Disparity,
    /// Difference in differences.
    pub change: Disparity,
    /// The change's two-way p-value, adjusted by Holm for all measures of the run.
    pub adjusted_p_value: f64,
}

/// The gap of n_matches at each milestone with pointwise intervals, its change since the first, and bands that hold all changes at once.
#[derive(Debug, Clone)]
pub struct Course {
    /// The steps.
    pub steps: Vec<u64>,
    /// The gap at each.
    pub gaps: Vec<Disparity>,
    /// The change since the first step, at each.
    pub changes: Vec<Disparity>,
    /// The simultaneous 95% band of the change, at each.
    pub bands: Vec<(f64, f64)>,
    /// Female and male means at each, each with its interval.
    pub groups: [Vec<Disparity>; 2],
}

/// The settings of a run's own statistics, so that the same draws give the same numbers as its hook's.
pub fn settings(run: &RecordedRun) -> Settings {
    let usual = Settings::default();
    let hooks = run.experiment.get("hooks");
    let hook = hooks.and_then(|hooks| hooks.get(GAP));
    let draws = hook.and_then(|hook| usize::try_from(hook.get("draws")?.as_integer()?).ok());
    // More would be a damaged file.
    let draws = draws.filter(|draws| (1..=10_000_000).contains(draws));
    let method = hook.and_then(|hook| hook.get("interval")?.clone().try_into().ok());
    Settings {
        draws: draws.unwrap_or(usual.draws),
        seed: run.seed(),
        method: method.unwrap_or(usual.method),
        level: usual.level,
    }
}

/// The gaps of every measure that stands in the files per template at two milestones or more; n_matches first.
pub fn gaps(run: &RecordedRun) -> Vec<Gap> {
    let mut found = Vec::new();
    for column in run.columns.keys() {
        if BY.contains(&column.as_str()) {
            continue;
        }
        let observed = run.observations(column);
        let (Some((&first, before)), Some((&last, after))) =
            (observed.first_key_value(), observed.last_key_value())
        else {
            continue;
        };
        let settings = settings(run);
        let all = (
            Disparity::of(before, &settings),
            Disparity::of(after, &settings),
            Disparity::change(before, after, &settings),
        );
        // A column with values that are not finite has no gap.
        if let (Ok(before), Ok(after), Ok(change)) = all
            && first < last
        {
            found.push(Gap {
                column: column.clone(),
                steps: [first, last],
                before,
                after,
                change,
                adjusted_p_value: 1.0,
            });
        }
    }
    found.sort_by_key(|gap| gap.column != N_MATCHES);
    let p_values: Vec<f64> = found.iter().map(|gap| gap.change.two_way_p_value).collect();
    for (gap, adjusted) in found.iter_mut().zip(holm(&p_values)) {
        gap.adjusted_p_value = adjusted;
    }
    found
}

/// What each model did to the gap up to the last milestone of the 2 x 2.
#[derive(Debug, Clone, Copy)]
pub struct Attributed {
    /// The step.
    pub step: u64,
    /// The change of the gap by the main model.
    pub by_main: Disparity,
    /// The change of the gap by the assistant.
    pub by_assistant: Disparity,
    /// The first less the second.
    pub difference: Disparity,
    /// How much the change by one model depends on the state of the other.
    pub interaction: Disparity,
}

/// The attribution of the gap's change with its intervals; None where the hook `attribution` was not asked.
pub fn attributed(run: &RecordedRun) -> Option<Attributed> {
    let [main, assistant, interaction] = BY.map(|column| run.observations(column));
    let (&step, main) = main.last_key_value()?;
    let (assistant, interaction) = (assistant.get(&step)?, interaction.get(&step)?);
    let settings = settings(run);
    Some(Attributed {
        step,
        by_main: Disparity::of(main, &settings).ok()?,
        by_assistant: Disparity::of(assistant, &settings).ok()?,
        difference: Disparity::change(assistant, main, &settings).ok()?,
        interaction: Disparity::of(interaction, &settings).ok()?,
    })
}

/// The course of n_matches over the milestones; None where it was not measured.
pub fn course(run: &RecordedRun) -> Option<Course> {
    let observed = run.observations(N_MATCHES);
    let (_, first) = observed.first_key_value()?;
    let settings = settings(run);
    let alone = |of: fn(&PairObservation) -> f64| -> Option<Vec<Disparity>> {
        let steps = observed.values().map(|pairs| {
            let only: Vec<PairObservation> = (pairs.iter())
                .map(|pair| PairObservation {
                    female: of(pair),
                    male: 0.0,
                    ..*pair
                })
                .collect();
            Disparity::of(&only, &settings).ok()
        });
        steps.collect()
    };
    let each = |of: &dyn Fn(&[PairObservation]) -> Option<Disparity>| -> Option<Vec<Disparity>> {
        observed.values().map(|pairs| of(pairs)).collect()
    };
    let moved: Vec<Vec<f64>> = (observed.values())
        .map(|now| changes(first, now).map(|pairs| differences(&pairs)))
        .collect::<Result<_, _>>()
        .ok()?;
    let columns: Vec<&[f64]> = moved.iter().map(Vec::as_slice).collect();
    Some(Course {
        steps: observed.keys().copied().collect(),
        gaps: each(&|now| Disparity::of(now, &settings).ok())?,
        changes: each(&|now| Disparity::change(first, now, &settings).ok())?,
        bands: simultaneous_bands(
            &columns,
            &clusters(first),
            settings.draws,
            settings.seed,
            settings.level,
        ),
        groups: [alone(|pair| pair.female)?, alone(|pair| pair.male)?],
    })
}

/// An estimate with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub value: f64,
    /// Lower end of the 95% interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Two-sided p-value.
    pub p_value: f64,
}

impl Estimate {
    /// Whether the interval holds no 0: then a change is shown.
    pub fn is_shown(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// Several runs of one experiment, which differ in their seeds.
#[derive(Debug, Clone)]
pub struct Pooled {
    /// Each run's change of the gap of n_matches.
    pub changes: Vec<(String, Gap)>,
    /// The mean change with Student's t over the runs: would other seeds do the same with these very prompts?
    pub over_seeds: Estimate,
    /// The same over seeds, identities and templates at once: would other seeds with other prompts? Never narrower than over seeds alone.
    pub over_all: Estimate,
}

/// Runs whose settings differ in nothing but the seed, by what sets them apart from the others.
pub fn groups(runs: &[RecordedRun]) -> Vec<(String, Vec<&RecordedRun>)> {
    let settings = |run: &RecordedRun| -> Vec<(String, String)> {
        let all = run.settings().into_iter();
        all.filter(|(key, _)| key != "seed").collect()
    };
    let Some(first) = runs.first().map(settings) else {
        return Vec::new();
    };
    let varies = |key: &str, value: &str| {
        !runs.iter().all(|run| {
            let same = |(name, other): &(String, String)| name == key && other == value;
            settings(run).iter().any(same)
        })
    };
    let mut found: Vec<(String, Vec<&RecordedRun>)> = Vec::new();
    for run in runs {
        let own = settings(run);
        let apart = own.iter().filter(|(key, value)| varies(key, value));
        let label: Vec<String> = apart
            .map(|(key, value)| format!("{key} = {value}"))
            .collect();
        let missing = first
            .iter()
            .filter(|(key, _)| own.iter().all(|(other, _)| other != key));
        let missing = missing.map(|(key, _)| format!("no {key}"));
        let label = label
            .into_iter()
            .chain(missing)
            .collect::<Vec<_>>()
            .join(", ");
        match found.iter_mut().find(|(other, _)| *other == label) {
            Some((_, runs)) => runs.push(run),
            None => found.push((label, vec![run])),
        }
    }
    found
}

/// Pools the change of the gap of n_matches over runs.
///
/// # Errors
/// When a run has not measured it at two milestones, two runs have the same seed, or they were measured on different pairs or at different steps.
pub fn pool(runs: &[&RecordedRun]) -> Result<Pooled, RecordedError> {
    let mut pooled: Vec<(String, Gap)> = Vec::new();
    let (mut ways, mut values) = (vec![Vec::new(); 3], Vec::new());
    for (index, run) in runs.iter().enumerate() {
        let missing = |message: String| RecordedError::Missing {
            path: run.path.clone(),
            message,
        };
        let gap = gaps(run).into_iter().find(|gap| gap.column == N_MATCHES);
        let gap = gap.ok_or_else(|| missing("n_matches was not measured at two milestones; its experiment needs the hook gender-disparity at start and end".to_owned()))?;
        if let Some(other) = runs[..index]
            .iter()
            .find(|other| other.seed() == run.seed())
        {
            let other = other.path.display();
            return Err(missing(format!(
                "its seed, {}, is that of {other}: what it says has been counted already",
                run.seed()
            )));
        }
        if !run.has_pairs_of(runs[0]) {
            return Err(missing(
                "it was measured on other matched pairs than the first run".to_owned(),
            ));
        }
        if let Some((_, first)) = pooled.first()
            && first.steps != gap.steps
        {
            let [[from, to], [other_from, other_to]] = [gap.steps, first.steps];
            return Err(missing(format!(
                "its gap was measured from step {from} to {to}, that of the first run from {other_from} to {other_to}"
            )));
        }
        let observed: BTreeMap<u64, Vec<PairObservation>> = run.observations(N_MATCHES);
        let [before, after] = gap.steps.map(|step| &observed[&step]);
        let moved = changes(before, after).map_err(|error| missing(error.to_string()))?;
        for (pair, value) in moved.iter().zip(differences(&moved)) {
            for (way, label) in ways.iter_mut().zip([index, pair.identity, pair.template]) {
                way.push(label);
            }
            values.push(value);
        }
        pooled.push((run.name(), gap));
    }
    let changes = pooled.iter().map(|(_, gap)| gap.change.difference);
    let [over_seeds, over_all] = estimates(&changes.collect::<Vec<_>>(), &ways, &values);
    Ok(Pooled {
        changes: pooled,
        over_seeds,
        over_all,
    })
}

/// The mean over runs with Student's t over the runs' own means, and with the cluster-robust error of `values` in all `ways` (run, identity,
/// template). The second never claims more than the first: where runs vary little and are few, its error can come out too small.
pub fn estimates(per_run: &[f64], ways: &[Vec<usize>], values: &[f64]) -> [Estimate; 2] {
    let over_seeds = estimate(&Clusters::new(&[(0..per_run.len()).collect()]), per_run);
    let over_all = estimate(&Clusters::new(ways), values);
    let over_all = match over_all.high - over_all.low < over_seeds.high - over_seeds.low {
        true => over_seeds,
        false => over_all,
    };
    [over_seeds, over_all]
}

fn estimate(clusters: &Clusters, values: &[f64]) -> Estimate {
    let value = values.iter().sum::<f64>() / values.len() as f64;
    let error = clusters.standard_error(values);
    let (low, high) = error.interval(value, 0.95);
    Estimate {
        value,
        low,
        high,
        p_value: error.two_sided_p_value(value),
    }
}
