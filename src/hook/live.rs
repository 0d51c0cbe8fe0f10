//! What only inline hooks see: the training as it stands, between two operations of the loop.

use super::{Gradients, Optimiser, ParameterValues};
use crate::model::Role;

/// The gradients, optimisers and last updates of the models that are trained.
#[derive(Clone, Copy)]
pub(crate) struct Live<'a> {
    /// Empty unless the moment has gradients.
    pub gradients: &'a [(Role, Gradients<'a>)],
    /// None for a model that is not trained.
    pub optimiser: &'a dyn Fn(Role) -> Option<Optimiser>,
    /// The change of the weights in the step that has just been taken. None at other moments than `weights-updated`.
    pub update: &'a dyn Fn(Role) -> Option<ParameterValues>,
}

impl Live<'_> {
    /// For a background hook: nothing.
    pub const NONE: Live<'static> = Live {
        gradients: &[],
        optimiser: &|_| None,
        update: &|_| None,
    };
}
