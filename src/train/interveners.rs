//! The interventions of a run: asks those that are due, in the order of the experiment.

use std::collections::{BTreeMap, BTreeSet};

use super::InterventionSpec;
use super::gate::Gate;
use super::outcome::RunError;
use super::worker::caught;
use crate::cadence::{Cadence, Moment};
use crate::clock::{Clock, Extent};
use crate::hook::{Milestone, Seen, Values};
use crate::intervention::{Action, Control, Deed, InForce, Intervention};
use crate::record::progress::InterventionState;

/// A moment between two steps, for all interventions.
pub(super) struct Situation<'a> {
    pub milestone: &'a Milestone,
    /// The clock at the end of the previous step.
    pub before: &'a Clock,
    pub moments: &'a [Moment],
    pub extent: &'a Extent,
    pub values: &'a Values,
    pub in_force: &'a InForce,
}

struct Intervener {
    name: String,
    at: Cadence,
    gate: Gate,
    may_roll_back: bool,
    tags: Vec<String>,
    /// Those of its tags that were recorded since its last call.
    news: BTreeSet<String>,
    last_called: Option<u64>,
    intervention: Box<dyn Intervention>,
}

/// The interventions of a run.
#[derive(Default)]
pub(super) struct Interveners(Vec<Intervener>);

impl Interveners {
    pub fn new(specs: Vec<InterventionSpec>) -> Self {
        let entries = specs.into_iter().map(|spec| Intervener {
            name: spec.name,
            at: spec.at,
            gate: Gate::new(spec.when, None, spec.once),
            may_roll_back: spec.rolls_back,
            tags: spec.intervention.tags(),
            news: BTreeSet::new(),
            last_called: None,
            intervention: spec.intervention,
        });
        Self(entries.collect())
    }

    /// Whether one of them may go back to a checkpoint.
    pub fn may_roll_back(&self) -> bool {
        self.0.iter().any(|entry| entry.may_roll_back)
    }

    /// Sees a value that was recorded; `step` is the optimiser step that it belongs to.
    pub fn see(&mut self, step: u64, tag: &str, value: f64) {
        for entry in &mut self.0 {
            entry.gate.see(step, tag, value);
            if entry.tags.iter().any(|one| one == tag) {
                entry.news.insert(tag.to_owned());
            }
        }
    }

    /// Asks every intervention that is due and whose condition is true. Returns what they ask for, each with the intervention's name. Nothing
    /// else is asked for where one goes back to a checkpoint.
    ///
    /// # Errors
    /// When an intervention errs or panics.
    pub fn ask(&mut self, situation: &Situation) -> Result<Vec<(String, Deed)>, RunError> {
        let mut all = Vec::new();
        for entry in &mut self.0 {
            let deeds = entry
                .ask(situation)
                .map_err(|error| RunError::Intervention {
                    name: entry.name.clone(),
                    message: format!("{error:#}"),
                })?;
            for deed in deeds {
                let named = (entry.name.clone(), deed);
                if matches!(named.1.action, Action::RollBack { .. }) {
                    return Ok(vec![named]);
                }
                all.push(named);
            }
        }
        Ok(all)
    }

    /// The states of all, for a checkpoint.
    ///
    /// # Errors
    /// When a state cannot be given.
    pub fn states(&self) -> Result<BTreeMap<String, InterventionState>, RunError> {
        let states = self.0.iter().map(|entry| {
            let state = caught(|| Ok(entry.intervention.state()));
            let state = state.map_err(|error| RunError::Intervention {
                name: entry.name.clone(),
                message: format!("its state cannot be saved: {error:#}"),
            })?;
            let kept = InterventionState {
                state,
                news: entry.news.clone(),
                last_called: entry.last_called,
                condition: entry.gate.memory(),
            };
            Ok((entry.name.clone(), kept))
        });
        states.collect()
    }

    /// Takes the states of a checkpoint back. Those that are not in it are as at the beginning of a run.
    ///
    /// # Errors
    /// When an intervention cannot take its state.
    pub fn restore(
        &mut self,
        mut states: BTreeMap<String, InterventionState>,
    ) -> Result<(), RunError> {
        for entry in &mut self.0 {
            let kept = states.remove(&entry.name).unwrap_or_default();
            entry.news = kept.news;
            entry.last_called = kept.last_called;
            entry.gate.restore(kept.condition, None);
            let restored = caught(|| entry.intervention.restore(kept.state));
            restored.map_err(|error| RunError::Intervention {
                name: entry.name.clone(),
                message: format!("it cannot take its saved state back: {error:#}"),
            })?;
        }
        Ok(())
    }
}

impl Intervener {
    fn ask(&mut self, situation: &Situation) -> anyhow::Result<Vec<Deed>> {
        let (before, extent) = (situation.before, situation.extent);
        let milestone = situation.milestone;
        let mut moments = situation.moments.iter();
        let is_due = moments.any(|&moment| self.at.due(moment, before, &milestone.clock, extent));
        let is_over = self.gate.once && self.last_called.is_some();
        let seen = Seen {
            milestone,
            values: situation.values,
        };
        if !is_due || is_over || !self.gate.is_open(&seen).map_err(anyhow::Error::msg)? {
            return Ok(Vec::new());
        }
        self.last_called = Some(milestone.step);
        let mut control = Control {
            name: &self.name,
            milestone,
            values: situation.values,
            news: &self.news,
            in_force: situation.in_force,
            deeds: Vec::new(),
        };
        caught(|| self.intervention.intervene(&mut control))?;
        let deeds = control.deeds;
        self.news.clear();
        for deed in &deeds {
            check(&deed.action, self.may_roll_back)?;
        }
        Ok(deeds)
    }
}

/// Refuses what would make a training that is none.
fn check(action: &Action, may_roll_back: bool) -> anyhow::Result<()> {
    let (what, number) = match action {
        Action::RollBack { .. } if !may_roll_back => {
            anyhow::bail!(
                "it goes back to a checkpoint, which its kind does not declare: InterventionKind::rolls_back"
            )
        }
        Action::RollBack { rate_factor, .. } => ("factor of the learning rate", rate_factor),
        Action::ScaleRate(factor) => ("factor of the learning rate", factor),
        Action::Weigh { weight, .. } => ("weight of a topic", weight),
        _ => return Ok(()),
    };
    anyhow::ensure!(
        number.is_finite() && *number > 0.0,
        "the {what} must be a number above 0, not {number}"
    );
    Ok(())
}
