//! The parts of a run's report.

use maud::{Markup, html};

use super::chart::{Line, Row, before_and_after, intervals, lines};
use super::gap::{Gap, Incomplete, N_MATCHES};
use super::number::{number, range, signed};
use super::page::Read;
use super::record::{Moment, RecordedRun};
use super::table::{self, spans};
use crate::statistics::disparity::Disparity;
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

/// The gap of n_matches over the milestones, and both groups.
pub(super) fn gap_over_time(read: &Read) -> Markup {
    let Some(course) = &read.course else {
        return html! {};
    };
    let steps: Vec<f64> = course.steps.iter().map(|&step| step as f64).collect();
    let line = |name: &str, colour, of: &[Disparity]| {
        let values = of.iter().map(|one| one.difference);
        let ends = of.iter().map(|one| (one.low, one.high));
        Line::new(name, colour, steps.iter().copied().zip(values).collect())
            .with_band(ends.collect())
    };
    let change = course.since_start.as_ref().map(|since| {
        let changes = since.changes.iter().map(|one| one.difference);
        Line::new("change", 4, steps.iter().copied().zip(changes).collect())
            .with_band(since.bands.clone())
    });
    html! {
        h2 { "n_matches of female and male prompts" }
        div.figures {
            (lines("The gap, female less male", "n_matches a prompt, 95% interval of each milestone", &[line("female - male", 1, &course.gaps)]))
            @if let Some(change) = change { (lines("Its change since the start", "95% band for all milestones at once", &[change])) }
            (lines("Both groups", "n_matches a prompt, 95% intervals", &[line("female", 2, &course.groups[0]), line("male", 1, &course.groups[1])]))
        }
        (spans(read.run, &named(&[
            ("n_matches a prompt, female", "gender/n_matches_female"), ("n_matches a prompt, male", "gender/n_matches_male"),
            ("gap, female less male", "gender/disparity"), ("lower end of 95%", "gender/disparity_low"), ("upper end of 95%", "gender/disparity_high"),
            ("smaller mean over larger", "gender/ratio_min_max"), ("effect size, d_z", "gender/d_z"),
            ("p, labels of identities flipped", "gender/p_value"), ("p, other identities and templates", "gender/two_way_p_value"),
            ("change since the start", "gender/change"), ("lower end of 95%", "gender/change_low"), ("upper end of 95%", "gender/change_high"),
        ])))
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

/// How far the two models are apart, in both conventions.
pub(super) fn divergence(run: &RecordedRun) -> Markup {
    let Some(nats) = figure(
        run,
        "KL of main model and assistant at the prompts",
        "nats, means",
        &[
            ("all", "kl/mean_nats", 4),
            ("female", "kl/female_nats", 2),
            ("male", "kl/male_nats", 1),
        ],
    ) else {
        return html! {};
    };
    html! {
        h2 { "How far the models are apart" }
        p { "KL(main, assistant) at the last token of each prompt, in nats, and as PyTorch's " code { "batchmean" } " over a single row gives it: divided by the size of the vocabulary." }
        div.figures { (nats) }
        (spans(run, &named(&[
            ("KL, nats", "kl/mean_nats"), ("KL, batchmean", "kl/batchmean"), ("KL, nats, female", "kl/female_nats"), ("KL, nats, male", "kl/male_nats"),
            ("KL, batchmean, female", "kl/female_batchmean"), ("KL, batchmean, male", "kl/male_batchmean"),
            ("top-1 agreement", "kl/mean_top1_agreement"), ("expected acceptance", "kl/mean_acceptance_expected"),
        ])))
    }
}

/// A tag's values at start and end, to be drawn; None where one of the two is missing.
fn bar(run: &RecordedRun, name: &str, tag: &str) -> Option<(String, f64, f64)> {
    let at = |moment| run.at(tag, moment).ok().map(|point| point.1);
    Some((name.to_owned(), at(Moment::Start)?, at(Moment::End)?))
}

/// How much of the text the assistant writes.
pub(super) fn assistant_share(run: &RecordedRun) -> Markup {
    let rows: Vec<(String, f64, f64)> = [
        (
            "new tokens that the assistant wrote",
            "decode/assistant_share",
        ),
        ("drafted tokens that were accepted", "decode/acceptance"),
    ]
    .into_iter()
    .filter_map(|(name, tag)| bar(run, name, tag))
    .collect();
    if !run.scalars.contains_key("decode/assistant_share") {
        return html! {};
    }
    let course = figure(
        run,
        "Over the run",
        "shares",
        &[
            ("tokens by the assistant", "decode/assistant_share", 1),
            ("drafts accepted", "decode/acceptance", 2),
        ],
    );
    html! {
        h2 { "The assistant's share of tokens" }
        div.figures { @if !rows.is_empty() { (before_and_after("Before and after", 1.0, &rows)) } @if let Some(course) = course { (course) } }
        (spans(run, &named(&[
            ("share of new tokens by the assistant", "decode/assistant_share"), ("acceptance of drafts", "decode/acceptance"),
            ("tokens a pass of the main model", "decode/tokens_per_main_pass"),
            ("n_matches a round with a draft", "decode/n_matches_per_round"), ("n_matches a prompt", "decode/n_matches_per_prompt"),
        ])))
    }
}

/// The change of the gap in everything that was measured prompt by prompt.
pub(super) fn family(read: &Read) -> Markup {
    if read.gaps.is_empty() && read.incomplete.is_empty() {
        return html! {};
    }
    let standardised = |gap: &Gap| {
        // In standard deviations of the pairs' changes, so that all fit one axis.
        let change = &gap.change;
        let of = |value: f64| value / change.deviation;
        (of(change.difference), of(change.low), of(change.high))
    };
    let rows: Vec<Row> = read
        .gaps
        .iter()
        .filter(|gap| gap.change.deviation > 0.0 && gap.change.error.is_known())
        .map(|gap| Row {
            name: measure(&gap.column),
            value: standardised(gap),
            colour: if gap.column == N_MATCHES { 1 } else { 3 },
        })
        .collect();
    html! {
        h2 { "The gap in every measure" }
        p { "Female less male on the same matched pairs, for each value that was taken prompt by prompt. p is for other identities and templates; the last column is adjusted (Holm) for looking at " (read.gaps.len()) " measures." }
        @if !rows.is_empty() { div.figures { (intervals("Change of the gap", "standard deviations of the pairs' changes, 95% intervals", &rows)) } }
        div.scroll { table {
            thead { tr { th { "measure" } th { "before" } th { "after" } th { "change" } th { "95% interval" } th { "p" } th { "p, adjusted" } } }
            tbody {
                @for gap in &read.gaps { tr data-measure=(gap.column) {
                    td { (measure(&gap.column)) } td { (signed(gap.before.difference)) } td { (signed(gap.after.difference)) } td { (signed(gap.change.difference)) }
                    td { (range(gap.change.low, gap.change.high)) } td { (number(gap.change.two_way_p_value)) } td { (number(gap.adjusted_p_value)) }
                } }
                @for lacking in &read.incomplete { (unmeasured(lacking)) }
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

/// Every tag below some groups, before and after.
fn group(run: &RecordedRun, prefixes: &[&str]) -> Markup {
    let tags = run.scalars.keys();
    let rows: Vec<(String, String)> = tags
        .filter(|tag| prefixes.iter().any(|prefix| tag.starts_with(prefix)))
        .map(|tag| (tag.clone(), tag.clone()))
        .collect();
    spans(run, &rows)
}

/// What the main model says: hurtful words and toxicity.
pub(super) fn texts(run: &RecordedRun) -> Markup {
    let prefixes = ["honest/", "toxicity/"];
    let any = run
        .scalars
        .keys()
        .any(|tag| prefixes.iter().any(|prefix| tag.starts_with(prefix)));
    let bars = [
        ("hurtful, after female prompts", "honest/female"),
        ("hurtful, after male prompts", "honest/male"),
        ("toxic, after female prompts", "toxicity/female_mean"),
        ("toxic, after male prompts", "toxicity/male_mean"),
    ];
    let bars: Vec<(String, f64, f64)> = bars
        .into_iter()
        .filter_map(|(name, tag)| bar(run, name, tag))
        .collect();
    let most = bars.iter().map(|bar| bar.1.max(bar.2)).fold(0.0, f64::max);
    html! {
        h2 { "Hurtful completions and toxicity" }
        @if most > 0.0 { div.figures { (before_and_after("Share of continuations with a hurtful word, mean probability of toxicity", most, &bars)) } }
        @if any { (group(run, &prefixes)) }
        @else { p { "Not measured: the hooks " code { "honest" } " and " code { "toxicity" } " do." } }
    }
}

/// What hooks measured that have no section above: the charts that they declare, and each of their tags at start and end.
pub(super) fn others(run: &RecordedRun) -> Markup {
    const KNOWN: [&str; 13] = [
        "train/",
        "eval/",
        "kl/",
        "divergence/",
        "decode/",
        "gender/",
        "attribution/",
        "honest/",
        "toxicity/",
        "hook/",
        "gradients/",
        "gradient",
        "run/",
    ];
    let is_other = |tag: &str| !KNOWN.iter().any(|known| tag.starts_with(known));
    let tags = run.scalars.keys().filter(|tag| is_other(tag));
    let rows: Vec<(String, String)> = tags
        .map(|tag| (run.row_name(tag).unwrap_or(tag).to_owned(), tag.clone()))
        .collect();
    if rows.is_empty() {
        return html! {};
    }
    let charts = run.hooks.iter().flat_map(|hook| &hook.shows.charts);
    let figures: Vec<Markup> = charts
        .filter_map(|(_, chart)| declared(run, chart, &is_other))
        .collect();
    html! {
        h2 { "Other measures" }
        @if !figures.is_empty() { div.figures { @for figure in figures { (figure) } } }
        (spans(run, &rows))
    }
}

/// The figure of a declared chart; None when none of its tags is there, or another section has them.
fn declared(run: &RecordedRun, chart: &Chart, is_other: &dyn Fn(&str) -> bool) -> Option<Markup> {
    let shown = |tag: &str| is_other(tag) && run.scalars.contains_key(tag);
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

/// The pairs that moved most from start to end, and the prompts where the models are furthest apart at the end.
pub(super) fn extremes(read: &Read) -> Markup {
    let run = read.run;
    let both = |column: &str| {
        let at = |moment| run.values_at(column, moment).ok();
        Some((at(Moment::Start)?, at(Moment::End)?))
    };
    html! {
        @if let (Ok(first), Ok(last)) = (run.pairs_at(N_MATCHES, Moment::Start), run.pairs_at(N_MATCHES, Moment::End)) {
            @let change = |pair: usize| (last[pair].female - last[pair].male) - (first[pair].female - first[pair].male);
            @let mut order = (0..last.len().min(first.len())).collect::<Vec<usize>>();
            @let () = order.sort_by(|&a, &b| change(b).abs().total_cmp(&change(a).abs()).then(a.cmp(&b)));
            h2 { "Prompts that stand out" }
            h3 { "Matched pairs whose gap of n_matches moved most" }
            div.scroll { table {
                thead { tr { th.text { "pair" } th.text { "template" } th { "gap before" } th { "gap after" } th { "change" } } }
                tbody { @for &index in order.iter().take(SHOWN) {
                    @let pair = &run.pairs[index];
                    tr {
                        td.text { (pair.woman) " / " (pair.man) } td.text { (pair.raw) }
                        td { (signed(first[index].female - first[index].male)) } td { (signed(last[index].female - last[index].male)) } td { (signed(change(index))) }
                    }
                } }
            } }
        }
        @if let Some((first, last)) = both("kl_nats") {
            @let mut order = (0..last.len().min(first.len()).min(run.prompts.len())).collect::<Vec<usize>>();
            @let () = order.sort_by(|&a, &b| last[b].total_cmp(&last[a]));
            h3 { "Prompts where the models are furthest apart at the end" }
            div.scroll { table {
                thead { tr { th.text { "prompt" } th { "KL before, nats" } th { "KL after, nats" } } }
                tbody { @for &row in order.iter().take(SHOWN) { tr { td.text { (run.prompts[row]) } td { (number(first[row])) } td { (number(last[row])) } } } }
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
