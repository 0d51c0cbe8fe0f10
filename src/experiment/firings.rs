//! The steps at which a hook fires in a run that goes as planned, counted up to a limit.

use crate::cadence::{Cadence, Moment};
use crate::clock::{Extent, Step};
use crate::event::{Axis, Event};

/// When the loop evaluates and saves. Hooks on those events are called only then.
pub(super) struct LoopCadences<'a> {
    pub evaluate: &'a Cadence,
    /// How many batches of held-out text an evaluation has.
    pub evaluation_batches: u64,
    pub save: Option<&'a Cadence>,
}

/// The most firings that are counted.
const COUNTED: usize = 100_000;
/// How many of the first firings are kept.
const KEPT: usize = 6;

/// The steps at which a hook fires.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Firings {
    /// The first firings, at most six.
    pub first: Vec<Step>,
    /// The last firing that was counted.
    pub last: Option<Step>,
    /// How many firings were counted.
    pub count: u64,
    /// How often the hook is called at them: at an event of a micro-batch, once for each of the step; at one of an evaluation's batch,
    /// once for each of these.
    pub calls: u64,
    /// Whether there may be more.
    pub more: bool,
}

impl Firings {
    /// One firing with one call. At step 0 it is that of a measurement without training.
    pub(super) fn once(step: Step) -> Self {
        let mut firings = Self::default();
        firings.add(step, 1);
        firings
    }

    /// Of a hook that is called when another one wants: nobody knows how often.
    pub(super) fn unknown() -> Self {
        Self {
            more: true,
            ..Self::default()
        }
    }

    /// The firings of a hook with the cadence `at`. If there is an event `on`, the hook is called at that event.
    pub(super) fn of(
        at: &Cadence,
        on: Option<Event>,
        extent: &Extent,
        cadences: &LoopCadences,
    ) -> Self {
        let Some(on) = on else {
            return Self::counted(at.firings(extent).map(Some), |_| 1);
        };
        let own = match on {
            Event::Evaluated | Event::EvaluationStart | Event::EvaluationBatchEnd => {
                Some(cadences.evaluate)
            }
            Event::RunEnd => return Self::once(Step(extent.steps())),
            Event::CheckpointSaved => match cadences.save {
                Some(save) => Some(save),
                None => return Self::default(),
            },
            event if event.is_unplanned() => return Self::default(),
            _ => None,
        };
        let both_at_start = [Some(at), own]
            .into_iter()
            .flatten()
            .all(|cadence| cadence.next_firing(Step(0), extent) == Some(Step(0)));
        let is_of_evaluation = own.is_some() && on != Event::CheckpointSaved;
        let start = (is_of_evaluation && both_at_start).then_some(Some(Step(0)));
        let micro_batches = |step: Step| {
            let done = |step: u64| extent.clock_after(Step(step)).micro_batch.0;
            done(step.0) - done(step.0 - 1)
        };
        let calls = |step| match on.axis() {
            Axis::Steps => 1,
            Axis::MicroBatches => micro_batches(step),
            Axis::EvaluationBatches => cadences.evaluation_batches,
        };
        Self::counted(start.into_iter().chain(meetings(at, own, extent)), calls)
    }

    /// Counts the steps, and the `calls` in each. A None is no firing, but counts towards the limit of the search.
    fn counted(mut steps: impl Iterator<Item = Option<Step>>, calls: impl Fn(Step) -> u64) -> Self {
        let mut firings = Self::default();
        for step in steps.by_ref().take(COUNTED).flatten() {
            firings.add(step, calls(step));
        }
        firings.more = steps.next().is_some();
        firings
    }

    fn add(&mut self, step: Step, calls: u64) {
        self.calls += calls;
        if self.first.len() < KEPT {
            self.first.push(step);
        }
        self.last = Some(step);
        self.count += 1;
    }

