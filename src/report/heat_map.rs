//! Tables whose cells are coloured by sign and size.

use maud::{Markup, html};

use super::number::number;
use super::record::{Moment, RecordedHook, RecordedRun};
use crate::hook::HeatMap;

/// The heat maps of a hook, of the values at the end of the run. One without any such value is left out.
pub(super) fn heat_maps(run: &RecordedRun, hook: &RecordedHook) -> Markup {
    html! { @for map in &hook.shows.heat_maps { (heat_map(run, map)) } }
}

/// A row's name and its values by column: tag, step and value.
type Cells = (String, Vec<Option<(String, u64, f64)>>);

fn heat_map(run: &RecordedRun, map: &HeatMap) -> Markup {
    let rows: Vec<Cells> = (map.rows.iter())
        .flat_map(|row| match row.strip_suffix('*') {
            Some(stem) => {
                let numbered = (0..).map(|number| cells(run, map, &format!("{stem}{number}")));
                numbered.take_while(is_there).collect()
            }
            None => vec![cells(run, map, row)],
        })
        .filter(is_there)
        .collect();
    let values = rows.iter().flat_map(|(_, cells)| cells.iter().flatten());
    let largest = values.map(|(_, _, value)| value.abs()).fold(0.0, f64::max);
    html! {
        @if !rows.is_empty() {
            h3 { (map.title) }
            div.scroll { table.heat {
                thead { tr { th { "" } @for column in &map.columns { th { (words(column)) } } } }
                tbody { @for (name, cells) in &rows {
                    tr.heat { td { (words(name)) } @for cell in cells { (coloured(cell.as_ref(), largest)) } }
                } }
            } }
        }
    }
}

fn is_there((_, cells): &Cells) -> bool {
    cells.iter().any(Option::is_some)
}

fn cells(run: &RecordedRun, map: &HeatMap, row: &str) -> Cells {
    let cell = |column: &String| {
        let tag = format!("{}/{row}/{column}", map.tag);
        let (step, value) = run.at(&tag, Moment::End).ok()?;
        Some((tag, step, value))
    };
    (row.to_owned(), map.columns.iter().map(cell).collect())
}

/// A cell, the stronger in colour the nearer its value is to `largest`.
fn coloured(cell: Option<&(String, u64, f64)>, largest: f64) -> Markup {
    let Some((tag, step, value)) = cell else {
        return html! { td {} };
    };
    let strength = if largest > 0.0 {
        (100.0 * value.abs() / largest).round()
    } else {
        0.0
    };
    let sign = if *value < 0.0 { "less" } else { "more" };
    html! {
        td data-tag=(tag) data-step=(step) data-value=(value) class=(sign) style={ "--strength: " (strength) "%" } { (number(*value)) }
    }
}

/// A row's or a column's name as people read it.
fn words(name: &str) -> String {
    name.replace('_', " ").replace('/', ", ")
}
