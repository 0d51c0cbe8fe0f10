//! What runs that differ in their seeds have measured, and which of them are left out.

use serde_json::{Value, json};

use super::record::{Moment, RecordedRun};

/// A run that is not pooled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The run's name.
    pub run: String,
    /// Why it is not pooled.
    pub reason: String,
}

impl LeftOut {
    /// As files have it.
    pub fn as_json(&self) -> Value {
        json!({ "run": self.run, "reason": self.reason })
    }
}

/// Something measured in each run that can be pooled.
pub(super) struct OverSeeds<T> {
    /// What was measured, run by run.
    pub values: Vec<T>,
    /// The runs that lack it, that have the seed of a run before them, or that ended at another step than the first.
    pub left_out: Vec<LeftOut>,
}

impl<T> OverSeeds<T> {
    /// `measured` takes a run, and says why where it lacks something.
    pub fn of(runs: &[&RecordedRun], measured: impl Fn(&RecordedRun) -> Result<T, String>) -> Self {
        let (mut pooled, mut values, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
        for run in runs {
            let own = measured(run).and_then(|own| fits(run, &pooled).map(|()| own));
            match own {
                Ok(own) => {
                    pooled.push(*run);
                    values.push(own);
                }
                Err(reason) => left_out.push(LeftOut {
                    run: run.name(),
                    reason,
                }),
            }
        }
        Self { values, left_out }
    }

    /// A number for each run.
    pub fn each(&self, of: impl Fn(&T) -> f64) -> Vec<f64> {
        self.values.iter().map(of).collect()
    }
}

/// The values of some tags at the end of a run, or why one is missing.
pub(super) fn at_end(run: &RecordedRun, tags: &[String]) -> Result<Vec<f64>, String> {
    let values = tags.iter().map(|tag| {
        let point = run.at(tag, Moment::End);
        point.map(|point| point.1).map_err(|why| why.to_string())
    });
    values.collect()
}

/// Whether a run can be pooled with those before it.
fn fits(run: &RecordedRun, before: &[&RecordedRun]) -> Result<(), String> {
    if let Some(twin) = before.iter().find(|other| other.seed() == run.seed()) {
        return Err(format!(
            "its seed, {}, is also that of {}: the same result would count twice",
            run.seed(),
            twin.name()
        ));
    }
    match (before.first(), run.end()) {
        (Some(first), Some(end)) if first.end() != Some(end) => Err(format!(
            "it ended at step {end}, {} at step {}",
            first.name(),
            first.end().unwrap_or(0)
        )),
        _ => Ok(()),
    }
}

/// The runs that are left out of what has these names, each reason once with all the names that it holds for.
pub fn left_out_of<'a>(
    of: impl Iterator<Item = (&'a str, &'a [LeftOut])>,
) -> Vec<(&'a LeftOut, Vec<&'a str>)> {
    let mut said: Vec<(&LeftOut, Vec<&str>)> = Vec::new();
    for (name, runs) in of {
        for one in runs {
            match said.iter_mut().find(|(known, _)| *known == one) {
                Some((_, names)) => names.push(name),
                None => said.push((one, vec![name])),
            }
        }
    }
    said
}
