//! The tables of a study's page. Each number says where in `study.json` it stands (`data-at`).

use maud::{Markup, html};

use super::{ArmOutcome, Beyond, Summary};
use crate::report::number::{number, signed};
use crate::report::pooling::Estimate;

/// An arm's outcome with its place in `study.json`.
pub(super) struct Placed<'a> {
    pub arm: &'a ArmOutcome,
    pub name: String,
    pub at: String,
}

impl Placed<'_> {
    /// The comparison with the baseline, with its place.
    pub fn beyond(&self) -> Option<(&Beyond, String)> {
        let beyond = self.arm.beyond.as_ref()?.as_ref().ok()?;
        Some((beyond, format!("{}/beyond_baseline", self.at)))
    }
}

/// A number with the place in `study.json` where it stands.
pub(super) fn cited(at: &str, text: String) -> Markup {
    html! { span data-at=(at) { (text) } }
}

/// The cells of an estimate and its 95% interval.
fn estimated(at: &str, one: &Estimate) -> Markup {
    html! {
        td { (cited(&format!("{at}/value"), signed(one.value))) }
        td { "[" (cited(&format!("{at}/low"), number(one.low))) ", " (cited(&format!("{at}/high"), number(one.high))) "]" }
    }
}

/// A cell with a number.
fn cell(at: &str, text: String) -> Markup {
    html! { td { (cited(at, text)) } }
}

pub(super) fn table(study: &Summary, arms: &[Placed]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th { "arm" } th { "finding" } th { "change" } th { "95% interval" } th { "p" } th { "less " (study.baseline) } th { "95% interval" } th { "p" } th { "p, Holm" } th { "p, equivalence" } th { "p, equivalence, Holm" } } }
            tbody { @for arm in arms { tr {
                td { (arm.name) }
                td { @if let Some((beyond, _)) = arm.beyond() { (beyond.finding().name()) } }
                @match &arm.arm.change {
                    Ok(pooled) => {
                        @let at = format!("{}/change/over_seeds_identities_templates", arm.at);
                        (estimated(&at, &pooled.over_all)) (cell(&format!("{at}/p_value"), number(pooled.over_all.p_value)))
                    },
                    Err(why) => { td.missing colspan="3" { (why) } },
                }
                @match &arm.arm.beyond {
                    None => { td.missing colspan="6" { "the baseline" } },
                    Some(Err(why)) => { td.missing colspan="6" { "not compared: " (why) } },
                    Some(Ok(beyond)) => { (compared(beyond, &format!("{}/beyond_baseline", arm.at))) },
                }
            } } }
        } }
        p.sub { "Change: how the gap moved from start to end, over seeds, identities and templates. Less " (study.baseline) ": by seed and prompt pair, then the mean. p: that there is no difference. p, equivalence: that the difference is at least the smallest effect of interest. Holm: adjusted for all arms and contrasts." }
    }
}

fn compared(beyond: &Beyond, at: &str) -> Markup {
    html! {
        (estimated(&format!("{at}/over_seeds_identities_templates"), &beyond.over_all))
        (cell(&format!("{at}/over_seeds_identities_templates/p_value"), number(beyond.over_all.p_value)))
        (cell(&format!("{at}/adjusted_p_value"), number(beyond.adjusted_p_value)))
        (cell(&format!("{at}/equivalence_p_value"), number(beyond.equivalence_p_value)))
        (cell(&format!("{at}/adjusted_equivalence_p_value"), number(beyond.adjusted_equivalence_p_value)))
    }
}

pub(super) fn by_seed(study: &Summary, arms: &[Placed]) -> Markup {
    let of = |beyond: &Beyond, at: &str, seed: u64| {
        let index = beyond.seeds.iter().position(|one| *one == seed)?;
        let value = beyond.by_seed.get(index)?;
        Some(cell(
            &format!("{at}/by_seed/{index}/difference"),
            signed(*value),
        ))
    };
    html! {
        h3 { "Less " (study.baseline) ", seed by seed" }
        div.scroll { table {
            thead { tr { th { "arm" } @for seed in &study.seeds { th { "seed " (seed) } } } }
            tbody { @for (arm, (beyond, at)) in arms.iter().filter_map(|arm| Some((arm, arm.beyond()?))) { tr {
                td { (arm.name) }
                @for seed in &study.seeds { @match of(beyond, &at, *seed) { Some(cell) => (cell), None => td.missing { "not compared" } } }
            } } }
        } }
    }
}

/// The estimates over seeds alone, and those against no training.
pub(super) fn over_seeds(study: &Summary, arms: &[Placed]) -> Markup {
    let against = |arm: &Placed| arm.arm.beyond_placebo.is_some();
    html! {
        details {
            summary { "Over seeds alone, with these prompts" }
            div.scroll { table {
                thead { tr { th { "arm" } th { "change" } th { "95% interval" } th { "p" } th { "less " (study.baseline) } th { "95% interval" } th { "p" } } }
                tbody { @for arm in arms { tr {
                    td { (arm.name) }
                    @if let Ok(pooled) = &arm.arm.change {
                        @let at = format!("{}/change/over_seeds", arm.at);
                        (estimated(&at, &pooled.over_seeds)) (cell(&format!("{at}/p_value"), number(pooled.over_seeds.p_value)))
                    } @else { td.missing colspan="3" { "not pooled" } }
                    @if let Some((beyond, at)) = arm.beyond() {
                        @let at = format!("{at}/over_seeds");
                        (estimated(&at, &beyond.over_seeds)) (cell(&format!("{at}/p_value"), number(beyond.over_seeds.p_value)))
                    } @else { td.missing colspan="3" {} }
                } } }
            } }
        }
        @if arms.iter().any(against) {
            details {
                summary { "Less no training" }
                div.scroll { table {
                    thead { tr { th { "arm" } th { "less no training" } th { "95% interval" } th { "p" } th { "p, Holm" } } }
                    tbody { @for arm in arms { @match &arm.arm.beyond_placebo {
                        None => {},
                        Some(Err(why)) => { tr { td { (arm.name) } td.missing colspan="4" { "not compared: " (why) } } },
                        Some(Ok(beyond)) => {
                            @let at = format!("{}/beyond_no_training", arm.at);
                            @let all = format!("{at}/over_seeds_identities_templates");
                            tr {
                                td { (arm.name) } (estimated(&all, &beyond.over_all))
                                (cell(&format!("{all}/p_value"), number(beyond.over_all.p_value)))
                                (cell(&format!("{at}/adjusted_p_value"), number(beyond.adjusted_p_value)))
                            }
                        },
                    } } }
                } }
            }
        }
    }
}

pub(super) fn each_run(arms: &[Placed]) -> Markup {
    let pooled = arms
        .iter()
        .filter_map(|arm| Some((arm, arm.arm.change.as_ref().ok()?)));
    html! {
        details {
            summary { "The gap in each run" }
            div.scroll { table {
                thead { tr { th { "run" } th { "before" } th { "after" } th { "change" } } }
                tbody { @for (arm, pooled) in pooled { @for (index, (run, gap)) in pooled.changes.iter().enumerate() {
                    @let at = format!("{}/change/runs/{index}", arm.at);
                    tr {
                        td { (run) }
                        (cell(&format!("{at}/before"), signed(gap.before.difference)))
                        (cell(&format!("{at}/after"), signed(gap.after.difference)))
                        (cell(&format!("{at}/change"), signed(gap.change.difference)))
                    }
                } } }
            } }
        }
    }
}
