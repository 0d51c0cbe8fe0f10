//! How much each of the two models changed a measure, from the four pairs that their states at start and end make.

use maud::{Markup, html};

use super::chart::{Row, intervals};
use super::gap::attributed;
use super::record::{Moment, RecordedHook, RecordedRun};
use super::table::at;
use crate::hook::TWO_BY_TWO;
use crate::statistics::disparity::Disparity;

/// The table of a hook's measures of the four pairs, with the changes that follow from them.
pub(super) fn two_by_two(run: &RecordedRun, hook: &RecordedHook) -> Markup {
    let measures = &hook.shows.two_by_two;
    html! {
        @if !measures.is_empty() {
            div.scroll { table {
                thead { tr { th { "" } @for measure in measures { th { (measure.name) } } } }
                tbody { @for (cell, name) in TWO_BY_TWO {
                    tr { td { (name) } @for measure in measures {
                        @let tag = format!("{}/{cell}", measure.tag);
                        @if run.scalars.contains_key(&tag) { (at(run, &tag, Moment::End)) } @else { td {} }
                    } }
                } }
            } }
        }
    }
}

/// A figure for each contrast: how much each model changed the gap, with intervals.
pub(super) fn of_the_gap(run: &RecordedRun) -> Markup {
    html! {
        @for contrast in &run.contrasts {
            @if let Ok(found) = attributed(run, contrast) {
                @let title = format!("What each model did to the gap, {}", contrast.gap());
                div.figures { (intervals(&title, "n_matches a prompt, 95% intervals", &[
                    effect("by the main model", &found.by_main, 1),
                    effect("by the assistant", &found.by_assistant, 2),
                    effect("the first less the second", &found.difference, 3),
                    effect("interaction: how one depends on the other", &found.interaction, 3),
                ])) }
            }
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
