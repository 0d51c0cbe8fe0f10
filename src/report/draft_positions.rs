//! At which position of the drafts matches are gained or lost.

use maud::{Markup, html};

use super::chart::{Line, Row, intervals, lines_along};
use super::gap::{Gap, gap_of, settings};
use super::number::{number, range, signed};
use super::record::{At, Missing, Moment, RecordedContrast, RecordedRun};
use crate::measure::decoding::DraftPosition;
use crate::statistics::disparity::{Disparity, means};
use crate::statistics::observation::{Observation, SIDES};

/// A moment's means a prompt, first and second group.
type Means = [f64; 2];

/// What became of the drafted tokens at one position of the drafts, in both groups of a contrast, at the start and at the end of a run.
#[derive(Debug, Clone)]
pub struct PositionInDraft {
    /// The position, counted from 1.
    pub position: usize,
    /// Rounds a prompt in which the token there was checked, that is, it was drafted and all before it matched: at start and end.
    pub checked: [Means; 2],
    /// Rounds a prompt in which it matched: at start and end.
    pub matched: [Means; 2],
    /// How the gap of `matched` changed, with the mean change of each group. Over all positions these add up to the change of n_matches.
    pub change: Disparity,
}

/// What became of the drafted tokens at each position, from the first to the last that was checked at start or end.
///
/// # Errors
/// Why it is not known: the run was made before this was recorded, or has not measured n_matches at start and end.
pub fn positions_in_draft(
    run: &RecordedRun,
    contrast: &RecordedContrast,
) -> At<Vec<PositionInDraft>> {
    let prefix = run.gap_hook().map_or("", |hook| &hook.prefix);
    let name = |own: String| format!("{prefix}{own}");
    let first = name(DraftPosition::matched_column(1));
    if !run.columns.contains_key(&first) {
        let message = "this run did not record it; runs of this version do, at the milestones of the hook match-disparity";
        return Err(Missing(message.to_owned()));
    }
    let at = |moment| run.observed_at(contrast, &first, moment);
    let bare = [at(Moment::Start)?, at(Moment::End)?];
    // A position that no round checked at a moment has no column there.
    let observed = |own: String| {
        let column = name(own);
        let [before, after] = &bare;
        [(Moment::Start, before), (Moment::End, after)].map(|(moment, bare)| {
            let observed = run.observed_at(contrast, &column, moment);
            observed.unwrap_or_else(|_| bare.iter().map(nothing).collect())
        })
    };
    let settings = settings(run);
    let known = |position: &usize| {
        let column = name(DraftPosition::matched_column(*position));
        let at = |moment| run.values_at(&column, moment).is_ok();
        at(Moment::Start) || at(Moment::End)
    };
    let positions = (1..).take_while(known).map(|position| {
        let checked = observed(DraftPosition::checked_column(position));
        let matched = observed(DraftPosition::matched_column(position));
        let change = Disparity::change(&matched[0], &matched[1], &settings);
        Ok(PositionInDraft {
            position,
            checked: checked.each_ref().map(|one| means(one)),
            matched: matched.each_ref().map(|one| means(one)),
            change: change.map_err(|error| Missing(error.to_string()))?,
        })
    });
    positions.collect()
}

/// The same observation with zeros.
fn nothing(one: &Observation) -> Observation {
    let sides = one.sides.map(|side| side.map(|_| 0.0));
    Observation { sides, ..*one }
}

/// The part of the page on one contrast.
pub(super) fn by_position(run: &RecordedRun, contrast: &RecordedContrast) -> Markup {
    let found = positions_in_draft(run, contrast).and_then(|positions| {
        let gap = gap_of(run, contrast, &run.n_matches());
        let gap = gap.map_err(|lacking| Missing(lacking.reason()))?;
        Ok((positions, gap))
    });
    html! {
        h3 { "At which position of the draft matches are gained or lost" }
        @match found {
            Ok((positions, gap)) => (of_positions(contrast, &positions, &gap)),
            Err(why) => p.missing { "It is not known: " (why) "." },
        }
    }
}

