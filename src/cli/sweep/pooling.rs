//! What the runs of a sweep say together.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::grid::Cell;
use super::{State, state};
use crate::cli::report::write;
use crate::cli::terminal::{self, say};
use crate::report::gap::{Estimate, Pooled, groups, pool};
use crate::report::number::{number, range, signed};
use crate::report::{RecordedRun, page, verdict};

/// Pools the runs that are done, on the terminal, in `pooled.json` and in `report.html`. A run that cannot be read is left out, and named.
pub(super) fn summarise(folder: &Path, cells: &[Cell]) -> anyhow::Result<()> {
    let done = cells.iter().map(|cell| folder.join(&cell.name));
    let done = done.filter(|run| state(run) == State::Done);
    let runs = done.filter_map(|run: PathBuf| match RecordedRun::read(&run) {
        Ok(run) => Some(run),
        Err(error) => {
            say!("left out: {error}");
            None
        }
    });
    let runs: Vec<RecordedRun> = runs.collect();
    if runs.len() < 2 {
        say!(
            "{} of {} runs done: nothing to pool",
            runs.len(),
            cells.len()
        );
        return Ok(());
    }
    let mut document = Vec::new();
    for (label, runs) in groups(&runs) {
        if !label.is_empty() {
            say!("\n{label}");
        }
        if runs.len() < 2 {
            say!("a single run: nothing to pool");
            continue;
        }
        match pool(&runs) {
            Ok(pooled) => {
                terminal::out(&table(&pooled, &runs));
                document.push(json!({ "settings": label, "pooled": as_json(&pooled) }));
            }
            Err(error) => say!("not pooled: {error}"),
        }
    }
    let text = format!("{:#}\n", json!(document));
    write(&folder.join("pooled.json"), &text)?;
    let path = folder.join("report.html");
    write(&path, &page(&runs))?;
    say!(
        "\nread it: {}\nlook at it: tensorboard --logdir {}",
        path.display(),
        folder.display()
    );
    Ok(())
}

fn table(pooled: &Pooled, runs: &[&RecordedRun]) -> String {
    let mut text = format!(
        "\n{:<36}{:>12}{:>12}{:>12}{:>24}{:>10}\n",
        "gap of n_matches, female - male", "before", "after", "change", "95% interval", "p"
    );
    for (name, gap) in &pooled.changes {
        let name = name.rsplit_once('/').map_or(&**name, |(_, cell)| cell);
        let change = &gap.change;
        text += &format!(
            "{name:<36}{:>12}{:>12}{:>12}{:>24}{:>10}\n",
            signed(gap.before.difference),
            signed(gap.after.difference),
            signed(change.difference),
            range(change.low, change.high),
            number(change.two_way_p_value)
        );
    }
    for (name, one) in [
        ("over seeds, these prompts", &pooled.over_seeds),
        ("over seeds, identities, templates", &pooled.over_all),
    ] {
        text += &format!(
            "{name:<36}{:>36}{:>24}{:>10}\n",
            signed(one.value),
            range(one.low, one.high),
            number(one.p_value)
        );
    }
    let verdict = verdict::of_runs(pooled, runs);
    text += &format!("\n{}\n", verdict.headline);
    for caveat in verdict.caveats {
        text += &format!("{caveat}\n");
    }
    text
}

fn as_json(pooled: &Pooled) -> serde_json::Value {
    let estimate = |one: &Estimate| json!({ "change": one.value, "low": one.low, "high": one.high, "p_value": one.p_value });
    let runs = pooled.changes.iter().map(|(name, gap)| {
        json!({
            "run": name,
            "before": gap.before.difference,
            "after": gap.after.difference,
            "change": gap.change.difference,
            "low": gap.change.low,
            "high": gap.change.high,
            "p_value": gap.change.two_way_p_value,
        })
    });
    json!({
        "runs": runs.collect::<Vec<_>>(),
        "over_seeds": estimate(&pooled.over_seeds),
        "over_seeds_identities_templates": estimate(&pooled.over_all),
    })
}
