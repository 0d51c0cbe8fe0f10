//! The gap between female and male prompts in everything that a run measured prompt by prompt, before and after, over one run or several.

use std::collections::BTreeMap;

use super::record::{At, GAP, Missing, Moment, RecordedRun};
use crate::statistics::disparity::{
    Disparity, PairObservation, Settings, changes, clusters, differences,
};
use crate::statistics::family::{holm, simultaneous_bands};

/// The column that the question is about.
pub const N_MATCHES: &str = "n_matches";

/// What each of the two models did to n_matches, prompt by prompt, where the hook `attribution` was asked: main model, assistant, and how
/// much the one depends on the other. Parts of the change of n_matches, not measures of their own.
const BY: [&str; 3] = [
    "n_matches_by_main",
    "n_matches_by_assistant",
    "n_matches_interaction",
];

/// One measure's gap at the start and at the end of a run, and how it changed.
#[derive(Debug, Clone)]
pub struct Gap {
    /// The column of values per template.
    pub column: String,
    /// First and last step of the run.
    pub steps: [u64; 2],
    /// The gap at the start.
    pub before: Disparity,
    /// The gap at the end.
    pub after: Disparity,
    /// Difference in differences.
    pub change: Disparity,
    /// The change's two-way p-value, adjusted by Holm for all measures of the run.
    pub adjusted_p_value: f64,
}

/// A measure that has no gap at the start or none at the end, and so no change.
#[derive(Debug, Clone)]
pub struct Incomplete {
    /// The column of values per template.
    pub column: String,
    /// The gap at the start, or why there is none.
    pub before: At<Disparity>,
    /// The gap at the end, or why there is none.
    pub after: At<Disparity>,
}

impl Incomplete {
    /// Why there is no change.
    pub fn reason(&self) -> String {
        let sides = [&self.before, &self.after];
        let mut reasons: Vec<String> = sides
            .into_iter()
            .filter_map(|side| side.as_ref().err())
            .map(ToString::to_string)
            .collect();
        reasons.dedup();
        reasons.join("; ")
    }
}

/// The gap of n_matches at each milestone with pointwise intervals, and its change since the start where that was measured.
#[derive(Debug, Clone)]
pub struct Course {
    /// The steps.
    pub steps: Vec<u64>,
    /// The gap at each.
    pub gaps: Vec<Disparity>,
    /// Female and male means at each, each with its interval.
    pub groups: [Vec<Disparity>; 2],
    /// The change since the start; None where the start was not measured.
    pub since_start: Option<SinceStart>,
}

