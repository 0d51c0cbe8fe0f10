//! A study: arms of runs that differ from a baseline in one thing each, and what that thing changes.

mod json;
mod page;
mod placebo;
mod summary;
mod tables;
mod words;

pub use self::json::json;
pub use self::page::page;
pub use self::placebo::Placebo;
pub use self::summary::{AboutArm, Summary, Text};
pub use self::words::words;
use super::gap::margin;
use super::pooling::{Estimate, Pooled, estimates, moved, pool_contrast};
use super::record::{RecordedContrast, RecordedRun};
use crate::statistics::family::holm;
use crate::statistics::observation::{Contributions, changes};

/// An arm of a study with its runs, one a seed.
#[derive(Debug)]
pub struct Arm<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it sets, as `--set` takes it.
    pub sets: &'a [String],
    /// Its runs that are over.
    pub runs: Vec<&'a RecordedRun>,
}

/// What a study says of one contrast.
#[derive(Debug)]
pub struct Outcome {
    /// The contrast.
    pub contrast: RecordedContrast,
    /// The smallest effect of interest, n_matches a prompt: the margin of the baseline's hook, in the run where it is smallest. None where
    /// the baseline's runs cannot be pooled.
    pub margin: Option<f64>,
    /// Each arm in the order of the study, the baseline among them.
    pub arms: Vec<ArmOutcome>,
}

impl Outcome {
    /// The indices of the arms, sorted by what they change beyond the baseline, which is itself the 0. Arms that cannot be compared come
    /// last.
    pub fn ranked(&self) -> Vec<usize> {
        let place = |arm: &ArmOutcome| match &arm.beyond {
            None => (0, 0.0),
            Some(Ok(beyond)) => (0, beyond.over_all.value),
            Some(Err(_)) => (1, 0.0),
        };
        let mut order: Vec<usize> = (0..self.arms.len()).collect();
        order.sort_by(|&one, &other| {
            let (one, other) = (place(&self.arms[one]), place(&self.arms[other]));
            one.0.cmp(&other.0).then(one.1.total_cmp(&other.1))
        });
        order
    }
}

/// What an arm did to the gap of n_matches in a contrast.
#[derive(Debug)]
pub struct ArmOutcome {
    /// The arm's name.
    pub name: String,
    /// The change of the gap from start to end, pooled over the seeds; or why there is none.
    pub change: Result<Pooled, String>,
    /// The arm's change less the baseline's; or why there is none. None for the baseline itself.
    pub beyond: Option<Result<Beyond, String>>,
    /// The arm's change less that without training; or why there is none. None for the placebo itself, where the placebo is the baseline,
    /// and where there is no placebo.
    pub beyond_placebo: Option<Result<Beyond, String>>,
}

/// Adjusted p-values up to this one are taken as shown.
const LEVEL: f64 = 0.05;

/// What is known of an arm's difference from the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// It is shown to differ.
    Shown,
    /// It is shown to differ, and to differ by less than the smallest effect of interest.
    Small,
    /// It is shown to differ by less than the smallest effect of interest, if at all.
    Excluded,
    /// Neither is shown.
    Open,
}

impl Finding {
    /// Its name in `study.json` and on the page.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shown => "shown",
            Self::Small => "shown, but small",
            Self::Excluded => "excluded",
            Self::Open => "open",
        }
    }
}

/// The change of the gap in an arm less that in another, seed by seed and unit by unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Beyond {
    /// The seeds that both have.
    pub seeds: Vec<u64>,
    /// For each seed, the difference.
    pub by_seed: Vec<f64>,
    /// The mean difference, with Student's t over the seeds.
    pub over_seeds: Estimate,
    /// The mean difference over seeds, identities and templates at once.
    pub over_all: Estimate,
    /// The p-value of `over_all`, by Holm's adjustment for all arms and contrasts that are set against the same arm.
    pub adjusted_p_value: f64,
    /// The p-value of the hypothesis that the difference is at least the smallest effect of interest, by two one-sided tests.
    pub equivalence_p_value: f64,
    /// That p-value by Holm's adjustment, as above.
    pub adjusted_equivalence_p_value: f64,
}

impl Beyond {
    /// What is known of the difference.
    pub fn finding(&self) -> Finding {
        let differs = self.differs();
        let small = self.adjusted_equivalence_p_value <= LEVEL;
        match (differs, small) {
            (true, false) => Finding::Shown,
            (true, true) => Finding::Small,
            (false, true) => Finding::Excluded,
            (false, false) => Finding::Open,
        }
    }

    /// Whether a difference is shown.
    pub fn differs(&self) -> bool {
        self.adjusted_p_value <= LEVEL
    }
}

