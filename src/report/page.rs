//! The page: one HTML file that needs no network and no script.

use std::collections::BTreeSet;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart::{Row, intervals};
use super::mixing::{self, mixed};
use super::number::{number, range, signed};
use super::pooled_attribution::{attributions, left_out, pooled_attributions};
use super::pooled_heat_map::{heat_maps, pooled_heat_maps};
use super::pooled_positions::{pooled_positions, positions};
use super::pooled_rows::{PooledRow, pooled_rows};
use super::pooling::{Pooled, groups, pool};
use super::prompts::which_prompts;
use super::read::Read;
use super::record::{RecordedContrast, RecordedHook, RecordedRun};
use super::verdict::{self, Verdict};
use super::{sections, table};

/// The report on one or several runs, as HTML. Runs that cannot be pooled are shown one by one.
pub fn page(runs: &[RecordedRun]) -> String {
    let read: Vec<Read> = runs.iter().map(Read::new).collect();
    let title = match runs {
        [run] => run.name(),
        [] => String::new(),
        [first, ..] => format!("{} and {} more", first.name(), runs.len() - 1),
    };
    let body = html! {
        p.sub { "milepost report · " (title) }
        h1 { (question(runs)) }
        p { (trained(runs)) ". n_matches is how many of the assistant's drafted tokens the main model accepts while it continues a prompt; the gap is its mean after prompts of the first group less its mean after those of the second." }
        @if runs.len() > 1 { (several(runs)) }
        @for one in &read {
            @if runs.len() > 1 {
                details open[runs.len() <= 2] {
                    summary { (one.run.name()) ", seed " (one.run.seed()) }
                    (of_run(one, is_alone(runs, one.run)))
                }
            } @else { (of_run(one, true)) }
        }
    };
    document(&title, &body)
}

/// A whole page: its head with the style sheet, and what stands in it.
pub(super) fn document(title: &str, body: &Markup) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "milepost: " (title) }
                // Without an address of its own a browser asks for /favicon.ico.
                link rel="icon" href="data:,";
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body { main { (body) } }
        }
    };
    markup.into_string()
}

/// What the report answers: the contrasts of all runs.
fn question(runs: &[RecordedRun]) -> String {
    let contrasts = runs.iter().flat_map(|run| &run.contrasts);
    let mut between: Vec<String> = Vec::new();
    for contrast in contrasts {
        let [first, second] = &contrast.names.groups;
        let groups = format!("{first} and {second} prompts");
        if !between.contains(&groups) {
            between.push(groups);
        }
    }
    format!(
        "How does fine-tuning change the gap between {} in assisted decoding?",
        between.join(", between ")
    )
}

/// Which models were fine-tuned.
fn trained(runs: &[RecordedRun]) -> &'static str {
    let models = runs.first().and_then(|run| {
        let models = run.experiment.get("train")?.get("models")?.as_array()?;
        let models = models.iter().filter_map(toml::Value::as_str);
        Some(models.collect::<Vec<_>>())
    });
    match models.as_deref() {
        Some(["main"]) => "A main model is fine-tuned, and the assistant that drafts for it is not",
        Some(["assistant"]) => {
            "The assistant that drafts for a main model is fine-tuned, and the main model is not"
        }
        _ => "A main model and the assistant that drafts for it are fine-tuned together",
    }
}

/// Whether no run with the same settings has another seed.
fn is_alone(runs: &[RecordedRun], run: &RecordedRun) -> bool {
    let groups = groups(runs);
    let own = groups
        .iter()
        .find(|(_, group)| group.iter().any(|one| std::ptr::eq(*one, run)));
    own.is_none_or(|(_, group)| group.iter().all(|one| one.seed() == run.seed()))
}

/// Runs that differ in their seeds, pooled; one part for each way in which they differ otherwise.
fn several(runs: &[RecordedRun]) -> Markup {
    let groups = groups(runs);
    let mixed = mixed(&runs.iter().collect::<Vec<_>>());
    html! {
        @if !mixed.is_empty() {
            div.caveats { ul { @for what in &mixed { li { (mixing::caveat(what)) } } } }
        }
        @for (label, runs) in &groups {
            h2 { @if groups.len() == 1 { "All runs together" } @else { "Runs with " (label) } }
            @if runs.len() > 1 { (together(runs)) } @else { p { "A single run: nothing to pool." } }
        }
    }
}

fn together(runs: &[&RecordedRun]) -> Markup {
    html! {
        (gaps_together(runs))
        (positions(&pooled_positions(runs)))
        (rows_together(&pooled_rows(runs)))
        (attributions(&pooled_attributions(runs)))
        (heat_maps(&pooled_heat_maps(runs)))
    }
}

/// Every row of the hooks' tables, with its mean over the seeds.
fn rows_together(rows: &[PooledRow]) -> Markup {
    html! {
        @if !rows.is_empty() {
            h3 { "Every measure, mean over the seeds" }
            div.scroll { table {
                thead { tr { th { "measure" } th { "start" } th { "end" } th { "change" } th { "95% interval" } th { "p" } } }
                tbody { @for row in rows { tr {
                    td { (row.name) } td { (number(row.start)) } td { (number(row.end)) } td { (signed(row.end - row.start)) }
                    @if let Some(change) = row.change { td { (range(change.low, change.high)) } td { (number(change.p_value)) } }
                    @else { td { "a single run has it" } td {} }
                } } }
            } }
            (left_out(rows.iter().map(|row| (row.name.as_str(), &row.left_out[..]))))
        }
    }
}

