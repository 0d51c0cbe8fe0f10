//! Runs that differ in their seeds, taken together.

use super::gap::{Gap, Incomplete, gap_of};
use super::record::{Moment, RecordedContrast, RecordedError, RecordedRun};
use crate::statistics::clusters::Clusters;
use crate::statistics::observation::{Contributions, changes};

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
    /// The contrast.
    pub contrast: RecordedContrast,
    /// Each run's change of the gap of n_matches.
    pub changes: Vec<(String, Gap)>,
    /// The runs without one, which are left out.
    pub left_out: Vec<(String, Incomplete)>,
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

/// Pools the change of the gap of n_matches over runs, contrast by contrast: those of the first run. Runs that lack it at the start or at the end
/// are left out, and named.
///
/// # Errors
/// When fewer than two runs are left, two runs have the same seed, or they were measured on different prompts or ended at different steps.
pub fn pool(runs: &[&RecordedRun]) -> Result<Vec<Pooled>, RecordedError> {
    let contrasts = runs.first().map_or(&[][..], |run| &run.contrasts);
    contrasts
        .iter()
        .map(|contrast| pool_contrast(runs, contrast))
        .collect()
}

fn pool_contrast(
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
        let missing = |message: String| RecordedError::Missing {
            path: run.path.clone(),
            message,
        };
        let at = |moment| {
            let observed = run.observed_at(own(run, contrast)?, &run.n_matches(), moment);
            observed.map_err(|why| missing(why.to_string()))
        };
        let moved = changes(&at(Moment::Start)?, &at(Moment::End)?);
        let moved = moved.map_err(|error| missing(error.to_string()))?;
        let moved = Contributions::of(&moved);
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

/// A run's contrast of that name, over the same prompts.
fn own<'a>(
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

/// Whether runs say the same of other seeds.
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
                "its seed, {}, is that of {}: what it says has been counted already",
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

/// Why there is nothing to pool.
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

/// The mean over runs with Student's t over the runs' own means, and with the cluster-robust error of `values` in all ways of `clusters` (run,
/// identity, template). The second never claims more than the first: where runs vary little and are few, its error can come out too small.
pub fn estimates(per_run: &[f64], clusters: &Clusters, values: &[f64]) -> [Estimate; 2] {
    let over_seeds = estimate(&Clusters::new(&[(0..per_run.len()).collect()]), per_run);
    let over_all = estimate(clusters, values);
    let over_all = if over_all.high - over_all.low < over_seeds.high - over_seeds.low {
        over_seeds
    } else {
        over_all
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
