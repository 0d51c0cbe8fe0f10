//! Values at the start and at the end of a run. A value that was not measured there is replaced by the reason.

use super::{RecordedContrast, RecordedRun};
use crate::statistics::observation::{Observation, observations};

/// One of the two moments between which a change is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Step 0.
    Start,
    /// The last step of a run that is over.
    End,
}

/// Why there is no value at a moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Missing(pub String);

/// A value at a moment, or why there is none.
pub type At<T> = Result<T, Missing>;

impl RecordedRun {
    /// The source of a tag or a column, even if it was never reported.
    fn reporter(&self, name: &str) -> Option<&str> {
        let reported = self.reporters.get(name).map(String::as_str);
        let mut hooks = self.hooks.iter();
        let declares = hooks.find(|hook| hook.shows.has(name));
        let declares = declares.map(|hook| hook.name.as_str());
        let of_the_gap = self.gap_hook().filter(|_| name == self.n_matches());
        reported
            .or(declares)
            .or(of_the_gap.map(|hook| hook.name.as_str()))
    }

    /// The step of a moment, or why there is none.
    fn step(&self, moment: Moment) -> At<u64> {
        match (moment, self.end()) {
            (Moment::Start, _) => Ok(0),
            (Moment::End, Some(0)) => Err(Missing("the run has done no step".to_owned())),
            (Moment::End, Some(step)) => Ok(step),
            (Moment::End, None) => {
                Err(Missing("the run is under way, or it was killed".to_owned()))
            }
        }
    }

    /// The step and value of a tag at a moment.
    ///
    /// # Errors
    /// The reason why there is none.
    pub fn at(&self, tag: &str, moment: Moment) -> At<(u64, f64)> {
        if self.by_batch.contains(tag) {
            let message = "measured by batch, not by step";
            return Err(Missing(message.to_owned()));
        }
        let mut changes = self.hooks.iter().flat_map(|hook| &hook.shows.changes);
        if let Some((_, of)) = changes.find(|(change, of)| tag.starts_with(change) && tag != of) {
            self.at(of, Moment::Start)?;
        }
        let step = self.step(moment)?;
        let points = self.scalars.get(tag).map_or(&[][..], Vec::as_slice);
        let found = points.iter().rfind(|(at, _)| *at == step);
        found.copied().ok_or_else(|| {
            let measured: Vec<u64> = points.iter().map(|(step, _)| *step).collect();
            self.why(moment, step, self.reporter(tag), &measured)
        })
    }

    /// The change of a tag from start to end.
    ///
    /// # Errors
    /// The reason why there is no value at one of the two.
    pub fn change(&self, tag: &str) -> At<f64> {
        let (start, end) = (self.at(tag, Moment::Start)?, self.at(tag, Moment::End)?);
        Ok(end.1 - start.1)
    }

    /// The observations of a column in a contrast, at a moment.
    ///
    /// # Errors
    /// The reason why there is none.
    pub fn observed_at(
        &self,
        contrast: &RecordedContrast,
        column: &str,
        moment: Moment,
    ) -> At<Vec<Observation>> {
        let values = self.values_at(column, moment)?;
        // Reading the run has refused rows beyond the values.
        Ok(observations(&contrast.units, values).unwrap_or_default())
    }

    /// The values of a column at a moment, one for each prompt.
    ///
    /// # Errors
    /// The reason why there is none.
    pub fn values_at(&self, column: &str, moment: Moment) -> At<&[f64]> {
        let step = self.step(moment)?;
        let steps = self.columns.get(column);
        let found = steps.and_then(|steps| steps.get(&step));
        found.map(Vec::as_slice).ok_or_else(|| {
            let measured: Vec<u64> = steps
                .into_iter()
                .flat_map(|all| all.keys())
                .copied()
                .collect();
            self.why(moment, step, self.reporter(column), &measured)
        })
    }

    /// The reason why a hook has no value at a moment, given the steps at which it has values.
    fn why(&self, moment: Moment, step: u64, hook: Option<&str>, measured: &[u64]) -> Missing {
        let name = match moment {
            Moment::Start => "start",
            Moment::End => "end",
        };
        let failures = self.failures.iter();
        let failures = failures.filter(|failure| Some(&*failure.name) == hook);
        // A hook that was switched off failed earlier and was not called since.
        let failure = match moment {
            Moment::Start => failures.clone().find(|failure| failure.step == 0),
            Moment::End => failures
                .filter(|failure| failure.step <= step)
                .rfind(|failure| measured.last().is_none_or(|last| failure.step > *last)),
        };
        Missing(match (failure, moment) {
            (Some(failure), _) => format!(
                "not measured at the {name}: hook `{}` failed at step {}",
                failure.name, failure.step
            ),
            (None, Moment::Start) if !measured.is_empty() => {
                format!("first measured at step {}", measured[0])
            }
            (None, Moment::End) if !measured.is_empty() => {
                format!("last measured at step {}", measured[measured.len() - 1])
            }
            _ => format!("not measured at the {name}"),
        })
    }
}