    /// The first call alone, where it was found.
    pub(super) fn only_first(self) -> Self {
        match self.first.first() {
            Some(step) => Self::once(*step),
            None => self,
        }
    }

    /// The firings at the start, and the others. Where there is one at the start, each has as many calls as the others.
    fn split_at_start(mut self) -> (Self, Self) {
        let mut start = Self::default();
        if self.first.first() == Some(&Step(0)) {
            start.add(Step(0), self.calls / self.count);
            self.first.remove(0);
            self.last = self.last.filter(|last| *last > Step(0));
            self.count -= 1;
            self.calls -= start.calls;
        }
        (start, self)
    }

    /// Whether it is certain that the hook never fires.
    pub fn is_empty(&self) -> bool {
        self.count == 0 && !self.more
    }
}

/// The firings of a hook at one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FiringsAt {
    /// The event.
    pub event: Event,
    /// Whether they are before the first step.
    pub before_training: bool,
    /// The firings.
    pub firings: Firings,
    /// Whether the hook is also due there by wall time.
    pub by_time: bool,
}

/// The events at which a hook without an event of its own is called, with the moments of its cadence.
const SETTLED: [(Event, Moment); 4] = [
    (Event::RunStart, Moment::Start),
    (Event::StepEnd, Moment::Step),
    (Event::EpochEnd, Moment::EpochEnd),
    (Event::RunEnd, Moment::End),
];

impl FiringsAt {
    /// The `firings` of a hook event by event, in the order of the loop. Events at which it never fires are left out.
    pub(super) fn each(
        firings: &Firings,
        at: &Cadence,
        on: Option<Event>,
        extent: &Extent,
    ) -> Vec<Self> {
        let heard = on.unwrap_or(Event::StepEnd);
        let of = |event, before_training, firings| Self {
            event,
            before_training,
            firings,
            by_time: at.by_time() && event == heard && !before_training,
        };
        let mut each = match on {
            None => SETTLED
                .map(|(event, moment)| {
                    let firings = Firings::counted(at.firings_at(moment, extent), |_| 1);
                    of(event, moment == Moment::Start, firings)
                })
                .to_vec(),
            // Its cadence does not matter.
            Some(on) if on.ignores_cadences() => {
                return vec![Self {
                    by_time: false,
                    ..of(on, false, firings.clone())
                }];
            }
            Some(on) => {
                let (start, rest) = firings.clone().split_at_start();
                vec![of(on, true, start), of(on, false, rest)]
            }
        };
        each.retain(Self::may_be);
        each
    }

    /// What is left of them for a hook that is called only once: its first call, or an earlier one by wall time.
    pub(super) fn only_first(mut each: Vec<Self>) -> Vec<Self> {
        let step = |one: &Self| one.firings.first.first().copied();
        let Some(earliest) = each.iter().filter_map(step).min() else {
            return each;
        };
        for one in &mut each {
            one.by_time &= earliest > Step(0);
            one.firings = if step(one) == Some(earliest) {
                Firings::once(earliest)
            } else {
                Firings::default()
            };
        }
        each.retain(Self::may_be);
        each
    }

    /// Whether the hook is called there, or may be.
    fn may_be(&self) -> bool {
        !self.firings.is_empty() || self.by_time
    }
}

/// The ends of steps at which `at` is due and, if there is one, the loop's `own` cadence, too. None for each step at which only one of the
/// two is due.
fn meetings<'a>(
    at: &'a Cadence,
    own: Option<&'a Cadence>,
    extent: &'a Extent,
) -> impl Iterator<Item = Option<Step>> + 'a {
    let mut from = Step(1);
    std::iter::from_fn(move || {
        let due = at.next_step_end(from, extent)?;
        let both = match own {
            Some(own) => own.next_firing(due, extent)?,
            None => due,
        };
        if both > due {
            from = both;
            return Some(None);
        }
        from = Step(due.0 + 1);
        Some(Some(due))
    })
}
