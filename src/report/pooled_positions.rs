//! At which position of the drafts matches are gained or lost, over runs that differ in their seeds.

use maud::{Markup, html};
use serde_json::{Value, json};

use super::draft_positions::{PositionInDraft, positions_in_draft};
use super::number::{range, signed};
use super::over_seeds::{LeftOut, OverSeeds};
use super::pooled_attribution::left_out;
use super::pooling::{Estimate, over_runs, own};
use super::record::{RecordedContrast, RecordedRun};

/// The changes of the matches at each position of the drafts in a contrast, over several runs.
#[derive(Debug, Clone)]
pub struct PooledPositions {
    /// The contrast.
    pub contrast: RecordedContrast,
    /// How many runs are pooled.
    pub runs: usize,
    /// The runs that are not.
    pub left_out: Vec<LeftOut>,
    /// The positions in their order; empty with fewer than two runs.
    pub positions: Vec<PooledPosition>,
}

/// The mean changes at one position, with Student's t over the runs. Over all positions they add up to the mean change of n_matches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PooledPosition {
    /// Of the first group.
    pub first: Estimate,
    /// Of the second group.
    pub second: Estimate,
    /// Of the gap.
    pub gap: Estimate,
}

impl PooledPosition {
    /// The three, each with the key that it has in files.
    fn parts(&self) -> [(&'static str, Estimate); 3] {
        [
            ("first", self.first),
            ("second", self.second),
            ("gap", self.gap),
        ]
    }
}

impl PooledPositions {
    /// As files have it.
    pub fn as_json(&self) -> Value {
        let positions = self.positions.iter().zip(1..).map(|(one, position)| {
            let mut found = json!({ "position": position });
            for (key, part) in one.parts() {
                found[key] = part.as_json();
            }
            found
        });
        json!({
            "contrast": self.contrast.names.name,
            "groups": self.contrast.names.groups,
            "runs": self.runs,
            "left_out": self.left_out.iter().map(LeftOut::as_json).collect::<Vec<_>>(),
            "positions": positions.collect::<Vec<_>>(),
        })
    }
}

/// The positions in each contrast of the first run. A contrast in which no run has recorded them is left out.
pub fn pooled_positions(runs: &[&RecordedRun]) -> Vec<PooledPositions> {
    let contrasts = runs.first().map_or(&[][..], |run| &run.contrasts);
    let pooled = contrasts.iter().filter_map(|contrast| {
        let found = OverSeeds::of(runs, |run| {
            let own = own(run, contrast).map_err(|error| error.to_string())?;
            positions_in_draft(run, own).map_err(|why| why.to_string())
        });
        (!found.values.is_empty()).then(|| pooled(contrast, found))
    });
    pooled.collect()
}

fn pooled(contrast: &RecordedContrast, found: OverSeeds<Vec<PositionInDraft>>) -> PooledPositions {
    let longest = found.values.iter().map(Vec::len).max().unwrap_or(0);
    let positions = (0..longest).map(|place| {
        // Where a run has no such position, nothing changed there.
        let mean = |of: fn(&PositionInDraft) -> f64| {
            over_runs(&found.each(|positions| positions.get(place).map_or(0.0, of)))
        };
        PooledPosition {
            first: mean(|one| one.change.means[0]),
            second: mean(|one| one.change.means[1]),
            gap: mean(|one| one.change.difference),
        }
    });
    let runs = found.values.len();
    PooledPositions {
        contrast: contrast.clone(),
        runs,
        positions: positions.filter(|_| runs > 1).collect(),
        left_out: found.left_out,
    }
}

/// The tables of the page.
pub(super) fn positions(all: &[PooledPositions]) -> Markup {
    html! { @for one in all { (table(one)) } }
}

fn table(one: &PooledPositions) -> Markup {
    let names = &one.contrast.names;
    let title = format!(
        "Change of matches at each position of the draft: {}",
        names.name
    );
    html! {
        h3 { (title) ", mean over the seeds" }
        @if one.positions.is_empty() { p { "Fewer than two runs have it." } } @else {
            p { "Rounds a prompt in which the token there matched, end less start, with 95% intervals by Student's t over " (one.runs) " seeds. The positions add up to the change of n_matches." }
            div.scroll { table {
                thead { tr { th { "position" } @for group in &names.groups { th { (group) } } th { (one.contrast.gap()) } } }
                tbody { @for (index, position) in one.positions.iter().enumerate() { tr {
                    td { (index + 1) }
                    @for (key, part) in position.parts() {
                        td data-pooled={ "positions/" (names.name) "/" (index + 1) "/" (key) } data-value=(part.value) data-low=(part.low) data-high=(part.high) {
                            (signed(part.value)) br; (range(part.low, part.high))
                        }
                    }
                } } }
            } }
        }
        (left_out(std::iter::once((title.as_str(), &one.left_out[..]))))
    }
}