fn of_positions(contrast: &RecordedContrast, positions: &[PositionInDraft], gap: &Gap) -> Markup {
    html! {
        p { "A token at a position is checked when it was drafted and all before it matched. The matches at all positions add up to n_matches, and so do their changes. A change of matches comes from how often a position is checked, or from the share that matches there. The intervals are those of the gap in this report; they are not corrected for looking at several positions." }
        (figures(contrast, positions))
        div.scroll { table {
            thead {
                tr { th { "" } th { "" } th colspan="2" { "checked, rounds a prompt" } th colspan="2" { "matched, rounds a prompt" } th colspan="2" { "share that matched" } th { "change of matches" } th { "95% interval" } }
                tr { th { "position" } th { "" } @for _ in 0..3 { th { "start" } th { "end" } } th {} th {} }
            }
            tbody {
                @for one in positions { (rows(contrast, &one.position.to_string(), &one.checked, &one.matched, &one.change)) }
                (rows(contrast, "all", &all_checked(positions), &[gap.before.means, gap.after.means], &gap.change))
            }
        } }
    }
}

/// The means of all positions together.
fn all_checked(positions: &[PositionInDraft]) -> [Means; 2] {
    let sum = |moment: usize, side: usize| -> f64 {
        positions.iter().map(|one| one.checked[moment][side]).sum()
    };
    [0, 1].map(|moment| SIDES.map(|side| sum(moment, side)))
}

/// The rows of one position: both groups, and their gap.
fn rows(
    contrast: &RecordedContrast,
    position: &str,
    checked: &[Means; 2],
    matched: &[Means; 2],
    change: &Disparity,
) -> Markup {
    let shares = share(checked, matched);
    let cell = |[first, second]: Means| {
        // Without a round that checked it there is no share.
        let gap = first - second;
        html! { td { @if gap.is_finite() { (signed(gap)) } } }
    };
    html! {
        @for side in SIDES {
            tr data-position=(position) data-of=(contrast.names.groups[side]) {
                td { (position) } td.text { (contrast.names.groups[side]) }
                @for of in [checked, matched, &shares] { @for means in of { td { @if means[side].is_finite() { (number(means[side])) } } } }
                td { (signed(change.means[side])) } td {}
            }
        }
        tr data-position=(position) data-of="gap" {
            td { (position) } td.text { (contrast.gap()) }
            @for of in [checked, matched, &shares] { @for means in of { (cell(*means)) } }
            td { (signed(change.difference)) } td { (range(change.low, change.high)) }
        }
    }
}

/// The share of the checked tokens that matched; NaN where none was checked.
fn share(checked: &[Means; 2], matched: &[Means; 2]) -> [Means; 2] {
    [0, 1].map(|moment| SIDES.map(|side| matched[moment][side] / checked[moment][side]))
}

fn figures(contrast: &RecordedContrast, positions: &[PositionInDraft]) -> Markup {
    let line = |of: fn(&PositionInDraft, usize, usize) -> f64| {
        let groups = contrast.names.groups.iter().enumerate();
        let lines = groups.flat_map(|(side, group)| {
            ["start", "end"]
                .into_iter()
                .enumerate()
                .map(move |(moment, when)| {
                    let points = positions
                        .iter()
                        .map(|one| (one.position as f64, of(one, moment, side)));
                    Line::new(
                        &format!("{group}, {when}"),
                        1 + 2 * side + moment,
                        points.collect(),
                    )
                })
        });
        lines.collect::<Vec<Line>>()
    };
    let matched = line(|one, moment, side| one.matched[moment][side]);
    let shares = line(|one, moment, side| share(&one.checked, &one.matched)[moment][side]);
    let changes = positions.iter().map(|one| Row {
        name: format!("position {}", one.position),
        value: (one.change.difference, one.change.low, one.change.high),
        colour: 1,
    });
    let changes: Vec<Row> = changes.filter(|row| row.value.1.is_finite()).collect();
    let along = "draft position";
    html! {
        div.figures {
            (lines_along(along, "Matches at each position", "rounds a prompt", &matched))
            (lines_along(along, "Share of the checked tokens that matched", "", &shares))
            @if !changes.is_empty() {
                (intervals(&format!("Change of the gap of matches, {}", contrast.gap()), "rounds a prompt, 95% intervals", &changes))
            }
        }
    }
}
