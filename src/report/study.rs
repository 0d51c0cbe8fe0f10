//! A study: arms of runs that differ from a baseline in one thing each, and what that thing changes.

use super::pooling::{Estimate, Pooled, estimates, moved, pool_contrast};
use super::record::{RecordedContrast, RecordedRun};
use crate::statistics::family::holm;
use crate::statistics::observation::{Contributions, changes};

/// An arm of a study with its runs, one a seed.
#[derive(Debug)]
pub struct Arm<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its runs that are over.
    pub runs: Vec<&'a RecordedRun>,
}

/// What a study says of one contrast.
#[derive(Debug)]
pub struct Outcome {
    /// The contrast.
    pub contrast: RecordedContrast,
    /// Each arm in the order of the study, the baseline among them.
    pub arms: Vec<ArmOutcome>,
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
}

/// The change of the gap in an arm less that in the baseline, seed by seed and unit by unit.
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
    /// The p-value of `over_all`, by Holm's adjustment for all arms and contrasts of the study.
    pub adjusted_p_value: f64,
}

/// Compares each arm with the baseline, in each contrast that the baseline's runs have. `baseline` is an index into `arms`.
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
    let mut outcomes: Vec<Outcome> = (first.contrasts.iter())
        .map(|contrast| outcome(arms, baseline, contrast))
        .collect();
    let mut shown: Vec<&mut Beyond> = (outcomes.iter_mut())
        .flat_map(|outcome| &mut outcome.arms)
        .filter_map(|arm| arm.beyond.as_mut()?.as_mut().ok())
        .collect();
    let p_values: Vec<f64> = shown.iter().map(|one| one.over_all.p_value).collect();
    for (one, adjusted) in shown.iter_mut().zip(holm(&p_values)) {
        one.adjusted_p_value = adjusted;
    }
    Ok(outcomes)
}

fn outcome(arms: &[Arm], baseline: usize, contrast: &RecordedContrast) -> Outcome {
    let outcomes = arms.iter().enumerate().map(|(index, arm)| ArmOutcome {
        name: arm.name.to_owned(),
        change: pool_contrast(&arm.runs, contrast).map_err(|error| error.to_string()),
        beyond: (index != baseline).then(|| beyond(arm, &arms[baseline], contrast)),
    });
    Outcome {
        arms: outcomes.collect(),
        contrast: contrast.clone(),
    }
}

/// The arm's change less the baseline's, over the seeds that both have.
fn beyond(arm: &Arm, base: &Arm, contrast: &RecordedContrast) -> Result<Beyond, String> {
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
            "{} of its seeds can be compared with the baseline's, and two are needed",
            used.len()
        ));
    }
    let clusters = all.clusters_over(seeds);
    let [over_seeds, over_all] = estimates(&by_seed, &clusters, &all.values);
    Ok(Beyond {
        seeds: used,
        by_seed,
        over_seeds,
        over_all,
        adjusted_p_value: over_all.p_value,
    })
}
