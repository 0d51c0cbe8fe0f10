//! Tables with coloured cells, over runs that differ in their seeds.

use maud::{Markup, html};
use serde_json::{Value, json};

use super::heat_map::{grid, sign, strength, words};
use super::number::{number, range, signed};
use super::over_seeds::{LeftOut, OverSeeds, at_end};
use super::pooled_attribution::left_out;
use super::pooling::{Estimate, over_runs};
use super::record::{Moment, RecordedRun};
use crate::hook::HeatMap;

/// A heat map of the values at the end of several runs.
#[derive(Debug, Clone, PartialEq)]
pub struct PooledHeatMap {
    /// The heat map as it is declared.
    pub map: HeatMap,
    /// How many runs are pooled.
    pub runs: usize,
    /// The runs that are not.
    pub left_out: Vec<LeftOut>,
    /// The rows that have a cell; empty with fewer than two runs.
    pub rows: Vec<PooledCells>,
    /// The sums of cells whose rows have the same first part, such as `main` of `main/block_3`, in the order of the rows.
    pub sums: Vec<(String, Estimate)>,
}

/// A row of a [`PooledHeatMap`].
#[derive(Debug, Clone, PartialEq)]
pub struct PooledCells {
    /// The row.
    pub name: String,
    /// Its cells by column: the tag, and the mean with Student's t over the runs. None where no run has a value.
    pub cells: Vec<Option<(String, Estimate)>>,
}

impl PooledHeatMap {
    /// All cells, row by row.
    pub fn cells(&self) -> impl Iterator<Item = &(String, Estimate)> {
        self.rows.iter().flat_map(|row| row.cells.iter().flatten())
    }

    /// How many cells have an interval without 0.
    pub fn shown(&self) -> usize {
        self.cells().filter(|(_, mean)| mean.is_shown()).count()
    }

    /// As files have it: every cell, and the sums.
    pub fn as_json(&self) -> Value {
        let sums = self.sums.iter().map(|(name, sum)| {
            let mut found = sum.as_json();
            found["name"] = json!(name);
            found
        });
        let cells = self.cells().map(|(tag, cell)| {
            let mut found = cell.as_json();
            found["tag"] = json!(tag);
            found["shown"] = json!(cell.is_shown());
            found
        });
        json!({
            "tag": self.map.tag,
            "title": self.map.title,
            "runs": self.runs,
            "left_out": self.left_out.iter().map(LeftOut::as_json).collect::<Vec<_>>(),
            "sums": sums.collect::<Vec<_>>(),
            "cells": cells.collect::<Vec<_>>(),
        })
    }

    /// How many cells have an interval without 0, and how many would have one by chance.
    pub fn marked(&self) -> String {
        let all = self.cells().count();
        format!(
            "{} of {all} cells have an interval without 0; by chance about {:.0} would",
            self.shown(),
            0.05 * all as f64
        )
    }
}

/// The heat maps that the kinds of the runs' hooks declare, in the order of the first run that has them. One that no run has reported is
/// left out.
pub fn pooled_heat_maps(runs: &[&RecordedRun]) -> Vec<PooledHeatMap> {
    let mut found: Vec<PooledHeatMap> = Vec::new();
    let hooks = runs.iter().flat_map(|run| &run.hooks);
    for map in hooks.flat_map(|hook| &hook.shows.heat_maps) {
        if found.iter().all(|one| one.map.tag != map.tag) {
            found.extend(pooled(runs, map));
        }
    }
    found
}

/// None when no run has a cell.
fn pooled(runs: &[&RecordedRun], map: &HeatMap) -> Option<PooledHeatMap> {
    let has = |tag: &str| runs.iter().any(|run| run.at(tag, Moment::End).is_ok());
    let grid = grid(map, has);
    if grid.is_empty() {
        return None;
    }
    let (mut names, mut tags) = (Vec::new(), Vec::new());
    for (name, cells) in &grid {
        for tag in cells.iter().flatten() {
            names.push(name.clone());
            tags.push(tag.clone());
        }
    }
    let ends = OverSeeds::of(runs, |run| at_end(run, &tags));
    let sum = |places: &[usize]| {
        over_runs(&ends.each(|values| places.iter().map(|&place| values[place]).sum()))
    };
    let (mut rows, mut sums) = (Vec::new(), Vec::new());
    if ends.values.len() > 1 {
        let parts = parts(&names).into_iter();
        sums.extend(parts.map(|(name, places)| (name, sum(&places))));
        let mut places = 0..;
        for (name, cells) in grid {
            let cells = cells.into_iter().map(|tag| {
                let tag = tag?;
                Some((tag, sum(&[places.next()?])))
            });
            let cells = cells.collect();
            rows.push(PooledCells { name, cells });
        }
    }
    Some(PooledHeatMap {
        map: map.clone(),
        runs: ends.values.len(),
        left_out: ends.left_out,
        rows,
        sums,
    })
}

/// The first parts of the rows' names, such as `main` of `main/block_3`, each with the places where it stands.
fn parts(names: &[String]) -> Vec<(String, Vec<usize>)> {
    let mut found: Vec<(String, Vec<usize>)> = Vec::new();
    for (place, name) in names.iter().enumerate() {
        let Some((part, _)) = name.split_once('/') else {
            continue;
        };
        match found.iter_mut().find(|(known, _)| known == part) {
            Some((_, places)) => places.push(place),
            None => found.push((part.to_owned(), vec![place])),
        }
    }
    found
}

/// The tables of the page.
pub(super) fn heat_maps(all: &[PooledHeatMap]) -> Markup {
    html! { @for one in all { (heat_map(one)) } }
}

fn heat_map(one: &PooledHeatMap) -> Markup {
    let sizes = one.cells().map(|(_, mean)| mean.value.abs());
    let largest = sizes.fold(0.0, f64::max);
    html! {
        h3 { (one.map.title) ", mean over the seeds" }
        @if one.rows.is_empty() { p { "Fewer than two runs have it." } } @else {
            p {
                "A cell's title has its 95% interval, by Student's t over " (one.runs) " seeds. A star marks an interval without 0: " (one.marked()) "."
                @for (name, sum) in &one.sums {
                    " All of " (words(name)) ": "
                    span data-pooled={ (one.map.tag) "/" (name) } data-value=(sum.value) data-low=(sum.low) data-high=(sum.high) { (signed(sum.value)) " " (range(sum.low, sum.high)) }
                    "."
                }
            }
            div.scroll { table.heat {
                thead { tr { th { "" } @for column in &one.map.columns { th { (words(column)) } } } }
                tbody { @for row in &one.rows {
                    tr.heat { td { (words(&row.name)) } @for cell in &row.cells { (coloured(cell.as_ref(), largest)) } }
                } }
            } }
        }
        (left_out(std::iter::once((one.map.title.as_str(), &one.left_out[..]))))
    }
}

/// A cell, the stronger in colour the nearer its mean is to `largest`.
fn coloured(cell: Option<&(String, Estimate)>, largest: f64) -> Markup {
    let Some((tag, mean)) = cell else {
        return html! { td {} };
    };
    let Estimate {
        value, low, high, ..
    } = *mean;
    html! {
        td data-pooled=(tag) data-value=(value) data-low=(low) data-high=(high) title=(range(low, high)) class=(sign(value)) style=(strength(value, largest)) {
            (number(value)) @if mean.is_shown() { "\u{a0}*" }
        }
    }
}
