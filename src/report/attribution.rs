//! The part of a report that tells the two models apart.

use maud::{Markup, html};

use super::chart::{Row, intervals};
use super::gap::attributed;
use super::record::{Moment, RecordedRun};
use super::table::at;
use crate::statistics::disparity::Disparity;

/// The 2 x 2 of both models at the start or now.
pub(super) fn attribution(run: &RecordedRun) -> Markup {
    const MEASURES: [(&str, &str); 4] = [
        ("KL, nats", "kl_nats"),
        ("n_matches a prompt", "n_matches"),
        ("assistant's share", "assistant_share"),
        ("gap of n_matches", "disparity"),
    ];
    const ROWS: [(&str, &str); 7] = [
        ("both at the start", "main_start_assistant_start"),
        ("assistant fine-tuned", "main_start_assistant_now"),
        ("main model fine-tuned", "main_now_assistant_start"),
        ("both fine-tuned", "main_now_assistant_now"),
        ("change by the main model", "by_main"),
        ("change by the assistant", "by_assistant"),
        ("interaction", "interaction"),
    ];
    if !run.scalars.contains_key("attribution/disparity/by_main") {
        return html! {
            h2 { "Which of the two models" }
            p { "This run did not ask: the hook " code { "attribution" } " measures each model fine-tuned with the other as it was." }
        };
    }
    html! {
        h2 { "Which of the two models" }
        p { "Each model at the start or fine-tuned, with the other in both states, by one decoding setting. A model's change is the mean over the two states of the other." }
        div.scroll { table {
            thead { tr { th { "" } @for (name, _) in MEASURES { th { (name) } } } }
            tbody { @for (name, cell) in ROWS {
                tr { td { (name) } @for (_, measure) in MEASURES {
                    @let tag = format!("attribution/{measure}/{cell}");
                    @if run.scalars.contains_key(&tag) { (at(run, &tag, Moment::End)) } @else { td {} }
                } }
            } }
        } }
        @if let Ok(found) = attributed(run) {
            div.figures { (intervals("What each model did to the gap", "n_matches a prompt, 95% intervals", &[
                effect("by the main model", &found.by_main, 1),
                effect("by the assistant", &found.by_assistant, 2),
                effect("the first less the second", &found.difference, 3),
                effect("interaction: how one depends on the other", &found.interaction, 3),
            ])) }
        }
    }
}

fn effect(name: &str, effect: &Disparity, colour: usize) -> Row {
    Row {
        name: name.to_owned(),
        value: (effect.difference, effect.low, effect.high),
        colour,
    }
}
