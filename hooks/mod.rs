//! The hooks that ship with milepost. Each has its own file and two lines here; `make hook NAME=...` adds them.

mod assistant_share;
mod attribution;
mod crows_pairs;
mod drift;
mod gradient_norm;
mod honest;
mod interventions;
mod loss_spike;
mod match_disparity;
mod perplexity;
mod pronoun_gap;
mod representation;
mod sample_text;
mod template_kl;
mod toxicity;
mod weight_attribution;

use crate::registry::Registry;

/// All kinds of hooks and interventions of this crate. The rows and charts of a run are in the order of its hooks.
pub fn shipping() -> Registry {
    interventions::shipping(Registry::default())
        .with(perplexity::kind())
        .with(template_kl::kind())
        .with(assistant_share::kind())
        .with(match_disparity::kind())
        .with(sample_text::kind())
        .with(gradient_norm::kind())
        .with(loss_spike::kind())
        .with(attribution::kind())
        .with(weight_attribution::kind())
        .with(drift::kind())
        .with(honest::kind())
        .with(toxicity::kind())
        .with(pronoun_gap::kind())
        .with(crows_pairs::kind())
        .with(representation::kind())
}
