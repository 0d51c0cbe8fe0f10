//! How much each of the two models changed a measure, over runs that differ in their seeds.

use maud::{Markup, html};
use serde_json::{Value, json};

use super::number::{range, signed};
use super::over_seeds::{LeftOut, OverSeeds, at_end, left_out_of};
use super::pooling::{Estimate, over_runs};
use super::record::RecordedRun;
use crate::hook::TwoByTwo;

/// A measure of the four pairs of main model and assistant, each at the start or at the end, over several runs.
#[derive(Debug, Clone, PartialEq)]
pub struct PooledAttribution {
    /// The measure.
    pub measure: TwoByTwo,
    /// How many runs are pooled.
    pub runs: usize,
    /// The runs that are not.
    pub left_out: Vec<LeftOut>,
    /// The mean changes, with Student's t over the runs; None with fewer than two runs.
    pub changes: Option<Effects>,
}

/// A mean change, and how much each model made of it. The parts of the two models add up to the change in all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effects {
    /// The change when both models move from start to end.
    pub in_all: Estimate,
    /// The part of the main model.
    pub by_main: Estimate,
    /// The part of the assistant.
    pub by_assistant: Estimate,
    /// How much the change by one model depends on the state of the other.
    pub interaction: Estimate,
}

impl Effects {
    /// The four, each with the key that it has in files and its name.
    pub fn parts(&self) -> [(&'static str, &'static str, Estimate); 4] {
        [
            ("in_all", "in all", self.in_all),
            ("by_main", "by the main model", self.by_main),
            ("by_assistant", "by the assistant", self.by_assistant),
            ("interaction", "interaction", self.interaction),
        ]
    }
}

impl PooledAttribution {
    /// As files have it. With fewer than two runs there is none of the four.
    pub fn as_json(&self) -> Value {
        let mut found = json!({
            "tag": self.measure.tag,
            "name": self.measure.name,
            "runs": self.runs,
            "left_out": self.left_out.iter().map(LeftOut::as_json).collect::<Vec<_>>(),
        });
        let parts = self.changes.as_ref().map(Effects::parts);
        for (key, _, part) in parts.into_iter().flatten() {
            found[key] = part.as_json();
        }
        found
    }
}

/// The measures of the four pairs that the kinds of the runs' hooks declare, in the order of the first run that has them. One that no run
/// has reported is left out.
pub fn pooled_attributions(runs: &[&RecordedRun]) -> Vec<PooledAttribution> {
    let mut found: Vec<PooledAttribution> = Vec::new();
    let hooks = runs.iter().flat_map(|run| &run.hooks);
    for measure in hooks.flat_map(|hook| &hook.shows.two_by_two) {
        let is_known = found.iter().any(|one| one.measure.tag == measure.tag);
        let by_main = format!("{}/by_main", measure.tag);
        if !is_known && runs.iter().any(|run| run.scalars.contains_key(&by_main)) {
            found.push(pooled(runs, measure));
        }
    }
    found
}

fn pooled(runs: &[&RecordedRun], measure: &TwoByTwo) -> PooledAttribution {
    let cells = ["by_main", "by_assistant", "interaction"];
    let tags = cells.map(|cell| format!("{}/{cell}", measure.tag));
    let ends = OverSeeds::of(runs, |run| at_end(run, &tags));
    let mean = |of: fn(&Vec<f64>) -> f64| over_runs(&ends.each(of));
    let changes = (ends.values.len() > 1).then(|| Effects {
        in_all: mean(|cells| cells[0] + cells[1]),
        by_main: mean(|cells| cells[0]),
        by_assistant: mean(|cells| cells[1]),
        interaction: mean(|cells| cells[2]),
    });
    PooledAttribution {
        measure: measure.clone(),
        runs: ends.values.len(),
        left_out: ends.left_out,
        changes,
    }
}

/// The table of the page.
pub(super) fn attributions(all: &[PooledAttribution]) -> Markup {
    html! {
        @if !all.is_empty() {
            h3 { "Which of the two models, mean over the seeds" }
            p { "The change from start to end, and how much of it each model made, with 95% intervals by Student's t over the seeds." }
            div.scroll { table {
                thead { tr { th { "measure" } th { "in all" } th { "by the main model" } th { "by the assistant" } th { "interaction" } } }
                tbody { @for one in all { tr {
                    td { (one.measure.name) }
                    @match &one.changes {
                        Some(changes) => @for (key, _, part) in changes.parts() {
                            td data-pooled={ (one.measure.tag) "/" (key) } data-value=(part.value) data-low=(part.low) data-high=(part.high) {
                                (signed(part.value)) br; (range(part.low, part.high))
                            }
                        },
                        None => td.missing colspan="4" { "fewer than two runs have it" },
                    }
                } } }
            } }
            (left_out(all.iter().map(|one| (one.measure.name.as_str(), &one.left_out[..]))))
        }
    }
}

/// The runs that are left out of means over seeds, with the reasons. What holds for several means is said once.
pub(super) fn left_out<'a>(of: impl Iterator<Item = (&'a str, &'a [LeftOut])>) -> Markup {
    let said = left_out_of(of);
    html! {
        @if !said.is_empty() {
            div.caveats { ul { @for (LeftOut { run, reason }, names) in &said {
                li { (run) " is left out of " (names.join("; ")) ": " (reason) "." }
            } } }
        }
    }
}
