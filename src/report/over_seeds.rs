//! What runs that differ in their seeds have at their ends.

use super::record::{Moment, RecordedRun};

/// A run that is not pooled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The run's name.
    pub run: String,
    /// Why it is not pooled.
    pub reason: String,
}

/// The values of some tags at the end of each run that has all of them.
pub(super) struct Ends {
    /// For each of these runs its values, in the order of the tags.
    pub values: Vec<Vec<f64>>,
    /// The runs that lack one, or that have the seed of a run before them.
    pub left_out: Vec<LeftOut>,
}

impl Ends {
    pub fn of(runs: &[&RecordedRun], tags: &[String]) -> Self {
        let (mut pooled, mut values, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
        for run in runs {
            match own(run, &pooled, tags) {
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

    /// A sum of values for each run.
    pub fn sums(&self, of: impl Fn(&[f64]) -> f64) -> Vec<f64> {
        self.values.iter().map(|values| of(values)).collect()
    }
}

/// The values of a run, or why it cannot be pooled with those before it.
fn own(run: &RecordedRun, before: &[&RecordedRun], tags: &[String]) -> Result<Vec<f64>, String> {
    let values = tags.iter().map(|tag| {
        let point = run.at(tag, Moment::End);
        point.map(|point| point.1).map_err(|why| why.to_string())
    });
    let values = values.collect::<Result<_, _>>()?;
    match before.iter().find(|other| other.seed() == run.seed()) {
        Some(twin) => Err(format!(
            "its seed, {}, is also that of {}: the same result would count twice",
            run.seed(),
            twin.name()
        )),
        None => Ok(values),
    }
}
