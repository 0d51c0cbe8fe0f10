//! How much each of the two models changed a measure, over the runs of a sweep.

use serde_json::{Value, json};

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

/// What `pooled.json` says. With fewer than two runs it has none of the four.
pub(super) fn as_json(all: &[PooledAttribution]) -> Value {
    let all = all.iter().map(|one| {
        let mut found = json!({
            "tag": one.measure.tag,
            "name": one.measure.name,
            "runs": one.runs,
            "left_out": mean::left_out_as_json(&one.left_out),
        });
        let parts = one.changes.as_ref().map(|changes| changes.parts());
        for (key, _, part) in parts.into_iter().flatten() {
            found[key] = mean::as_json(&part);
        }
        found
    });
    all.collect()
}
