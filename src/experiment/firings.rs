//! The steps at which a hook fires in a run that goes as planned, counted up to a limit.

use crate::cadence::{Cadence, Moment};
use crate::clock::{Extent, Step};
use crate::event::Event;

/// When the loop evaluates and saves. Hooks on those events fire only then.
pub(super) struct LoopCadences<'a> {
    pub evaluate: &'a Cadence,
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
    /// How often the hook is called at them: at an event of a micro-batch, once for each of the step.
    pub calls: u64,
    /// Whether there may be more.
    pub more: bool,
}

impl Firings {
    /// One firing at the start, for a measurement without training.
    pub(super) fn once() -> Self {
        let mut firings = Self::default();
        firings.add(Step(0), 1);
        firings
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
            Event::Evaluated => Some(cadences.evaluate),
            Event::CheckpointSaved => match cadences.save {
                Some(save) => Some(save),
                None => return Self::default(),
            },
            _ => None,
        };
        let both_at_start = [Some(at), own]
            .into_iter()
            .flatten()
            .all(|cadence| cadence.next_firing(Step(0), extent) == Some(Step(0)));
        let start = (on == Event::Evaluated && both_at_start).then_some(Some(Step(0)));
        let micro_batches = |step: Step| {
            let done = |step: u64| extent.clock_after(Step(step)).micro_batch.0;
            done(step.0) - done(step.0 - 1)
        };
        let calls = |step| {
            if on.is_of_micro_batch() {
                micro_batches(step)
            } else {
                1
            }
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

    /// The firings at the start, and the others.
    fn split_at_start(mut self) -> (Self, Self) {
        if self.first.first() != Some(&Step(0)) {
            return (Self::default(), self);
        }
        self.first.remove(0);
        self.last = self.last.filter(|last| *last > Step(0));
        (self.count, self.calls) = (self.count - 1, self.calls - 1);
        (Self::once(), self)
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
        let of = |event, before_training, firings| Self {
            event,
            before_training,
            firings,
        };
        let mut each = match on {
            None => SETTLED
                .map(|(event, moment)| {
                    let firings = Firings::counted(at.firings_at(moment, extent), |_| 1);
                    of(event, moment == Moment::Start, firings)
                })
                .to_vec(),
            // Its cadence does not matter.
            Some(Event::RunFailed) => return vec![of(Event::RunFailed, false, Firings::default())],
            Some(on) => {
                let (start, rest) = firings.clone().split_at_start();
                vec![of(on, true, start), of(on, false, rest)]
            }
        };
        let heard = on.unwrap_or(Event::StepEnd);
        let by_time = |one: &Self| at.by_time() && one.event == heard && !one.before_training;
        each.retain(|one| !one.firings.is_empty() || by_time(one));
        each
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
