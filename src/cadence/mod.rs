//! When a hook is due: a small grammar, parsed and checked before the run.
//!
//! ```text
//! start | end
//! every step | every 50 steps | every epoch | every 2 epochs | every 10%
//! every 1M tokens | every 1000 samples | every 5 min | every hour
//! budget 5%                             as often as keeps hooks at that share of the wall time
//! log2 steps                            1, 2, 4, 8, ...
//! steps 1, 10, 100
//! ... from step 100 until step 1000     a window on any clause that repeats, both ends included
//! ```
//!
//! A list of clauses means any of them. All except `start`, `end` and `every epoch` are due at the end of the step in which their count
//! crosses a multiple of the interval. So an interval smaller than a step fires once a step, and none is ever skipped. A time that passes
//! between two checks, while a checkpoint is saved or a hook runs, is due at the next check. A `budget` depends on what the hooks that have
//! one have cost so far, so only hooks can have it.

mod parse;
mod place;
mod planned;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

pub use self::place::Place;
use crate::clock::{Clock, Extent};

/// Why a clause is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CadenceError {
    /// What is wrong.
    pub message: String,
    /// Where in the clause, in bytes.
    pub span: Range<usize>,
    /// What was probably meant, or what is allowed.
    pub help: Option<String>,
}

/// A moment at which cadences are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before the first step.
    Start,
    /// At the end of a step.
    Step,
    /// At the end of an epoch.
    EpochEnd,
    /// At the end of the run.
    End,
}

/// The time that hooks with a budget have taken so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// The time of all their calls.
    pub total: Duration,
    /// The time of their last calls.
    pub last: Duration,
}

/// When something is due: whenever any of its clauses is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cadence {
    clauses: Vec<Clause>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Clause {
    rule: Rule,
    from: Option<u64>,
    until: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Start,
    End,
    Steps(u64),
    Epochs(u64),
    /// Percent of the run's steps as a fraction: `numerator / denominator` percent, where the denominator is the smallest power of ten that
    /// fits.
    Percent {
        numerator: u64,
        denominator: u64,
    },
    Tokens(u64),
    Samples(u64),
    Time(Duration),
    /// Percent of the wall time, as in `Percent`.
    Budget {
        numerator: u64,
        denominator: u64,
    },
    Log2,
    Set(Vec<u64>),
}

impl Cadence {
    /// Parses a cadence from clauses, each in the module's grammar.
    ///
    /// # Errors
    /// The index of the first clause that is not understood, and why. An empty list is an error of clause 0.
    pub fn parse<S: AsRef<str>>(clauses: &[S]) -> Result<Self, (usize, CadenceError)> {
        if clauses.is_empty() {
            let error = CadenceError {
                message: "an empty list is never due".to_owned(),
                span: 0..0,
                help: Some("name at least one clause, such as \"every 10%\"".to_owned()),
            };
            return Err((0, error));
        }
        let clauses = clauses
            .iter()
            .enumerate()
            .map(|(index, text)| parse::clause(text.as_ref()).map_err(|error| (index, error)));
        Ok(Self {
            clauses: clauses.collect::<Result<_, _>>()?,
        })
    }

    /// Whether it is due. `before` is the clock at the end of the previous step, with the elapsed time at which this cadence was last
    /// checked; `now` is the current clock.
    pub fn due(&self, moment: Moment, before: &Clock, now: &Clock, extent: &Extent) -> bool {
        let mut clauses = self.clauses.iter();
        clauses.any(|clause| clause.due(moment, before, now, extent))
    }

    /// Whether a budget allows another milestone at the end of this step. It does when the time spent so far plus half of the last
    /// milestone's fits into the share of the wall time, so that the share is kept to within half a milestone.
    pub fn within_budget(&self, now: &Clock, spent: Spent) -> bool {
        self.clauses.iter().any(|clause| match clause.rule {
            Rule::Budget {
                numerator,
                denominator,
            } if clause.in_window(now.step.0) => {
                let share = share(numerator, denominator);
                (spent.total + spent.last / 2).as_secs_f64() <= share * now.elapsed.as_secs_f64()
            }
            _ => false,
        })
    }

    /// The share of the wall time that a budget allows, from 0 to 1; of several, the largest. None without a budget.
    pub fn budget(&self) -> Option<f64> {
        let shares = self.clauses.iter().filter_map(|clause| match clause.rule {
            Rule::Budget {
                numerator,
                denominator,
            } => Some(share(numerator, denominator)),
            _ => None,
        });
        shares.max_by(f64::total_cmp)
    }

    /// Whether any clause is a budget.
    pub fn by_budget(&self) -> bool {
        self.budget().is_some()
    }

