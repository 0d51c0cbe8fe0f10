//! How much each of the two models changed a measure, over the runs of a sweep.

use super::mean;
use crate::report::PooledAttribution;

/// The table on the terminal. Empty when no hook attributed anything.
pub(super) fn table(all: &[PooledAttribution]) -> String {
    let tables = all.iter().map(|one| {
        let mut text = mean::header(&format!("change since the start: {}", one.measure.name));
        match &one.changes {
            Some(changes) => {
                for (_, name, part) in changes.parts() {
                    text += &mean::row(&format!("  {name}"), &part);
                }
            }
            None => text += "fewer than two runs have it\n",
        }
        text + &mean::left_out_rows(&one.left_out)
    });
    tables.collect()
}
