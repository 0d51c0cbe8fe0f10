//! What the runs of a sweep say together.

use std::path::PathBuf;

use serde_json::json;

use super::mean::{self, cell};
use super::runs::Sweep;
use super::{attribution, heat_map};
use crate::cli::report::write;
use crate::cli::terminal::{self, say};
use crate::record::State;
use crate::record::layout::REPORT;
use crate::registry::Registry;
use crate::report::number::{number, range, signed};
use crate::report::pooling::{Estimate, Pooled, groups, pool};
use crate::report::{
    At, LeftOut, PooledAttribution, PooledHeatMap, PooledPositions, PooledRow, RecordedRun,
    left_out_of, mixing, page, pooled_attributions, pooled_heat_maps, pooled_positions,
    pooled_rows, provenance, verdict,
};
use crate::statistics::disparity::Disparity;

/// Pools the runs that are done, on the terminal, in `pooled.json` and in `report.html`. A run that cannot be read is left out, and named.
///
/// # Errors
/// When the runs were made of other inputs under the same settings, unless that is forced, or a file cannot be written.
pub(super) fn summarise(sweep: &Sweep, registry: &Registry) -> anyhow::Result<()> {
    let (folder, cells, force) = (sweep.folder, sweep.cells, sweep.arguments.force);
    let done = cells.iter().filter(|cell| sweep.state(cell) == State::Done);
    let done = done.map(|cell| sweep.run(cell));
    let read = if force {
        RecordedRun::read_damaged
    } else {
        RecordedRun::read
    };
    let mut unreadable = Vec::new();
    let runs = done.filter_map(|run: PathBuf| match read(&run, registry) {
        Ok(run) => Some(run),
        Err(error) => {
            say!("left out: {error}");
            let reason = error.to_string();
            unreadable.push(json!({ "run": run.display().to_string(), "reason": reason }));
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
    if !force {
        mixing::check(&runs.iter().collect::<Vec<_>>())?;
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
        let rows = pooled_rows(&runs);
        let (attributions, heat_maps) = (pooled_attributions(&runs), pooled_heat_maps(&runs));
        terminal::out(&rows_table(&rows));
        terminal::out(&attribution::table(&attributions));
        terminal::out(&heat_map::table(&heat_maps));
        match pool(&runs) {
            Ok(all) => {
                for pooled in &all {
                    terminal::out(&table(pooled, &runs));
                    let contrast = &pooled.contrast.names;
                    document.push(json!({
                        "settings": label,
                        "contrast": contrast.name,
                        "groups": contrast.groups,
                        "pooled": as_json(pooled, &runs),
                    }));
                }
            }
            Err(error) => {
                say!("not pooled: {error}");
                document.push(json!({ "settings": label, "not_pooled": error.to_string() }));
            }
        }
        document.push(json!({
            "settings": label,
            "rows": rows_as_json(&rows),
            "positions": pooled_positions(&runs).iter().map(PooledPositions::as_json).collect::<Vec<_>>(),
            "attributions": attributions.iter().map(PooledAttribution::as_json).collect::<Vec<_>>(),
            "heat_maps": heat_maps.iter().map(PooledHeatMap::as_json).collect::<Vec<_>>(),
        }));
    }
    if !unreadable.is_empty() {
        document.push(json!({ "unreadable": unreadable }));
    }
    let text = format!("{:#}\n", json!(document));
    write(&folder.join("pooled.json"), &text)?;
    let path = folder.join(REPORT);
    write(&path, &page(&runs))?;
    say!(
        "\nread it: {}\nlook at it: tensorboard --logdir {}",
        path.display(),
        folder.display()
    );
    Ok(())
}

/// Every row of the hooks' tables, with its mean over the seeds.
fn rows_table(rows: &[PooledRow]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\n{:<36}{:>12}{:>12}{:>12}{:>24}{:>10}\n",
        "mean over seeds", "start", "end", "change", "95% interval", "p"
    );
    for row in rows {
        let (start, end) = (number(row.start), number(row.end));
        text += &format!("{:<36}{start:>12}{end:>12}", row.name);
        text += &match row.change {
            Some(change) => format!(
                "{:>12}{:>24}{:>10}\n",
                signed(change.value),
                range(change.low, change.high),
                number(change.p_value)
            ),
            None => format!(
                "{:>12}   (a single run has it)\n",
                signed(row.end - row.start)
            ),
        };
    }
    let rows = rows.iter();
    for (one, names) in left_out_of(rows.map(|row| (row.name.as_str(), &row.left_out[..]))) {
        let run = cell(&one.run);
        text += &format!(
            "{run} is left out of {}: {}\n",
            names.join("; "),
            one.reason
        );
    }
    text
}

fn rows_as_json(rows: &[PooledRow]) -> serde_json::Value {
    let rows = rows.iter().map(|row| {
        json!({
            "tag": row.tag,
            "name": row.name,
            "runs": row.runs,
            "left_out": row.left_out.iter().map(LeftOut::as_json).collect::<Vec<_>>(),
            "start": row.start,
            "end": row.end,
            "change": row.end - row.start,
            "low": row.change.map(|change| change.low),
            "high": row.change.map(|change| change.high),
            "p_value": row.change.map(|change| change.p_value),
        })
    });
    rows.collect()
}

fn table(pooled: &Pooled, runs: &[&RecordedRun]) -> String {
    let mut text = format!(
        "\n{:<36}{:>12}{:>12}{:>12}{:>24}{:>10}\n",
        format!("gap of n_matches, {}", pooled.contrast.gap()),
        "before",
        "after",
        "change",
        "95% interval",
        "p"
    );
    for (name, gap) in &pooled.changes {
        let name = cell(name);
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
    for (name, lacking) in &pooled.left_out {
        let side = |gap: &At<Disparity>| match gap {
            Ok(gap) => signed(gap.difference),
            Err(_) => "-".to_owned(),
        };
        text += &format!(
            "{:<36}{:>12}{:>12}{:>12}   ({})\n",
            cell(name),
            side(&lacking.before),
            side(&lacking.after),
            "-",
            lacking.reason()
        );
    }
    for (name, one) in [
        ("over seeds, these prompts", &pooled.over_seeds),
        ("over seeds, identities, templates", &pooled.over_all),
    ] {
        text += &mean::row(name, one);
    }
    let verdict = verdict::of_runs(pooled, runs);
    text += &format!("\n{}\n", verdict.headline);
    for caveat in verdict.caveats {
        text += &format!("{caveat}\n");
    }
    text
}

/// What `pooled.json` says of runs that were pooled. What was not measured is null, with its reason.
fn as_json(pooled: &Pooled, runs: &[&RecordedRun]) -> serde_json::Value {
    let estimate = |one: &Estimate| json!({ "change": one.value, "low": one.low, "high": one.high, "p_value": one.p_value });
    let measured = pooled.changes.iter().map(|(name, gap)| {
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
    let left_out = pooled.left_out.iter().map(|(name, lacking)| {
        let side = |gap: &At<Disparity>| gap.as_ref().ok().map(|gap| gap.difference);
        json!({
            "run": name,
            "before": side(&lacking.before),
            "after": side(&lacking.after),
            "change": null,
            "reason": lacking.reason(),
        })
    });
    let caveats = runs.iter().flat_map(|run| {
        let caveats = provenance::caveats(run).into_iter();
        caveats.map(|caveat| format!("{}: {caveat}", run.name()))
    });
    let mixed = mixing::mixed(runs);
    let mixed = mixed.iter().map(|what| mixing::caveat(what));
    json!({
        "runs": measured.collect::<Vec<_>>(),
        "left_out": left_out.collect::<Vec<_>>(),
        "over_seeds": estimate(&pooled.over_seeds),
        "over_seeds_identities_templates": estimate(&pooled.over_all),
        "caveats": mixed.chain(caveats).collect::<Vec<_>>(),
    })
}