fn gaps_together(runs: &[&RecordedRun]) -> Markup {
    match pool(runs) {
        Ok(all) => html! {
            @for pooled in &all {
                @if all.len() > 1 { h3 { (pooled.contrast.names.name) ": " (pooled.contrast.gap()) } }
                (verdict_box(&verdict::of_runs(pooled, runs)))
                (pooled_table(pooled))
                (pooled_figure(pooled))
            }
        },
        Err(error) => html! { p { "The runs cannot be pooled: " (error) } },
    }
}

fn pooled_table(pooled: &Pooled) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th { "run" } th { "gap before" } th { "gap after" } th { "change" } th { "95% interval" } th { "p" } } }
            tbody {
                @for (name, gap) in &pooled.changes {
                    tr {
                        td { (name) } td { (signed(gap.before.difference)) } td { (signed(gap.after.difference)) }
                        td { (signed(gap.change.difference)) } td { (range(gap.change.low, gap.change.high)) } td { (number(gap.change.two_way_p_value)) }
                    }
                }
                @for (name, lacking) in &pooled.left_out {
                    tr { td { (name) ", left out" } (table::gap(&lacking.before)) (table::gap(&lacking.after)) td {} td {} td {} }
                }
                @for (name, one) in [("over seeds, these prompts", &pooled.over_seeds), ("over seeds, identities, templates", &pooled.over_all)] {
                    tr { th { (name) } td {} td {} th { (signed(one.value)) } th { (range(one.low, one.high)) } th { (number(one.p_value)) } }
                }
            }
        } }
    }
}

fn pooled_figure(pooled: &Pooled) -> Markup {
    let mut rows: Vec<Row> = (pooled.changes.iter())
        .map(|(name, gap)| Row {
            name: name.clone(),
            value: (gap.change.difference, gap.change.low, gap.change.high),
            colour: 3,
        })
        .collect();
    for (name, one, colour) in [
        ("over seeds, these prompts", &pooled.over_seeds, 2),
        ("over seeds, identities, templates", &pooled.over_all, 1),
    ] {
        rows.push(Row {
            name: name.to_owned(),
            value: (one.value, one.low, one.high),
            colour,
        });
    }
    html! { div.figures { (intervals("Change of the gap, run by run", "n_matches a prompt, 95% intervals", &rows)) } }
}

/// `alone`: no other seed stands beside it.
fn of_run(read: &Read, alone: bool) -> Markup {
    let run = read.run;
    html! {
        @for (contrast, verdict) in verdicts(read, alone) {
            h2 { "Verdict" @if read.contrasts.len() > 1 { ": " (contrast.names.name) ", " (contrast.gap()) } }
            (verdict_box(&verdict))
        }
        @if let Some(hook) = run.gap_hook() { (sections::of_hook(read, hook)) }
        (sections::curves(run))
        @for hook in run.hooks.iter().filter(|hook| !is_of_the_gap(run, hook)) { (sections::of_hook(read, hook)) }
        @for one in &read.contrasts { (sections::family(read, one)) }
        @for one in &read.contrasts { (which_prompts(run, one.contrast)) }
        (stand_out(read))
        (sections::parameters(run))
    }
}

/// Whether a hook is the one that measures the gap, whose section stands first.
fn is_of_the_gap(run: &RecordedRun, hook: &RecordedHook) -> bool {
    run.gap_hook().is_some_and(|one| one.name == hook.name)
}

/// The verdict on each contrast. A caveat that holds for several of them is said once.
fn verdicts<'a>(read: &'a Read, alone: bool) -> Vec<(&'a RecordedContrast, Verdict)> {
    let mut said = BTreeSet::new();
    let verdicts = read.contrasts.iter().map(|one| {
        let course = one.course.as_ref();
        let mut verdict =
            verdict::of_run(read.run, one.contrast, course, &one.gaps, &one.incomplete);
        if alone {
            verdict.caveats.splice(0..0, verdict::seeds(1));
        }
        verdict.caveats.retain(|caveat| said.insert(caveat.clone()));
        (one.contrast, verdict)
    });
    verdicts.collect()
}

/// The pairs that stand out.
fn stand_out(read: &Read) -> Markup {
    let moved = read.contrasts.iter();
    let moved = moved.map(|one| sections::moved_most(read.run, one.contrast));
    let parts: Vec<Markup> = moved.collect();
    html! {
        @if parts.iter().any(|part| !part.0.is_empty()) {
            h2 { "Prompts that stand out" }
            @for part in &parts { (part) }
        }
    }
}

fn verdict_box(verdict: &Verdict) -> Markup {
    html! {
        div.verdict {
            p { (verdict.headline) }
            @for sentence in &verdict.evidence { p { (sentence) } }
        }
        @if !verdict.caveats.is_empty() {
            div.caveats { ul { @for caveat in &verdict.caveats { li { (caveat) } } } }
        }
    }
}
