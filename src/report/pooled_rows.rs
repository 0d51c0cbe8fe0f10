//! What the hooks' tables show, over runs that differ in their seeds.

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
    /// How many of the runs have it at their start and at their end.
    pub runs: usize,
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
        let values: Vec<(f64, f64)> = runs.iter().filter_map(|run| ends(run, &row.tag)).collect();
        if values.is_empty() {
            continue;
        }
        let mean =
            |of: fn(&(f64, f64)) -> f64| values.iter().map(of).sum::<f64>() / values.len() as f64;
        let changes: Vec<f64> = values.iter().map(|(start, end)| end - start).collect();
        found.push(PooledRow {
            name: row.name.trim_start().to_owned(),
            tag: row.tag.clone(),
            runs: values.len(),
            start: mean(|one| one.0),
            end: mean(|one| one.1),
            change: (changes.len() > 1).then(|| over_runs(&changes)),
        });
    }
    found
}

/// A tag's values at start and end of a run; None where one of the two is missing.
fn ends(run: &RecordedRun, tag: &str) -> Option<(f64, f64)> {
    let at = |moment| run.at(tag, moment).ok().map(|point| point.1);
    Some((at(Moment::Start)?, at(Moment::End)?))
}
