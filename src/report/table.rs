//! Tables of what stands at the start, at the end, and between.

use maud::{Markup, html};

use super::number::{number, signed};
use super::record::{At, Moment, RecordedRun};
use crate::statistics::disparity::Disparity;

/// A scalar in a cell that says, to programs, which it is.
pub(super) fn scalar(tag: &str, (step, value): (u64, f64)) -> Markup {
    html! { td data-tag=(tag) data-step=(step) data-value=(value) { (number(value)) } }
}

/// A scalar's cell at a moment: the value, or why there is none.
pub(super) fn at(run: &RecordedRun, tag: &str, moment: Moment) -> Markup {
    match run.at(tag, moment) {
        Ok(point) => scalar(tag, point),
        Err(why) => html! { td.missing data-missing=(tag) data-moment=(name(moment)) { (why) } },
    }
}

/// A gap's cell, or why there is none.
pub(super) fn gap(gap: &At<Disparity>) -> Markup {
    match gap {
        Ok(gap) => html! { td { (signed(gap.difference)) } },
        Err(why) => html! { td.missing { (why) } },
    }
}

fn name(moment: Moment) -> &'static str {
    match moment {
        Moment::Start => "start",
        Moment::End => "end",
    }
}

/// Rows of a name, the value at the start, the value at the end, and the change. Only tags that the run has have a row.
pub(super) fn spans(run: &RecordedRun, rows: &[(String, String)]) -> Markup {
    let there: Vec<_> = rows
        .iter()
        .filter(|(_, tag)| run.scalars.contains_key(tag))
        .collect();
    html! {
        @if !there.is_empty() {
            div.scroll { table {
                thead { tr { th { "" } th { "before" } th { "after" } th { "change" } } }
                tbody { @for (name, tag) in there {
                    tr { td { (name) } (at(run, tag, Moment::Start)) (at(run, tag, Moment::End)) td { (change(run, tag)) } }
                } }
            } }
        }
    }
}

/// How much a value changed. Ends of intervals and p-values are not to be subtracted.
fn change(run: &RecordedRun, tag: &str) -> String {
    let of_a_test = ["_low", "_high", "p_value"]
        .iter()
        .any(|end| tag.ends_with(end));
    match run.change(tag) {
        Ok(change) if !of_a_test => signed(change),
        _ => String::new(),
    }
}
