//! The parts of a run's report.

use maud::{Markup, PreEscaped, html};

use super::attribution::{of_the_gap, two_by_two};
use super::chart::{self, Line, before_and_after, intervals, lines};
use super::gap::{Gap, Incomplete};
use super::heat_map::heat_maps;
use super::number::{number, range, signed};
use super::read::{Read, ReadContrast};
use super::record::{Moment, RecordedContrast, RecordedHook, RecordedRun};
use super::table::{self, spans};
use crate::foreign;
use crate::hook::{Bars, Recorded, Row, Section};
use crate::tensorboard::Chart;

/// The style sheet's colours of lines.
const COLOURS: usize = 4;

/// Extremes that are shown.
const SHOWN: usize = 5;

fn named(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    let rows = rows.iter();
    rows.map(|(name, tag)| ((*name).to_owned(), (*tag).to_owned()))
        .collect()
}

fn points(run: &RecordedRun, tag: &str) -> Vec<(f64, f64)> {
    let values = run.scalars.get(tag).into_iter().flatten();
    values.map(|&(step, value)| (step as f64, value)).collect()
}

/// A figure of those tags that the run has; None when it has none.
fn figure(
    run: &RecordedRun,
    title: &str,
    unit: &str,
    tags: &[(&str, &str, usize)],
) -> Option<Markup> {
    let drawn: Vec<Line> = tags
        .iter()
        .filter(|(_, tag, _)| run.scalars.contains_key(*tag))
        .map(|(name, tag, colour)| Line::new(name, *colour, points(run, tag)))
        .collect();
    (!drawn.is_empty()).then(|| lines(title, unit, &drawn))
}

/// The gap of n_matches in a contrast over the milestones, and both groups.
fn gap_over_time(one: &ReadContrast) -> Markup {
    let Some(course) = &one.course else {
        return html! {};
    };
    let steps = || course.steps.iter().map(|&step| step as f64);
    let line = |name: &str, colour, of: &[(f64, f64, f64)]| {
        let values = steps().zip(of.iter().map(|one| one.0));
        Line::new(name, colour, values.collect())
            .with_band(of.iter().map(|one| (one.1, one.2)).collect())
    };
    let gaps = course.gaps.iter();
    let gaps: Vec<(f64, f64, f64)> = gaps
        .map(|one| (one.difference, one.low, one.high))
        .collect();
    let change = course.since_start.as_ref().map(|since| {
        let changes = since.changes.iter().map(|one| one.difference);
        Line::new("change", 4, steps().zip(changes).collect()).with_band(since.bands.clone())
    });
    let [first, second] = &one.contrast.names.groups;
    let gap = one.contrast.gap();
    html! {
        div.figures {
            (lines(&format!("The gap, {first} less {second}"), "n_matches a prompt, 95% interval of each milestone", &[line(&gap, 1, &gaps)]))
            @if let Some(change) = change { (lines("Its change since the start", "95% band for all milestones at once", &[change])) }
            (lines("Both groups", "n_matches a prompt, 95% intervals", &[line(first, 2, &course.groups[0]), line(second, 1, &course.groups[1])]))
        }
    }
}

/// Loss, perplexity and learning rate.
pub(super) fn curves(run: &RecordedRun) -> Markup {
    let figures = [
        figure(
            run,
            "Training loss",
            "nats a token",
            &[
                ("main model", "train/main/loss", 1),
                ("assistant", "train/assistant/loss", 2),
            ],
        ),
        figure(
            run,
            "Held-out perplexity",
            "",
            &[
                ("main model", "eval/main/perplexity", 1),
                ("assistant", "eval/assistant/perplexity", 2),
            ],
        ),
    ];
    let figures: Vec<Markup> = figures.into_iter().flatten().collect();
    if figures.is_empty() {
        // A replay trains nothing.
        return html! {};
    }
    html! {
        h2 { "Fine-tuning" }
        div.figures { @for figure in figures { (figure) } }
        (spans(run, &named(&[
            ("training loss, main model", "train/main/loss"), ("training loss, assistant", "train/assistant/loss"),
            ("held-out loss, main model", "eval/main/loss"), ("held-out loss, assistant", "eval/assistant/loss"),
            ("held-out perplexity, main model", "eval/main/perplexity"), ("held-out perplexity, assistant", "eval/assistant/perplexity"),
        ])))
    }
}

