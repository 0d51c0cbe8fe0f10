//! What the hooks' tables show, over runs that differ in their seeds.

use super::over_seeds::{LeftOut, OverSeeds};
use super::pooling::{Estimate, over_runs};
use super::record::{Moment, RecordedRun};
use crate::hook::Cells;

/// A row of the tables over several runs.
#[derive(Debug, Clone, PartialEq)]
pub struct PooledRow {
    /// What is measured.
    pub name: String,
    /// Its tag.
    pub tag: String,
    /// How many runs are pooled: those that have it at their start and at their end.
    pub runs: usize,
    /// The runs that are not.
    pub left_out: Vec<LeftOut>,
    /// Its mean at the start.
    pub start: f64,
    /// Its mean at the end.
    pub end: f64,
    /// Its mean change, with Student's t over the runs; None with a single run.
    pub change: Option<Estimate>,
}

/// The rows of start, end and change that the kinds of the runs' hooks declare, in the order of the first run that has them.
pub fn pooled_rows(runs: &[&RecordedRun]) -> Vec<PooledRow> {
    let mut found: Vec<PooledRow> = Vec::new();
    let rows = runs.iter().flat_map(|run| run.rows());
    for row in rows.filter(|row| row.cells == Cells::Change) {
        if found.iter().any(|one| one.tag == row.tag) {
            continue;
        }
        let ends = OverSeeds::of(runs, |run| both_ends(run, &row.tag));
        let count = ends.values.len();
        if count == 0 {
            continue;
        }
        let mean = |of: fn(&(f64, f64)) -> f64| ends.each(of).iter().sum::<f64>() / count as f64;
        let changes = ends.each(|(start, end)| end - start);
        found.push(PooledRow {
            name: row.name.trim_start().to_owned(),
            tag: row.tag.clone(),
            runs: count,
            start: mean(|one| one.0),
            end: mean(|one| one.1),
            change: (count > 1).then(|| over_runs(&changes)),
            left_out: ends.left_out,
        });
    }
    found
}

/// A tag's values at start and end of a run, or why one of the two is missing.
fn both_ends(run: &RecordedRun, tag: &str) -> Result<(f64, f64), String> {
    let at = |moment| {
        let point = run.at(tag, moment);
        point.map(|point| point.1).map_err(|why| why.to_string())
    };
    Ok((at(Moment::Start)?, at(Moment::End)?))
}
