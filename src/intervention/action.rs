//! What an intervention can do to a training.

use std::collections::BTreeSet;
use std::fmt;

use crate::model::Role;

/// A change of the training.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Ends the run.
    Stop,
    /// Passes over the rest of the epoch's data.
    EndEpoch,
    /// Goes back to the newest checkpoint, with everything that belongs to the state of the run.
    RollBack {
        /// Whether the data of the undone steps is passed over. Else the same steps are made again.
        pass_over: bool,
        /// What the learning rate is multiplied by from there on.
        rate_factor: f64,
    },
    /// Multiplies the learning rate of all further steps.
    ScaleRate(f64),
    /// Gives parameters of a model no gradient any more. They keep their values and moments.
    Freeze(Role, BTreeSet<String>),
    /// Lets parameters of a model learn again.
    Thaw(Role, BTreeSet<String>),
    /// Gives the predictions in documents of a topic another weight in the loss. Without, they weigh 1.
    Weigh {
        /// The topic.
        topic: String,
        /// Above 0.
        weight: f64,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Stop => write!(f, "ends the run"),
            Self::EndEpoch => write!(f, "ends the epoch"),
            Self::RollBack { .. } => write!(f, "goes back to the last checkpoint"),
            Self::ScaleRate(factor) => write!(f, "multiplies the learning rate by {factor}"),
            Self::Freeze(role, names) => {
                write!(f, "freezes {} of the {role} model", counted(names))
            }
            Self::Thaw(role, names) => write!(f, "thaws {} of the {role} model", counted(names)),
            Self::Weigh { topic, weight } => write!(f, "gives topic `{topic}` the weight {weight}"),
        }
    }
}

fn counted(names: &BTreeSet<String>) -> String {
    match (names.len(), names.first()) {
        (1, Some(name)) => format!("`{name}`"),
        (count, _) => format!("{count} parameters"),
    }
}

/// An action with its reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Deed {
    /// What is done.
    pub action: Action,
    /// Why, in words.
    pub reason: String,
}
