//! The steps at which a hook fires in a run that goes as planned, counted up to a limit.

use crate::cadence::Cadence;
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
    /// Whether there may be more.
    pub more: bool,
}

impl Firings {
    /// One firing at the start, for a measurement without training.
    pub(super) fn once() -> Self {
        let mut firings = Self::default();
        firings.add(Step(0));
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
            return Self::counted(at.firings(extent).map(Some));
        };
        let own = match on {
            Event::Evaluated | Event::EvaluationStart | Event::EvaluationBatchEnd => {
                Some(cadences.evaluate)
            }
            Event::RunEnd => return Self::counted(std::iter::once(Some(Step(extent.steps())))),
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
        Self::counted(start.into_iter().chain(meetings(at, own, extent)))
    }

    /// Counts the steps. A None is no firing, but counts towards the limit of the search.
    fn counted(mut steps: impl Iterator<Item = Option<Step>>) -> Self {
        let mut firings = Self::default();
        for step in steps.by_ref().take(COUNTED).flatten() {
            firings.add(step);
        }
        firings.more = steps.next().is_some();
        firings
    }

    fn add(&mut self, step: Step) {
        if self.first.len() < KEPT {
            self.first.push(step);
        }
        self.last = Some(step);
        self.count += 1;
    }

    /// The first firing alone.
    pub(super) fn only_first(&self) -> Self {
        let mut firings = Self::default();
        if let Some(step) = self.first.first() {
            firings.add(*step);
        }
        firings
    }

    /// Whether it is certain that the hook never fires.
    pub fn is_empty(&self) -> bool {
        self.count == 0 && !self.more
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
