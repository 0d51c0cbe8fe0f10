//! When a hook fires in a run that goes as planned, counted as far as anybody wants to know.

use crate::cadence::Cadence;
use crate::clock::{Extent, Step};
use crate::event::Event;

/// When the loop itself evaluates and saves: what hooks on those events wait for.
pub(super) struct LoopCadences<'a> {
    pub evaluate: &'a Cadence,
    pub save: Option<&'a Cadence>,
}

/// No more than so many are counted.
const COUNTED: usize = 100_000;
/// The first that are kept.
const KEPT: usize = 6;

/// The steps at which a hook fires.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Firings {
    /// The first of them, at most six.
    pub first: Vec<Step>,
    /// The last that was counted.
    pub last: Option<Step>,
    /// How many were counted.
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

    /// Those of a hook that is due `at` some moments, called at the event `on` where there is one.
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
        Self::counted(start.into_iter().chain(meetings(at, own, extent)))
    }

    /// Counts steps; None among them is a look in vain.
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

    /// Whether there is surely none.
    pub fn is_empty(&self) -> bool {
        self.count == 0 && !self.more
    }
}

/// The ends of steps at which `at` is due and, where there is one, the loop's `own` cadence too; None for each place where one of them is due
/// alone.
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
