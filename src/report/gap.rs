//! The gap between the two groups of a contrast in everything that a run measured prompt by prompt, before and after.

use std::collections::BTreeMap;

use super::record::{At, Missing, Moment, RecordedContrast, RecordedRun};
use crate::measure::decoding::DraftPosition;
use crate::statistics::disparity::{Disparity, Settings};
use crate::statistics::equivalence::SMALL_EFFECT;
use crate::statistics::family::{holm, simultaneous_bands};
use crate::statistics::observation::{Contributions, Observation, SIDES, changes};

/// The kind of hook that tells the two models apart.
const ATTRIBUTION: &str = "attribution";

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
    /// The contrast's name.
    pub contrast: String,
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
    /// The change's two-way p-value, adjusted by Holm for all measures and contrasts of the run.
    pub adjusted_p_value: f64,
}

/// A measure that has no gap at the start or none at the end, and so no change.
#[derive(Debug, Clone)]
pub struct Incomplete {
    /// The contrast's name.
    pub contrast: String,
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
    /// The mean of each group at each, with the ends of its interval.
    pub groups: [Vec<(f64, f64, f64)>; 2],
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
    let hook = options(run);
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

/// The options of the hook that measures the gap.
fn options(run: &RecordedRun) -> Option<&toml::Value> {
    let hooks = run.experiment.get("hooks")?;
    hooks.get(&run.gap_hook()?.name)
}

/// The margin within which a gap counts as none, n_matches a prompt: that of the hook, or a small effect by the deviation at the start.
pub fn margin(run: &RecordedRun, start: &Disparity) -> f64 {
    let given = options(run).and_then(|hook| {
        let margin = hook.get("margin")?;
        margin
            .as_float()
            .or_else(|| margin.as_integer().map(|whole| whole as f64))
    });
    given.unwrap_or(SMALL_EFFECT * start.deviation)
}

/// The gap of one measure in a contrast from start to end.
///
/// # Errors
/// What is there of it, where one of the two is missing.
pub fn gap_of(
    run: &RecordedRun,
    contrast: &RecordedContrast,
    column: &str,
) -> Result<Gap, Box<Incomplete>> {
    let settings = settings(run);
    let missing = |error: &dyn std::fmt::Display| Missing(error.to_string());
    let at = |moment: Moment| -> At<(Vec<Observation>, Disparity)> {
        let observed = run.observed_at(contrast, column, moment)?;
        let gap = Disparity::of(&observed, &settings).map_err(|error| missing(&error))?;
        Ok((observed, gap))
    };
    let incomplete = |before, after| {
        Box::new(Incomplete {
            contrast: contrast.names.name.clone(),
            column: column.to_owned(),
            before,
            after,
        })
    };
    match (at(Moment::Start), at(Moment::End)) {
        (Ok((first, before)), Ok((last, after))) => {
            match Disparity::change(&first, &last, &settings) {
                Ok(change) => Ok(Gap {
                    contrast: contrast.names.name.clone(),
                    column: column.to_owned(),
                    steps: [0, run.end().unwrap_or(0)],
                    before,
                    after,
                    adjusted_p_value: change.two_way_p_value,
                    change,
                }),
                Err(error) => Err(incomplete(Ok(before), Err(missing(&error)))),
            }
        }
        (before, after) => {
            let gap = |side: At<(_, Disparity)>| side.map(|(_, gap)| gap);
            Err(incomplete(gap(before), gap(after)))
        }
    }
}

/// The gaps of every measure that stands in the files per template, contrast by contrast, n_matches first: those from start to end, and those
/// that lack one of the two. Parts of n_matches, by model or by position of the draft, are no measures of their own.
pub fn all_gaps(run: &RecordedRun) -> (Vec<Gap>, Vec<Incomplete>) {
    let n_matches = run.n_matches();
    let mut columns: Vec<&str> = run.columns.keys().map(String::as_str).collect();
    if run.gap_hook().is_some() && !columns.contains(&n_matches.as_str()) {
        columns.push(&n_matches);
    }
    let parts = BY.map(|part| attribution_column(run, part));
    columns.retain(|column| !parts.iter().any(|part| part == column));
    columns.retain(|column| !is_of_a_position(run, column));
    columns.sort_by_key(|column| *column != n_matches);
    let (mut found, mut incomplete) = (Vec::new(), Vec::new());
    for contrast in &run.contrasts {
        for column in &columns {
            match gap_of(run, contrast, column) {
                Ok(gap) => found.push(gap),
                Err(lacking) => incomplete.push(*lacking),
            }
        }
    }
    let p_values: Vec<f64> = found.iter().map(|gap| gap.change.two_way_p_value).collect();
    for (gap, adjusted) in found.iter_mut().zip(holm(&p_values)) {
        gap.adjusted_p_value = adjusted;
    }
    (found, incomplete)
}

/// Whether a column counts what became of the tokens at one position of the drafts.
fn is_of_a_position(run: &RecordedRun, column: &str) -> bool {
    let hook = run
        .gap_hook()
        .filter(|hook| run.reporters.get(column) == Some(&hook.name));
    let own = hook.and_then(|hook| column.strip_prefix(&hook.prefix));
    own.is_some_and(DraftPosition::is_column)
}

/// The gaps of every measure from start to end; n_matches first.
pub fn gaps(run: &RecordedRun) -> Vec<Gap> {
    all_gaps(run).0
}

/// A column of the hook that tells the two models apart.
fn attribution_column(run: &RecordedRun, column: &str) -> String {
    let prefix = run.hook_of(ATTRIBUTION).map_or("", |hook| &hook.prefix);
    format!("{prefix}{column}")
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

/// The attribution of the gap's change in a contrast with its intervals.
///
/// # Errors
/// Why there is none: the hook `attribution` was not asked at the end, or its values are not finite.
pub fn attributed(run: &RecordedRun, contrast: &RecordedContrast) -> At<Attributed> {
    let settings = settings(run);
    let [main, assistant, interaction] = BY.map(|part| {
        let column = attribution_column(run, part);
        run.observed_at(contrast, &column, Moment::End)
    });
    let (main, assistant, interaction) = (main?, assistant?, interaction?);
    let of = |observed: &[Observation]| {
        Disparity::of(observed, &settings).map_err(|error| Missing(error.to_string()))
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

/// The course of n_matches in a contrast over the milestones; None where it was not measured.
pub fn course(run: &RecordedRun, contrast: &RecordedContrast) -> Option<Course> {
    let observed = run.observations(contrast, &run.n_matches());
    observed.first_key_value()?;
    let settings = settings(run);
    let alone = |side: usize| -> Option<Vec<(f64, f64, f64)>> {
        let steps = observed.values();
        steps.map(|now| group_mean(now, side, &settings)).collect()
    };
    let gaps = observed.values().map(|now| Disparity::of(now, &settings));
    Some(Course {
        steps: observed.keys().copied().collect(),
        gaps: gaps.collect::<Result<_, _>>().ok()?,
        groups: [alone(SIDES[0])?, alone(SIDES[1])?],
        since_start: since_start(&observed, &settings),
    })
}

/// The mean of one group with the ends of its interval: the gap between it and nothing.
fn group_mean(
    observed: &[Observation],
    side: usize,
    settings: &Settings,
) -> Option<(f64, f64, f64)> {
    let own = observed.iter().filter_map(|one| {
        let value = one.sides[side]?;
        Some(Observation::pair(one.identity, one.template, value, 0.0))
    });
    let own: Vec<Observation> = own.collect();
    let mean = Disparity::of(&own, settings).ok()?;
    Some((mean.difference, mean.low, mean.high))
}

fn since_start(
    observed: &BTreeMap<u64, Vec<Observation>>,
    settings: &Settings,
) -> Option<SinceStart> {
    let start = observed.get(&0)?;
    let of = |now: &Vec<Observation>| Disparity::change(start, now, settings);
    let moved: Vec<Contributions> = (observed.values())
        .map(|now| changes(start, now).map(|moved| Contributions::of(&moved)))
        .collect::<Result<_, _>>()
        .ok()?;
    let columns: Vec<&[f64]> = moved.iter().map(|one| one.values.as_slice()).collect();
    Some(SinceStart {
        changes: observed.values().map(of).collect::<Result<_, _>>().ok()?,
        bands: simultaneous_bands(
            &columns,
            &moved.first()?.clusters(),
            settings.draws,
            settings.seed,
            settings.level,
        ),
    })
}
