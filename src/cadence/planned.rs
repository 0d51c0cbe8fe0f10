//! The steps at which a cadence is due in a run that goes as planned. The search jumps from one to the next, so that a run of 10^12 steps
//! takes no longer than a short one.

use super::{Cadence, Clause, Rule};
use crate::clock::{Extent, Step};

/// Which moments a search considers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moments {
    /// All: the start, the ends of steps, of epochs and of the run.
    All,
    /// The ends of steps only.
    StepEnds,
}

impl Cadence {
    /// The steps at which it is due, each once, in ascending order; 0 is the start. Clauses that depend on wall time are left out, since
    /// their steps cannot be known.
    pub fn firings<'a>(&'a self, extent: &'a Extent) -> impl Iterator<Item = Step> + 'a {
        let next = |step: &Step| self.next_firing(Step(step.0 + 1), extent);
        std::iter::successors(self.next_firing(Step(0), extent), next)
    }

    /// The first step, `from` or later, at which it is due. Clauses that depend on wall time are left out.
    pub fn next_firing(&self, from: Step, extent: &Extent) -> Option<Step> {
        self.next(from, extent, Moments::All)
    }

    /// The first step, `from` or later, at whose end it is due by a clause of steps, samples, tokens or percent.
    pub(crate) fn next_step_end(&self, from: Step, extent: &Extent) -> Option<Step> {
        self.next(from, extent, Moments::StepEnds)
    }

    /// Whether it is certain never to be due in the whole run.
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
    /// A number that rises exactly in the steps in which the rule is due; for most rules, how often it was due after `step` steps.
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

/// The first step from `first` to `last` after which `count` is higher than before `first`. `count` must never fall.
fn first_rise(first: u64, last: u64, count: &dyn Fn(u64) -> u128) -> Option<u64> {
    if first > last {
        return None;
    }
    let mut low = first - 1;
    let before = count(low);
    // Strides that double find a step behind the rise; bisection then finds the rise itself.
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
