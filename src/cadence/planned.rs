//! The steps at which a cadence is due in a run that goes as planned. They are found one after the other, by jumps, so that a run of a
//! thousand million steps is looked at as fast as a short one.

use super::{Cadence, Clause, Rule};
use crate::clock::{Extent, Step};

/// Which moments count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moments {
    /// All: the start, the ends of steps, of epochs and of the run.
    All,
    /// The ends of steps as such.
    StepEnds,
}

impl Cadence {
    /// The steps at which it is due, each once, ascending; 0 is the start. Clauses of wall time are left out: nobody knows.
    pub fn firings<'a>(&'a self, extent: &'a Extent) -> impl Iterator<Item = Step> + 'a {
        let next = |step: &Step| self.next_firing(Step(step.0 + 1), extent);
        std::iter::successors(self.next_firing(Step(0), extent), next)
    }

    /// The first of them that is not before `from`.
    pub fn next_firing(&self, from: Step, extent: &Extent) -> Option<Step> {
        self.next(from, extent, Moments::All)
    }

    /// The first step, not before `from`, at whose end it is due by a clause that goes by steps, samples, tokens or percent.
    pub(crate) fn next_step_end(&self, from: Step, extent: &Extent) -> Option<Step> {
        self.next(from, extent, Moments::StepEnds)
    }

    /// Whether it cannot be due once in the whole run.
    pub fn never_fires(&self, extent: &Extent) -> bool {
        !self.by_time() && self.next_firing(Step(0), extent).is_none()
    }

    fn next(&self, from: Step, extent: &Extent, moments: Moments) -> Option<Step> {
        let clauses = self.clauses.iter();
        let next = clauses.filter_map(|clause| clause.next(from.0, extent, moments));
        next.min().map(Step)
    }
}

impl Clause {
    fn next(&self, from: u64, extent: &Extent, moments: Moments) -> Option<u64> {
        let all = moments == Moments::All;
        let first = from.max(self.from.unwrap_or(0)).max(u64::from(!all));
        let last = extent.steps().min(self.until.unwrap_or(u64::MAX));
        let found = match &self.rule {
            Rule::Start => Some(0).filter(|_| all),
            Rule::End => Some(extent.steps()).filter(|_| all),
            Rule::Set(steps) => {
                let before = steps.partition_point(|&step| step < first);
                steps.get(before).copied()
            }
            Rule::Epochs(_) if !all => None,
            Rule::Time(_) | Rule::Budget { .. } => None,
            rule => first_rise(first.max(1), last, &|step| rule.count(step, extent)),
        };
        found.filter(|step| (first..=last).contains(step))
    }
}

impl Rule {
    /// How many times it has been due after so many steps, or more exactly: a number that rises in the steps in which it is due.
    fn count(&self, step: u64, extent: &Extent) -> u128 {
        let clock = || extent.clock_after(Step(step));
        match self {
            Self::Steps(every) => (step / every).into(),
            Self::Epochs(every) => (clock().epoch.0 / every).into(),
            Self::Tokens(every) => (clock().tokens.0 / every).into(),
            Self::Samples(every) => (clock().samples.0 / every).into(),
            Self::Percent {
                numerator,
                denominator,
            } => {
                let part = u128::from(step) * 100 * u128::from(*denominator);
                part / (u128::from(*numerator) * u128::from(extent.steps()))
            }
            Self::Log2 => (u64::BITS - step.leading_zeros()).into(),
            Self::Start | Self::End | Self::Set(_) | Self::Time(_) | Self::Budget { .. } => 0,
        }
    }
}

/// The first step from `first` to `last` after which `count`, which never falls, is more than before `first`.
fn first_rise(first: u64, last: u64, count: &dyn Fn(u64) -> u128) -> Option<u64> {
    if first > last {
        return None;
    }
    let mut low = first - 1;
    let before = count(low);
    // In strides that double, to a step behind the rise; then by halves.
    let mut stride = 1;
    let mut high = loop {
        let next = low.saturating_add(stride).min(last);
        if count(next) > before {
            break next;
        }
        if next == last {
            return None;
        }
        low = next;
        stride = stride.saturating_mul(2);
    };
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if count(middle) > before {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high)
}
