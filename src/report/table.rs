//! Tables of values at the start and at the end of a run.

use maud::{Markup, html};

use super::number::{number, signed};
use super::record::{At, Moment, RecordedRun};
use crate::statistics::disparity::Disparity;

/// A cell with a scalar. Its attributes have tag, step and value for programs that read the page.
pub(super) fn scalar(tag: &str, (step, value): (u64, f64)) -> Markup {
    html! { td data-tag=(tag) data-step=(step) data-value=(value) { (number(value)) } }
}

/// The cell of a scalar at a moment: the value, or why there is none.
pub(super) fn at(run: &RecordedRun, tag: &str, moment: Moment) -> Markup {
    match run.at(tag, moment) {
        Ok(point) => scalar(tag, point),
        Err(why) => html! { td.missing data-missing=(tag) data-moment=(name(moment)) { (why) } },
    }
}

/// The cell of a gap, or why there is none.
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

/// A table with a row for each tag that the run has: its name, the values at start and end, and the change.
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

/// The change of a value. Empty for ends of intervals and p-values, where a difference means nothing.
fn change(run: &RecordedRun, tag: &str) -> String {
    let of_a_test = ["_low", "_high", "p_value"]
        .iter()
        .any(|end| tag.ends_with(end));
    match run.change(tag) {
        Ok(change) if !of_a_test => signed(change),
        _ => String::new(),
    }
}