    /// Whether any clause depends on wall time; a budget does.
    pub fn by_time(&self) -> bool {
        let mut clauses = self.clauses.iter();
        clauses.any(|clause| matches!(clause.rule, Rule::Time(_) | Rule::Budget { .. }))
    }

    /// The clauses in canonical form.
    pub fn clauses(&self) -> Vec<String> {
        self.clauses.iter().map(Clause::to_string).collect()
    }
}

impl FromStr for Cadence {
    type Err = CadenceError;

    /// Parses a cadence of one clause.
    fn from_str(clause: &str) -> Result<Self, CadenceError> {
        let clauses = vec![parse::clause(clause)?];
        Ok(Self { clauses })
    }
}

impl fmt::Display for Cadence {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.clauses().join(", or "))
    }
}

impl Clause {
    fn in_window(&self, step: u64) -> bool {
        self.from.is_none_or(|from| step >= from) && self.until.is_none_or(|to| step <= to)
    }

    fn due(&self, moment: Moment, before: &Clock, now: &Clock, extent: &Extent) -> bool {
        let step = now.step.0;
        if !self.in_window(step) {
            return false;
        }
        let crosses = |before: u64, now: u64, every: u64| now / every > before / every;
        match (&self.rule, moment) {
            (Rule::Start, Moment::Start) | (Rule::End, Moment::End) => true,
            (Rule::Set(steps), Moment::Start) => steps.contains(&0),
            (Rule::Epochs(every), Moment::EpochEnd) => now.epoch.0.is_multiple_of(*every),
            (rule, Moment::Step) => match rule {
                Rule::Steps(every) => crosses(before.step.0, step, *every),
                Rule::Tokens(every) => crosses(before.tokens.0, now.tokens.0, *every),
                Rule::Samples(every) => crosses(before.samples.0, now.samples.0, *every),
                Rule::Time(every) => {
                    let count = |time: Duration| time.as_nanos() / every.as_nanos();
                    count(now.elapsed) > count(before.elapsed)
                }
                Rule::Percent {
                    numerator,
                    denominator,
                } => {
                    let count = |step: u64| {
                        u128::from(step) * 100 * u128::from(*denominator)
                            / (u128::from(*numerator) * u128::from(extent.planned()))
                    };
                    count(step) > count(before.step.0)
                }
                Rule::Log2 => step.is_power_of_two(),
                Rule::Set(steps) => steps.contains(&step),
                Rule::Start | Rule::End | Rule::Epochs(_) | Rule::Budget { .. } => false,
            },
            _ => false,
        }
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.rule {
            Rule::Start => write!(f, "start")?,
            Rule::End => write!(f, "end")?,
            Rule::Steps(1) => write!(f, "every step")?,
            Rule::Steps(every) => write!(f, "every {every} steps")?,
            Rule::Epochs(1) => write!(f, "every epoch")?,
            Rule::Epochs(every) => write!(f, "every {every} epochs")?,
            Rule::Percent {
                numerator,
                denominator,
            } => write!(f, "every {}%", decimal(*numerator, *denominator))?,
            Rule::Tokens(every) => write!(f, "every {every} tokens")?,
            Rule::Samples(every) => write!(f, "every {every} samples")?,
            Rule::Time(every) => {
                let seconds = every.as_secs();
                let (unit, length) = match seconds {
                    hours if hours.is_multiple_of(3600) => ("h", 3600),
                    minutes if minutes.is_multiple_of(60) => ("min", 60),
                    _ => ("s", 1),
                };
                write!(f, "every {} {unit}", seconds / length)?;
            }
            Rule::Budget {
                numerator,
                denominator,
            } => write!(f, "budget {}%", decimal(*numerator, *denominator))?,
            Rule::Log2 => write!(f, "log2 steps")?,
            Rule::Set(steps) => {
                let steps: Vec<String> = steps.iter().map(u64::to_string).collect();
                write!(f, "steps {}", steps.join(", "))?;
            }
        }
        if let Some(from) = self.from {
            write!(f, " from step {from}")?;
        }
        if let Some(until) = self.until {
            write!(f, " until step {until}")?;
        }
        Ok(())
    }
}

/// `numerator / denominator` percent as a share.
fn share(numerator: u64, denominator: u64) -> f64 {
    numerator as f64 / (100 * denominator) as f64
}

/// `numerator / denominator` in decimal. The denominator is a power of ten.
fn decimal(numerator: u64, denominator: u64) -> String {
    let whole = numerator / denominator;
    let digits = denominator.ilog10() as usize;
    match digits {
        0 => whole.to_string(),
        _ => format!("{whole}.{:0digits$}", numerator % denominator),
    }
}
