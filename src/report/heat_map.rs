//! Tables whose cells are coloured by sign and size.

use maud::{Markup, html};

use super::number::number;
use super::record::{Moment, RecordedHook, RecordedRun};
use crate::hook::HeatMap;

/// The heat maps of a hook, of the values at the end of the run. One without any such value is left out.
pub(super) fn heat_maps(run: &RecordedRun, hook: &RecordedHook) -> Markup {
    html! { @for map in &hook.shows.heat_maps { (heat_map(run, map)) } }
}

/// A row's name and the tags of its cells by column; None where there is no value.
type Cells = (String, Vec<Option<String>>);

/// The rows of a heat map that have a cell. `has` says whether a tag has a value.
pub(super) fn grid(map: &HeatMap, has: impl Fn(&str) -> bool) -> Vec<Cells> {
    let cells = |row: &str| {
        let tags = map.columns.iter().map(|column| {
            let tag = format!("{}/{row}/{column}", map.tag);
            has(&tag).then_some(tag)
        });
        (row.to_owned(), tags.collect())
    };
    let is_there = |(_, cells): &Cells| cells.iter().any(Option::is_some);
    let rows = map.rows.iter().flat_map(|row| match row.strip_suffix('*') {
        Some(stem) => {
            let numbered = (0..).map(|number| cells(&format!("{stem}{number}")));
            numbered.take_while(is_there).collect()
        }
        None => vec![cells(row)],
    });
    rows.filter(is_there).collect()
}

fn heat_map(run: &RecordedRun, map: &HeatMap) -> Markup {
    let at = |tag: &str| run.at(tag, Moment::End).ok();
    let rows = grid(map, |tag| at(tag).is_some());
    let tags = rows.iter().flat_map(|(_, cells)| cells.iter().flatten());
    let sizes = tags.filter_map(|tag| Some(at(tag)?.1.abs()));
    let largest = sizes.fold(0.0, f64::max);
    html! {
        @if !rows.is_empty() {
            h3 { (map.title) }
            div.scroll { table.heat {
                thead { tr { th { "" } @for column in &map.columns { th { (words(column)) } } } }
                tbody { @for (name, cells) in &rows {
                    tr.heat { td { (words(name)) } @for tag in cells {
                        @match tag.as_ref().and_then(|tag| Some((tag, at(tag)?))) {
                            Some((tag, point)) => (coloured(tag, point, largest)),
                            None => td {},
                        }
                    } }
                } }
            } }
        }
    }
}

/// A cell, the stronger in colour the nearer its value is to `largest`.
fn coloured(tag: &str, (step, value): (u64, f64), largest: f64) -> Markup {
    html! {
        td data-tag=(tag) data-step=(step) data-value=(value) class=(sign(value)) style=(strength(value, largest)) { (number(value)) }
    }
}

/// The style sheet's class of a cell, by the sign of its value.
pub(super) fn sign(value: f64) -> &'static str {
    if value < 0.0 { "less" } else { "more" }
}

/// The style of a cell: how strong its colour is.
pub(super) fn strength(value: f64, largest: f64) -> String {
    let strength = if largest > 0.0 {
        (100.0 * value.abs() / largest).round()
    } else {
        0.0
    };
    format!("--strength: {strength}%")
}

/// A row's or a column's name as people read it.
pub(super) fn words(name: &str) -> String {
    name.replace('_', " ").replace('/', ", ")
}
