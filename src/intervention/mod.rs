//! Interventions, which change the training: they stop it, end an epoch, go back to a checkpoint, change the learning rate or the weight of a
//! topic, or freeze a part of a model. Hooks only look; this is the one thing that acts. A run with an intervention is not the run without
//! it, so interventions are part of a run's experiment, and what they do is recorded with its step and its reason.
//!
//! An intervention sees what the loop and inline hooks have recorded. Both are the same whenever the run is made, so a run that was killed
//! and resumed has the same interventions at the same steps.

mod action;
mod control;
mod in_force;
mod kind;

pub use action::{Action, Deed};
pub use control::Control;
pub use in_force::{Done, InForce, Rollback};
pub use kind::InterventionKind;

use serde::de::DeserializeOwned;

use crate::model::Role;

/// Something that may change the training between two steps.
pub trait Intervention: Send {
    /// Decides at one of its moments, and asks for changes through `control`. They are made before the next step.
    ///
    /// # Errors
    /// Those of the intervention. Training without it would be another run, so an error or a panic ends the run.
    fn intervene(&mut self, control: &mut Control) -> anyhow::Result<()>;

    /// The tags whose values it looks at. They are checked before the run: each must be recorded by the loop or by an inline hook.
    fn tags(&self) -> Vec<String> {
        Vec::new()
    }

    /// Checks its options against the run. It is called once before the run has written anything.
    ///
    /// # Errors
    /// When the options do not fit; an [`OptionError`](crate::hook::OptionError) shows the option's place.
    fn prepare(&mut self, facts: &RunFacts) -> anyhow::Result<()> {
        let _ = facts;
        Ok(())
    }

    /// The state that it must keep across a kill and a resume. It is part of every checkpoint.
    fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Takes back what [`Intervention::state`] returned: when a run is resumed, and when it is rolled back to a checkpoint. Null stands for the
    /// beginning of a run.
    ///
    /// # Errors
    /// When the state is not one of this intervention's.
    fn restore(&mut self, state: serde_json::Value) -> anyhow::Result<()> {
        let _ = state;
        Ok(())
    }
}

/// What is known of a run before its first step.
#[derive(Debug, Clone, Default)]
pub struct RunFacts {
    /// The names of the parameters of main model and assistant, as in their checkpoints.
    pub parameters: [Vec<String>; 2],
    /// The models that are trained.
    pub trained: Vec<Role>,
    /// The topics of the training documents, each once; empty where the text has none.
    pub topics: Vec<String>,
}

/// A state from what [`Intervention::state`] returned: the default at the beginning of a run.
///
/// # Errors
/// When it is another state.
pub fn restored<T: DeserializeOwned + Default>(state: serde_json::Value) -> anyhow::Result<T> {
    if state.is_null() {
        return Ok(T::default());
    }
    Ok(serde_json::from_value(state)?)
}
