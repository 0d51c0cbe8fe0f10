//! Pooling of runs that differ only in their seeds.

use super::gap::{Gap, Incomplete, gap_of};
use super::record::{Moment, RecordedContrast, RecordedError, RecordedRun};
use crate::statistics::clusters::{Clusters, StandardError};
use crate::statistics::equivalence::equivalence_p_value;
use crate::statistics::observation::{Contributions, Observation, changes};

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
    /// The standard error.
    pub error: StandardError,
}

impl Estimate {
    /// Whether the interval excludes 0, so that a change is shown.
    pub fn is_shown(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }

    /// As files have a mean over seeds.
    pub fn as_json(&self) -> serde_json::Value {
        serde_json::json!({ "mean": self.value, "low": self.low, "high": self.high, "p_value": self.p_value })
    }

    /// The p-value of the hypothesis that the mean is at least `margin` away from 0.
    pub fn equivalence_p_value(&self, margin: f64) -> f64 {
        equivalence_p_value(self.value, &self.error, margin)
    }
}

/// The pooled change of one contrast, over several runs of one experiment with different seeds.
#[derive(Debug, Clone)]
pub struct Pooled {
    /// The contrast.
    pub contrast: RecordedContrast,
    /// Each run's name and its gap of n_matches.
    pub changes: Vec<(String, Gap)>,
    /// The runs without that gap at start or end, which are left out.
    pub left_out: Vec<(String, Incomplete)>,
    /// The mean change, with Student's t over the runs: what other seeds would do with these very prompts.
    pub over_seeds: Estimate,
    /// The mean change over seeds, identities and templates at once: what other seeds would do with other prompts. Its interval is never
    /// narrower than that over seeds alone.
    pub over_all: Estimate,
}

/// Groups runs whose settings differ in nothing but the seed. Each group has a label with the settings in which it differs from the others.
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

/// Pools the change of the gap of n_matches over runs, for each contrast of the first run. Runs that lack the gap at the start or at the
/// end are left out and named.
///
/// # Errors
/// When fewer than two runs are left, when two runs have the same seed, or when runs were measured on different prompts or ended at
/// different steps.
pub fn pool(runs: &[&RecordedRun]) -> Result<Vec<Pooled>, RecordedError> {
    let contrasts = runs.first().map_or(&[][..], |run| &run.contrasts);
    contrasts
        .iter()
        .map(|contrast| pool_contrast(runs, contrast))
        .collect()
}

pub(super) fn pool_contrast(
    runs: &[&RecordedRun],
    contrast: &RecordedContrast,
) -> Result<Pooled, RecordedError> {
    let (mut pooled, mut left_out): (Vec<(&RecordedRun, Gap)>, Vec<_>) = (Vec::new(), Vec::new());
    for run in runs {
        match gap_of(run, own(run, contrast)?, &run.n_matches()) {
            Ok(gap) => pooled.push((run, gap)),
            Err(lacking) => left_out.push((run.name(), *lacking)),
        }
    }
    check(&pooled)?;
    if pooled.len() < 2 {
        return Err(too_few(runs, &left_out));
    }
    let (mut seeds, mut all) = (Vec::new(), Contributions::default());
    for (index, (run, _)) in pooled.iter().enumerate() {
        let moved = Contributions::of(&moved(run, contrast)?);
        seeds.extend(std::iter::repeat_n(index, moved.values.len()));
        all.extend(moved);
    }
    let clusters = all.clusters_over(seeds);
    let changes = pooled.iter().map(|(_, gap)| gap.change.difference);
    let [over_seeds, over_all] = estimates(&changes.collect::<Vec<_>>(), &clusters, &all.values);
    let changes = pooled.into_iter().map(|(run, gap)| (run.name(), gap));
    Ok(Pooled {
        contrast: contrast.clone(),
        changes: changes.collect(),
        left_out,
        over_seeds,
        over_all,
    })
}

/// How n_matches of each unit of a contrast moved in a run from start to end.
///
/// # Errors
/// When the run was measured on other prompts, or not at both.
pub(super) fn moved(
    run: &RecordedRun,
    contrast: &RecordedContrast,
) -> Result<Vec<Observation>, RecordedError> {
    let missing = |message: String| RecordedError::Missing {
        path: run.path.clone(),
        message,
    };
    let contrast = own(run, contrast)?;
    let at = |moment| {
        let observed = run.observed_at(contrast, &run.n_matches(), moment);
        observed.map_err(|why| missing(why.to_string()))
    };
    let moved = changes(&at(Moment::Start)?, &at(Moment::End)?);
    moved.map_err(|error| missing(error.to_string()))
}

/// The run's contrast with the same name and prompts.
pub(super) fn own<'a>(
    run: &'a RecordedRun,
    contrast: &RecordedContrast,
) -> Result<&'a RecordedContrast, RecordedError> {
    let found = run.contrast(&contrast.names.name);
    let found = found.filter(|found| found.words == contrast.words);
    found.ok_or_else(|| RecordedError::Missing {
        path: run.path.clone(),
        message: "it was measured on other matched pairs than the first run".to_owned(),
    })
}

/// Checks that each run has a seed of its own and that all ended at the same step.
fn check(runs: &[(&RecordedRun, Gap)]) -> Result<(), RecordedError> {
    let Some((other, gap)) = runs.first() else {
        return Ok(());
    };
    for (index, (run, its)) in runs.iter().enumerate() {
        let missing = |message: String| RecordedError::Missing {
            path: run.path.clone(),
            message,
        };
        let mut before = runs[..index].iter().map(|(other, _)| other);
        if let Some(twin) = before.find(|other| other.seed() == run.seed()) {
            return Err(missing(format!(
                "its seed, {}, is also that of {}: the same result would count twice",
                run.seed(),
                twin.path.display()
            )));
        }
        if its.steps != gap.steps {
            return Err(missing(format!(
                "it ended at step {}, {} at step {}",
                its.steps[1],
                other.name(),
                gap.steps[1]
            )));
        }
    }
    Ok(())
}

/// The error when there are fewer than two runs to pool.
fn too_few(runs: &[&RecordedRun], left_out: &[(String, Incomplete)]) -> RecordedError {
    let reasons = left_out
        .iter()
        .map(|(name, lacking)| format!("{name}: {}", lacking.reason()));
    let reasons = reasons.collect::<Vec<_>>().join("; ");
    let message = if reasons.is_empty() {
        "a single run: nothing to pool".to_owned()
    } else {
        format!(
            "fewer than two runs have the gap of n_matches at start and end, for which their experiment needs a hook of the kind match-disparity ({reasons})"
        )
    };
    RecordedError::Missing {
        path: runs
            .first()
            .map_or_else(Default::default, |run| run.path.clone()),
        message,
    }
}

/// Two estimates of the mean over runs: with Student's t over the runs' own means, and with the cluster-robust error of `values` in all
/// ways of `clusters` (run, identity, template). The second interval is never narrower than the first: with few runs that vary little, its
/// error can come out too small.
pub fn estimates(per_run: &[f64], clusters: &Clusters, values: &[f64]) -> [Estimate; 2] {
    let over_seeds = over_runs(per_run);
    let over_all = estimate(clusters, values);
    let over_all = if over_all.high - over_all.low < over_seeds.high - over_seeds.low {
        over_seeds
    } else {
        over_all
    };
    [over_seeds, over_all]
}

/// The mean of one value a run, with Student's t over the runs.
pub(super) fn over_runs(values: &[f64]) -> Estimate {
    estimate(&Clusters::new(&[(0..values.len()).collect()]), values)
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
        error,
    }
}