/// Compares each arm with the baseline, and with the arm without training where there is one, in each contrast that the baseline's runs
/// have. `baseline` is an index into `arms`.
///
/// # Errors
/// When the baseline has no run.
pub fn outcomes(arms: &[Arm], baseline: usize) -> Result<Vec<Outcome>, String> {
    let base = &arms[baseline];
    let Some(first) = base.runs.first() else {
        return Err(format!(
            "no run of the baseline `{}` is over: nothing to compare with",
            base.name
        ));
    };
    let placebo = arms.iter().position(placebo::is_placebo);
    let placebo = placebo.filter(|placebo| *placebo != baseline);
    let mut outcomes: Vec<Outcome> = (first.contrasts.iter())
        .map(|contrast| outcome(arms, baseline, placebo, contrast))
        .collect();
    adjust(&mut outcomes, |arm| arm.beyond.as_mut());
    adjust(&mut outcomes, |arm| arm.beyond_placebo.as_mut());
    Ok(outcomes)
}

/// Holm's adjustment of one comparison in all arms and contrasts.
fn adjust(
    outcomes: &mut [Outcome],
    of: impl Fn(&mut ArmOutcome) -> Option<&mut Result<Beyond, String>>,
) {
    let arms = outcomes.iter_mut().flat_map(|outcome| &mut outcome.arms);
    let mut compared: Vec<&mut Beyond> = arms.filter_map(|arm| of(arm)?.as_mut().ok()).collect();
    let p_values: Vec<f64> = (compared.iter()).map(|one| one.over_all.p_value).collect();
    let equivalence: Vec<f64> = (compared.iter())
        .map(|one| one.equivalence_p_value)
        .collect();
    let adjusted = holm(&p_values).into_iter().zip(holm(&equivalence));
    for (one, (p_value, equivalence)) in compared.iter_mut().zip(adjusted) {
        one.adjusted_p_value = p_value;
        one.adjusted_equivalence_p_value = equivalence;
    }
}

fn outcome(
    arms: &[Arm],
    baseline: usize,
    placebo: Option<usize>,
    contrast: &RecordedContrast,
) -> Outcome {
    let changes = arms.iter().map(|arm| {
        if arm.runs.is_empty() {
            return Err("no run of it is over".to_owned());
        }
        let pooled = pool_contrast(&arm.runs, contrast);
        pooled.map_err(|error| error.to_string())
    });
    let changes: Vec<Result<Pooled, String>> = changes.collect();
    let margin = (changes[baseline].as_ref().ok())
        .and_then(|pooled| smallest_of_interest(&arms[baseline], pooled));
    let against = |index: usize, other: usize| {
        (index != other).then(|| beyond(&arms[index], &arms[other], contrast, margin))
    };
    let outcomes = (changes.into_iter().enumerate()).map(|(index, change)| ArmOutcome {
        name: arms[index].name.to_owned(),
        change,
        beyond: against(index, baseline),
        beyond_placebo: placebo.and_then(|placebo| against(index, placebo)),
    });
    Outcome {
        arms: outcomes.collect(),
        margin,
        contrast: contrast.clone(),
    }
}

/// The smallest of the runs' margins.
fn smallest_of_interest(arm: &Arm, pooled: &Pooled) -> Option<f64> {
    let margins = pooled.changes.iter().filter_map(|(name, gap)| {
        let run = arm.runs.iter().find(|run| run.name() == *name)?;
        Some(margin(run, &gap.before))
    });
    margins.reduce(f64::min)
}

/// The arm's change less that of another, over the seeds that both have.
fn beyond(
    arm: &Arm,
    base: &Arm,
    contrast: &RecordedContrast,
    margin: Option<f64>,
) -> Result<Beyond, String> {
    let (mut used, mut by_seed) = (Vec::new(), Vec::new());
    let (mut seeds, mut all) = (Vec::new(), Contributions::default());
    for run in &arm.runs {
        let Some(twin) = base.runs.iter().find(|twin| twin.seed() == run.seed()) else {
            continue;
        };
        if run.end() != twin.end() {
            return Err(format!(
                "{} and {} ended at different steps",
                run.name(),
                twin.name()
            ));
        }
        let (Ok(moved), Ok(base)) = (moved(run, contrast), moved(twin, contrast)) else {
            continue;
        };
        let units = changes(&base, &moved).map_err(|error| error.to_string())?;
        let column = Contributions::of(&units);
        by_seed.push(column.gap());
        seeds.extend(std::iter::repeat_n(used.len(), column.values.len()));
        used.push(run.seed());
        all.extend(column);
    }
    if used.len() < 2 {
        return Err(format!(
            "{} of its seeds can be compared with those of `{}`, and two are needed",
            used.len(),
            base.name
        ));
    }
    let clusters = all.clusters_over(seeds);
    let [over_seeds, over_all] = estimates(&by_seed, &clusters, &all.values);
    let equivalence = margin.map_or(1.0, |margin| over_all.equivalence_p_value(margin));
    Ok(Beyond {
        seeds: used,
        by_seed,
        over_seeds,
        over_all,
        adjusted_p_value: over_all.p_value,
        equivalence_p_value: equivalence,
        adjusted_equivalence_p_value: equivalence,
    })
}