/// The change of the gap since the start at each step of a course, the start included.
#[derive(Debug, Clone)]
pub struct SinceStart {
    /// The change.
    pub changes: Vec<Disparity>,
    /// The band that holds the changes of all steps at once with 95%.
    pub bands: Vec<(f64, f64)>,
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

/// The gap of one measure from start to end.
///
/// # Errors
/// What is there of it, where one of the two is missing.
pub fn gap_of(run: &RecordedRun, column: &str) -> Result<Gap, Box<Incomplete>> {
    let settings = settings(run);
    let at = |moment: Moment| -> At<(Vec<PairObservation>, Disparity)> {
        let pairs = run.pairs_at(column, moment)?;
        match Disparity::of(&pairs, &settings) {
            Ok(gap) => Ok((pairs, gap)),
            Err(error) => Err(Missing(error.to_string())),
        }
    };
    match (at(Moment::Start), at(Moment::End)) {
        (Ok((first, before)), Ok((last, after))) => {
            match Disparity::change(&first, &last, &settings) {
                Ok(change) => Ok(Gap {
                    column: column.to_owned(),
                    steps: [0, run.end().unwrap_or(0)],
                    before,
                    after,
                    adjusted_p_value: change.two_way_p_value,
                    change,
                }),
                Err(error) => Err(Box::new(Incomplete {
                    column: column.to_owned(),
                    before: Ok(before),
                    after: Err(Missing(error.to_string())),
                })),
            }
        }
        (before, after) => Err(Box::new(Incomplete {
            column: column.to_owned(),
            before: before.map(|(_, gap)| gap),
            after: after.map(|(_, gap)| gap),
        })),
    }
}

/// The gaps of every measure that stands in the files per template, n_matches first: those from start to end, and those that lack one of
/// the two.
pub fn all_gaps(run: &RecordedRun) -> (Vec<Gap>, Vec<Incomplete>) {
    let mut columns: Vec<&str> = run.columns.keys().map(String::as_str).collect();
    if run.has_hook(GAP) && !columns.contains(&N_MATCHES) {
        columns.push(N_MATCHES);
    }
    columns.retain(|column| !BY.contains(column));
    columns.sort_by_key(|column| *column != N_MATCHES);
    let (mut found, mut incomplete) = (Vec::new(), Vec::new());
    for column in columns {
        match gap_of(run, column) {
            Ok(gap) => found.push(gap),
            Err(lacking) => incomplete.push(*lacking),
        }
    }
    let p_values: Vec<f64> = found.iter().map(|gap| gap.change.two_way_p_value).collect();
    for (gap, adjusted) in found.iter_mut().zip(holm(&p_values)) {
        gap.adjusted_p_value = adjusted;
    }
    (found, incomplete)
}

/// The gaps of every measure from start to end; n_matches first.
pub fn gaps(run: &RecordedRun) -> Vec<Gap> {
    all_gaps(run).0
}

/// What each model did to the gap up to the end of the run.
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

/// The attribution of the gap's change with its intervals.
///
/// # Errors
/// Why there is none: the hook `attribution` was not asked at the end, or its values are not finite.
pub fn attributed(run: &RecordedRun) -> At<Attributed> {
    let settings = settings(run);
    let [main, assistant, interaction] = BY.map(|column| run.pairs_at(column, Moment::End));
    let (main, assistant, interaction) = (main?, assistant?, interaction?);
    let of = |pairs: &[PairObservation]| {
        Disparity::of(pairs, &settings).map_err(|error| Missing(error.to_string()))
    };
    let difference = Disparity::change(&assistant, &main, &settings);
    Ok(Attributed {
        step: run.end().unwrap_or(0),
        by_main: of(&main)?,
        by_assistant: of(&assistant)?,
        difference: difference.map_err(|error| Missing(error.to_string()))?,
        interaction: of(&interaction)?,
    })
}

/// The course of n_matches over the milestones; None where it was not measured.
pub fn course(run: &RecordedRun) -> Option<Course> {
    let observed = run.observations(N_MATCHES);
    observed.first_key_value()?;
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
    let gaps = observed.values().map(|now| Disparity::of(now, &settings));
    Some(Course {
        steps: observed.keys().copied().collect(),
        gaps: gaps.collect::<Result<_, _>>().ok()?,
        groups: [alone(|pair| pair.female)?, alone(|pair| pair.male)?],
        since_start: since_start(&observed, &settings),
    })
}

fn since_start(
    observed: &BTreeMap<u64, Vec<PairObservation>>,
    settings: &Settings,
) -> Option<SinceStart> {
    let start = observed.get(&0)?;
    let of = |now: &Vec<PairObservation>| Disparity::change(start, now, settings);
    let moved: Vec<Vec<f64>> = (observed.values())
        .map(|now| changes(start, now).map(|pairs| differences(&pairs)))
        .collect::<Result<_, _>>()
        .ok()?;
    let columns: Vec<&[f64]> = moved.iter().map(Vec::as_slice).collect();
    Some(SinceStart {
        changes: observed.values().map(of).collect::<Result<_, _>>().ok()?,
        bands: simultaneous_bands(
            &columns,
            &clusters(start),
            settings.draws,
            settings.seed,
            settings.level,
        ),
    })
}