/// A tag's values at start and end, to be drawn; None where one of the two is missing.
fn bar(run: &RecordedRun, name: &str, tag: &str) -> Option<(String, f64, f64)> {
    let at = |moment| run.at(tag, moment).ok().map(|point| point.1);
    Some((name.to_owned(), at(Moment::Start)?, at(Moment::End)?))
}

/// What a hook has measured: the charts and bars that its kind declares, and each of its tags at start and end.
pub(super) fn of_hook(read: &Read, hook: &RecordedHook) -> Markup {
    let run = read.run;
    let rows = table_rows(run, hook);
    let bars = hook
        .shows
        .bars
        .iter()
        .filter_map(|bars| drawn_bars(run, bars));
    let charts = hook.shows.charts.iter();
    let charts = charts.filter_map(|(_, chart)| declared(run, chart));
    let figures: Vec<Markup> = bars.chain(charts).collect();
    let Some((heading, about)) = &hook.shows.heading else {
        return html! {};
    };
    if rows.is_empty() && figures.is_empty() && hook.shows.two_by_two.is_empty() {
        return html! {};
    }
    let measures_the_gap = run.gap_hook().is_some_and(|one| one.name == hook.name);
    html! {
        h2 { (heading) }
        p { (about) }
        @if measures_the_gap && read.contrasts.iter().any(|one| one.course.is_some()) {
            @for one in &read.contrasts { (gap_over_time(one)) }
        } @else if !figures.is_empty() {
            div.figures { @for figure in figures { (figure) } }
        }
        (two_by_two(run, hook))
        @if !hook.shows.two_by_two.is_empty() { (of_the_gap(run)) }
        (spans(run, &rows))
        (heat_maps(run, hook))
        @if let Some(section) = hook.section { (made(run, hook, section)) }
    }
}

/// What a kind's own function makes of the hook's records. A panic in it is said, and ends nothing.
fn made(run: &RecordedRun, hook: &RecordedHook, section: Section) -> Markup {
    match foreign::call(|| section(&OfHook { run, hook })) {
        Ok(made) => PreEscaped(made),
        Err(panic) => {
            html! { p.missing { "The rest of this section is missing: its function panicked: " (panic) } }
        }
    }
}

/// The records of a hook in a run.
struct OfHook<'a> {
    run: &'a RecordedRun,
    hook: &'a RecordedHook,
}

impl OfHook<'_> {
    fn name(&self, own: &str) -> String {
        format!("{}{own}", self.hook.prefix)
    }
}

impl Recorded for OfHook<'_> {
    fn points(&self, tag: &str) -> &[(u64, f64)] {
        let points = self.run.scalars.get(&self.name(tag));
        points.map_or(&[], Vec::as_slice)
    }

    fn column_at_start(&self, column: &str) -> Option<&[f64]> {
        self.run.values_at(&self.name(column), Moment::Start).ok()
    }

    fn column_at_end(&self, column: &str) -> Option<&[f64]> {
        self.run.values_at(&self.name(column), Moment::End).ok()
    }

    fn prompts(&self) -> &[String] {
        &self.run.prompts
    }
}

