//! Tables with coloured cells, over the runs of a sweep.

use super::mean;
use crate::report::PooledHeatMap;

/// Cells that the terminal lists.
const LISTED: usize = 3;

/// The tables on the terminal: the sums, and the largest cells whose interval has no 0. All cells are in `pooled.json` and on the page.
pub(super) fn table(all: &[PooledHeatMap]) -> String {
    all.iter().map(one_table).collect()
}

fn one_table(one: &PooledHeatMap) -> String {
    let mut text = mean::header(&one.map.title);
    if one.rows.is_empty() {
        text += "fewer than two runs have it\n";
        return text + &mean::left_out_rows(&one.left_out);
    }
    for (name, sum) in &one.sums {
        text += &mean::row(&format!("  all of {name}"), sum);
    }
    let mut shown: Vec<_> = one.cells().filter(|(_, mean)| mean.is_shown()).collect();
    shown.sort_by(|(_, one), (_, other)| other.value.abs().total_cmp(&one.value.abs()));
    for (tag, mean) in shown.into_iter().take(LISTED) {
        let place = tag.strip_prefix(&one.map.tag).unwrap_or(tag);
        text += &mean::row(&format!("  {}", place.trim_start_matches('/')), mean);
    }
    text += &format!("  {}\n", one.marked());
    text + &mean::left_out_rows(&one.left_out)
}
