//! The arm without training. Whatever moves in it, moves for another reason.

use super::Arm;
use crate::report::{Moment, RecordedRun};

/// An arm with learning rate 0: the weights of its runs cannot move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placebo {
    /// Its name.
    pub arm: String,
    /// How many of its runs have n_matches at start and end.
    pub runs: usize,
    /// Of these, the names of those where n_matches of any prompt moved.
    pub moved: Vec<String>,
}

impl Placebo {
    /// The placebos among the arms.
    pub fn among(arms: &[Arm]) -> Vec<Self> {
        let placebos = arms.iter().filter(|arm| is_placebo(arm));
        placebos.map(Self::of).collect()
    }

    fn of(arm: &Arm) -> Self {
        let moved = arm.runs.iter().filter_map(|run| Some((run, moved(run)?)));
        let moved: Vec<(&&RecordedRun, bool)> = moved.collect();
        Self {
            arm: arm.name.to_owned(),
            runs: moved.len(),
            moved: (moved.into_iter())
                .filter(|(_, moved)| *moved)
                .map(|(run, _)| run.name())
                .collect(),
        }
    }
}

/// Whether all runs of an arm have the learning rate 0, and there is one.
pub(super) fn is_placebo(arm: &Arm) -> bool {
    let rate = |run: &RecordedRun| {
        let rate = run.experiment.get("train")?.get("lr")?;
        (rate.as_float()).or_else(|| rate.as_integer().map(|whole| whole as f64))
    };
    !arm.runs.is_empty() && arm.runs.iter().all(|run| rate(run) == Some(0.0))
}

/// Whether n_matches of any prompt moved from start to end. None where it was not measured at both.
fn moved(run: &RecordedRun) -> Option<bool> {
    let at = |moment| run.values_at(&run.n_matches(), moment).ok();
    Some(at(Moment::Start)? != at(Moment::End)?)
}