/// The rows of a hook's table: the tags that it has reported, those with a name first. The training section has those of losses, other tables
/// those of the four pairs and of heat maps.
fn table_rows(run: &RecordedRun, hook: &RecordedHook) -> Vec<(String, String)> {
    let elsewhere = |tag: &str| {
        let mut two_by_two = hook.shows.two_by_two.iter();
        is_of_training(tag)
            || two_by_two.any(|measure| tag.starts_with(&measure.tag))
            || hook.shows.heat_maps.iter().any(|map| map.has(tag))
    };
    let reported = run.reporters.iter();
    let reported = reported.filter(|(tag, by)| **by == hook.name && !elsewhere(tag));
    let mut tags: Vec<&String> = reported
        .map(|(tag, _)| tag)
        .filter(|tag| run.scalars.contains_key(*tag))
        .collect();
    let known = hook.shows.rows.iter().chain(&hook.shows.names);
    let known: Vec<&Row> = known.collect();
    let place = |tag: &str| known.iter().position(|row| row.tag == tag);
    tags.sort_by_key(|tag| place(tag).unwrap_or(usize::MAX));
    let named = |tag: &String| (run.row_name(tag).unwrap_or(tag).to_owned(), tag.clone());
    tags.into_iter().map(named).collect()
}

/// Whether a tag is one of the loop's own.
fn is_of_training(tag: &str) -> bool {
    tag.starts_with("train/") || tag.starts_with("eval/")
}

/// Declared bars; None where none has a start and an end.
fn drawn_bars(run: &RecordedRun, bars: &Bars) -> Option<Markup> {
    let shares = bars.shares.iter();
    let shares = shares.filter_map(|(name, tag)| bar(run, name, tag));
    let shares: Vec<(String, f64, f64)> = shares.collect();
    let most = shares
        .iter()
        .map(|bar| bar.1.max(bar.2))
        .fold(0.0, f64::max);
    (most > 0.0).then(|| before_and_after(&bars.title, most, &shares))
}

/// The figure of a declared chart; None when none of its tags is there, or the training section has them.
fn declared(run: &RecordedRun, chart: &Chart) -> Option<Markup> {
    let shown = |tag: &str| !is_of_training(tag) && run.scalars.contains_key(tag);
    match chart {
        Chart::Lines { title, tags } => {
            let drawn = tags.iter().filter(|tag| shown(tag)).enumerate();
            let drawn = drawn.map(|(index, tag)| {
                let name = run.row_name(tag).unwrap_or(tag);
                Line::new(name, 1 + index % COLOURS, points(run, tag))
            });
            let drawn: Vec<Line> = drawn.collect();
            (!drawn.is_empty()).then(|| lines(title, "", &drawn))
        }
        Chart::Band {
            title,
            value,
            lower,
            upper,
        } => {
            // An end that was not reported at a step is not a number there.
            let end = |tag: &str, step: u64| {
                let points = run.scalars.get(tag).map_or(&[][..], Vec::as_slice);
                let found = points.binary_search_by_key(&step, |(at, _)| *at);
                found.map_or(f64::NAN, |index| points[index].1)
            };
            let steps = run.scalars.get(value).into_iter().flatten();
            let band = steps.map(|&(step, _)| (end(lower, step), end(upper, step)));
            let name = run.row_name(value).unwrap_or(value);
            let line = Line::new(name, 1, points(run, value)).with_band(band.collect());
            shown(value).then(|| lines(title, "", &[line]))
        }
    }
}

