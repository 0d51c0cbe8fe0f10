//! The steps at which a cadence is due in a run that goes as planned. The search jumps from one to the next, so that a run of 10^12 steps
//! takes no longer than a short one.

use super::{Cadence, Clause, Moment, Rule};
use crate::clock::{Extent, Step};

/// The moments in the order in which a step has them.
const MOMENTS: [Moment; 4] = [Moment::Start, Moment::Step, Moment::EpochEnd, Moment::End];

impl Cadence {
    /// The steps at which it is due, each once, in ascending order; 0 is the start. Clauses that depend on wall time are left out, since
    /// their steps cannot be known.
    pub fn firings<'a>(&'a self, extent: &'a Extent) -> impl Iterator<Item = Step> + 'a {
        let next = |step: &Step| self.next_firing(Step(step.0 + 1), extent);
        std::iter::successors(self.next_firing(Step(0), extent), next)
    }

    /// The first step, `from` or later, at which it is due. Clauses that depend on wall time are left out.
    pub fn next_firing(&self, from: Step, extent: &Extent) -> Option<Step> {
        self.next(from, extent, None)
    }

    /// The first step, `from` or later, at whose end it is due by a clause of steps, samples, tokens or percent.
    pub(crate) fn next_step_end(&self, from: Step, extent: &Extent) -> Option<Step> {
        self.next(from, extent, Some(Moment::Step))
    }

    /// The steps at which it is due at `moment`, in ascending order. None stands for a step at which it was due at an earlier moment
    /// already. Clauses that depend on wall time are left out.
    pub fn firings_at<'a>(
        &'a self,
        moment: Moment,
        extent: &'a Extent,
    ) -> impl Iterator<Item = Option<Step>> + 'a {
        let next = move |from: Step| self.next(from, extent, Some(moment));
        let earlier = move |step: Step| {
            let mut earlier = MOMENTS.iter().take_while(|one| **one != moment);
            earlier.any(|one| self.next(step, extent, Some(*one)) == Some(step))
        };
        let steps = std::iter::successors(next(Step(0)), move |step| next(Step(step.0 + 1)));
        steps.map(move |step| Some(step).filter(|step| !earlier(*step)))
    }

    /// Whether it is certain never to be due in the whole run.
    pub fn never_fires(&self, extent: &Extent) -> bool {
        !self.by_time() && self.next_firing(Step(0), extent).is_none()
    }

    /// The first step, `from` or later, at which it is due at a moment, or at any.
    fn next(&self, from: Step, extent: &Extent, moment: Option<Moment>) -> Option<Step> {
        let clauses = self.clauses.iter();
        let next = clauses.filter_map(|clause| clause.next(from.0, extent, moment));
        next.min().map(Step)
    }
}

impl Clause {
    fn next(&self, from: u64, extent: &Extent, moment: Option<Moment>) -> Option<u64> {
        let is = |one: Moment| moment.is_none_or(|moment| moment == one);
        let first = from.max(self.from.unwrap_or(0));
        let last = extent.steps().min(self.until.unwrap_or(u64::MAX));
        let rise = || first_rise(first.max(1), last, &|step| self.rule.count(step, extent));
        let found = match &self.rule {
            Rule::Start if is(Moment::Start) => Some(0),
            Rule::End if is(Moment::End) => Some(extent.steps()),
            Rule::Set(steps) => {
                let first = if is(Moment::Start) {
                    first
                } else {
                    first.max(1)
                };
                let before = steps.partition_point(|&step| step < first);
                let found = steps.get(before).copied();
                found.filter(|step| *step == 0 || is(Moment::Step))
            }
            Rule::Epochs(_) if is(Moment::EpochEnd) => rise(),
            Rule::Start | Rule::End | Rule::Epochs(_) => None,
            Rule::Time(_) | Rule::Budget { .. } => None,
            _ if is(Moment::Step) => rise(),
            _ => None,
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
                part / (u128::from(*numerator) * u128::from(extent.planned()))
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
