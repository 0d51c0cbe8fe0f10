//! The interventions that ship with milepost. Each has its own file and two lines here.

mod data_weight;
mod early_stopping;
mod freeze;
mod learning_rate;
mod loss_spike_rollback;
mod plateau;
mod skip_epoch;
mod stop;

use crate::registry::Registry;

/// Adds all kinds of interventions of this crate.
pub(super) fn shipping(registry: Registry) -> Registry {
    registry
        .with_intervention(early_stopping::kind())
        .with_intervention(plateau::kind())
        .with_intervention(loss_spike_rollback::kind())
        .with_intervention(freeze::kind())
        .with_intervention(learning_rate::kind())
        .with_intervention(data_weight::kind())
        .with_intervention(skip_epoch::kind())
        .with_intervention(stop::kind())
}
