//! The kinds of hooks and interventions that an experiment can name.

use crate::hook::Kind;
use crate::intervention::InterventionKind;

/// The kinds that an experiment can name. The program's own are listed in `hooks/mod.rs`; a crate of your own adds its kinds with
/// [`Registry::with`] and [`Registry::with_intervention`].
#[derive(Default)]
pub struct Registry {
    kinds: Vec<Kind>,
    interventions: Vec<InterventionKind>,
}

impl Registry {
    /// Adds a kind of hook. It replaces one of the same name.
    pub fn with(mut self, kind: Kind) -> Self {
        self.kinds.retain(|other| other.name != kind.name);
        self.kinds.push(kind);
        self
    }

    /// Adds a kind of intervention. It replaces one of the same name.
    pub fn with_intervention(mut self, kind: InterventionKind) -> Self {
        self.interventions.retain(|other| other.name != kind.name);
        self.interventions.push(kind);
        self
    }

    /// The kind of hook with this name, present or earlier.
    pub fn get(&self, name: &str) -> Option<&Kind> {
        let own = self.kinds.iter().find(|kind| kind.name == name);
        own.or_else(|| self.kinds.iter().find(|kind| kind.is_called(name)))
    }

    /// All kinds of hooks, in the order in which they were added.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.kinds.iter()
    }

    /// The kind of intervention with this name.
    pub fn intervention(&self, name: &str) -> Option<&InterventionKind> {
        self.interventions.iter().find(|kind| kind.name == name)
    }

    /// All kinds of interventions, in the order in which they were added.
    pub fn interventions(&self) -> impl Iterator<Item = &InterventionKind> {
        self.interventions.iter()
    }
}