/// The change of a contrast's gap in everything that was measured prompt by prompt.
pub(super) fn family(read: &Read, one: &ReadContrast) -> Markup {
    if one.gaps.is_empty() && one.incomplete.is_empty() {
        return html! {};
    }
    let n_matches = read.run.n_matches();
    let standardised = |gap: &Gap| {
        // In standard deviations of the changes, so that all fit one axis.
        let change = &gap.change;
        let of = |value: f64| value / change.deviation;
        (of(change.difference), of(change.low), of(change.high))
    };
    let rows: Vec<chart::Row> = one
        .gaps
        .iter()
        .filter(|gap| gap.change.deviation > 0.0 && gap.change.error.is_known())
        .map(|gap| chart::Row {
            name: measure(&gap.column),
            value: standardised(gap),
            colour: if gap.column == n_matches { 1 } else { 3 },
        })
        .collect();
    let [first, second] = &one.contrast.names.groups;
    let looked_at: usize = read.contrasts.iter().map(|one| one.gaps.len()).sum();
    let of_what = if one.contrast.is_paired() {
        "on the same matched pairs"
    } else {
        "between the groups' means"
    };
    html! {
        h2 { "The gap in every measure" @if read.contrasts.len() > 1 { ": " (one.contrast.names.name) } }
        p { "The gap, " (first) " less " (second) ", " (of_what) ", for each value that was taken prompt by prompt. p is for other identities and templates; the last column is adjusted (Holm) for looking at " (looked_at) " measures." }
        @if !rows.is_empty() { div.figures { (intervals("Change of the gap", "standard deviations of the changes, 95% intervals", &rows)) } }
        div.scroll { table {
            thead { tr { th { "measure" } th { "before" } th { "after" } th { "change" } th { "95% interval" } th { "p" } th { "p, adjusted" } } }
            tbody {
                @for gap in &one.gaps { tr data-measure=(gap.column) {
                    td { (measure(&gap.column)) } td { (signed(gap.before.difference)) } td { (signed(gap.after.difference)) } td { (signed(gap.change.difference)) }
                    td { (range(gap.change.low, gap.change.high)) } td { (number(gap.change.two_way_p_value)) } td { (number(gap.adjusted_p_value)) }
                } }
                @for lacking in &one.incomplete { (unmeasured(lacking)) }
            }
        } }
    }
}

/// A column's name as people read it.
fn measure(column: &str) -> String {
    column.replace('_', " ")
}

/// A measure without a change: what is there of it, and why the rest is not.
fn unmeasured(lacking: &Incomplete) -> Markup {
    html! { tr data-measure=(lacking.column) {
        td { (measure(&lacking.column)) } (table::gap(&lacking.before)) (table::gap(&lacking.after)) td {} td {} td {} td {}
    } }
}

/// The pairs of a contrast that moved most from start to end.
pub(super) fn moved_most(run: &RecordedRun, contrast: &RecordedContrast) -> Markup {
    let at = |moment| run.observed_at(contrast, &run.n_matches(), moment);
    let (Ok(first), Ok(last)) = (at(Moment::Start), at(Moment::End)) else {
        return html! {};
    };
    let gaps = first.iter().zip(&last).enumerate();
    let gaps = gaps.filter_map(|(index, (first, last))| {
        Some((index, first.difference()?, last.difference()?))
    });
    let mut order: Vec<(usize, f64, f64)> = gaps.collect();
    let moved = |(_, before, after): &(usize, f64, f64)| (after - before).abs();
    order.sort_by(|a, b| moved(b).total_cmp(&moved(a)).then(a.0.cmp(&b.0)));
    html! {
        @if !order.is_empty() {
            h3 { "Matched pairs whose gap of n_matches moved most, " (contrast.gap()) }
            div.scroll { table {
                thead { tr { th.text { "pair" } th.text { "template" } th { "gap before" } th { "gap after" } th { "change" } } }
                tbody { @for (index, before, after) in order.into_iter().take(SHOWN) {
                    @let [first, second, raw] = &contrast.words[index];
                    tr {
                        td.text { (first) " / " (second) } td.text { (raw) }
                        td { (signed(before)) } td { (signed(after)) } td { (signed(after - before)) }
                    }
                } }
            } }
        }
    }
}

/// What was trained, on what, how.
pub(super) fn parameters(run: &RecordedRun) -> Markup {
    let text = toml::to_string(&run.experiment).unwrap_or_default();
    let manifest = run.manifest.text();
    html! {
        h2 { "Parameters" }
        div.scroll { table {
            thead { tr { th { "key" } th.text { "value" } } }
            tbody { @for (key, value) in run.settings() { tr { td { (key) } td.text { (value) } } } }
        } }
        details { summary { "The whole experiment, hooks included" } pre { (text) } }
        details { summary { "What it was made of: versions, checksums, data" } pre { (manifest) } }
    }
}
