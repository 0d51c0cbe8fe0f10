//! `study.html`: the page of a study, made as that of a run.

use maud::{Markup, html};

use super::tables::{Placed, by_seed, cited, each_run, over_seeds, table};
use super::{AboutArm, Finding, Outcome, Summary, words};
use crate::report::chart::{Row, intervals, intervals_around};
use crate::report::number::number;
use crate::report::page::document;
use crate::report::pooled_attribution::attributions;
use crate::report::pooled_heat_map::heat_maps;
use crate::report::pooling::Estimate;
use crate::treatment::{Account, Example};

/// The most examples of what a treatment did to a text.
const EXAMPLES: usize = 2;

/// The page of a study, as HTML. It needs no network and no script.
pub fn page(study: &Summary) -> String {
    let body = html! {
        p.sub { "milepost study · " (study.name) }
        h1 { "What does the change of the gap come from?" }
        p { "Each arm trains the pair with one thing changed, with " (study.seeds.len()) " seeds, and is compared with " code { (study.baseline) } ". n_matches is how many of the assistant's drafted tokens the main model accepts while it continues a prompt; the gap is its mean after prompts of the first group less its mean after those of the second." }
        div.verdict { ul { @for line in words(study) { li { (with_names(&line)) } } } }
        @if !study.caveats.is_empty() {
            div.caveats { ul { @for caveat in &study.caveats { li { (caveat) } } } }
        }
        @for (index, outcome) in study.outcomes.iter().enumerate() {
            (of_contrast(study, outcome, &format!("contrasts/{index}")))
        }
        h2 { "What each arm sets" }
        div.scroll { table {
            thead { tr { th { "arm" } th.text { "sets" } } }
            tbody { @for arm in &study.arms { tr { td { (name(study, &arm.name)) } td.text { (sets(arm)) } } } }
        } }
        (texts(study))
        (models_and_places(study))
        (left_out(study))
    };
    document(&study.name, &body)
}

/// A line in which names stand between backticks.
fn with_names(line: &str) -> Markup {
    html! {
        @for (index, part) in line.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// The name of an arm; the placebo is named as such.
fn name(study: &Summary, arm: &str) -> String {
    if study.placebos.iter().any(|placebo| placebo.arm == arm) {
        format!("{arm} (placebo)")
    } else {
        arm.to_owned()
    }
}

fn sets(arm: &AboutArm) -> Markup {
    html! {
        @if arm.sets.is_empty() { "nothing" }
        @for (index, set) in arm.sets.iter().enumerate() { @if index > 0 { ", " } code { (set) } }
    }
}

fn of_contrast(study: &Summary, outcome: &Outcome, at: &str) -> Markup {
    let names = &outcome.contrast.names;
    let arms = outcome.ranked().into_iter().map(|index| Placed {
        arm: &outcome.arms[index],
        name: name(study, &outcome.arms[index].name),
        at: format!("{at}/arms/{index}"),
    });
    let arms: Vec<Placed> = arms.collect();
    html! {
        h2 { (names.name) ": " (outcome.contrast.gap()) }
        (figures(study, outcome, &arms))
        @if let Some(margin) = outcome.margin {
            p.sub { "The smallest effect of interest is " (cited(&format!("{at}/smallest_effect_of_interest"), number(margin))) " n_matches a prompt: " code { "margin" } " of the hook, by default 0.2 standard deviations at the start." }
        }
        (table(study, &arms))
        (by_seed(study, &arms))
        (over_seeds(study, &arms))
        (each_run(&arms))
    }
}

/// The number of a finding's colour in the style sheet.
fn colour(finding: Finding) -> usize {
    match finding {
        Finding::Shown => 1,
        Finding::Small => 2,
        Finding::Excluded => 4,
        Finding::Open => 3,
    }
}

/// The forest plot of the arms less the baseline, and what moved in each arm.
fn figures(study: &Summary, outcome: &Outcome, arms: &[Placed]) -> Markup {
    let row = |arm: &Placed, one: &Estimate, colour| {
        let drawn = one.low.is_finite() && one.high.is_finite();
        drawn.then(|| Row {
            name: arm.name.clone(),
            value: (one.value, one.low, one.high),
            colour,
        })
    };
    let less = arms.iter().filter_map(|arm| {
        let (beyond, _) = arm.beyond()?;
        row(arm, &beyond.over_all, colour(beyond.finding()))
    });
    let moved = arms.iter().filter_map(|arm| {
        let pooled = arm.arm.change.as_ref().ok()?;
        row(arm, &pooled.over_all, 3)
    });
    let (less, moved): (Vec<Row>, Vec<Row>) = (less.collect(), moved.collect());
    let unit = "n_matches a prompt, 95% intervals";
    let all = [
        Finding::Shown,
        Finding::Small,
        Finding::Excluded,
        Finding::Open,
    ];
    html! {
        div.figures {
            @if !less.is_empty() { (intervals_around(&format!("Change of the gap less that of {}", study.baseline), unit, outcome.margin, &less)) }
            @if !moved.is_empty() { (intervals("Change of the gap in each arm", unit, &moved)) }
        }
        ul.legend {
            @for finding in all { li { span class={ "key c" (colour(finding)) } {} (finding.name()) } }
            li { "band: less than the smallest effect of interest" }
        }
    }
}

/// What was done to the texts of the arms.
fn texts(study: &Summary) -> Markup {
    let treated = study
        .arms
        .iter()
        .filter_map(|arm| Some((arm, arm.text.as_ref()?)));
    let treated: Vec<_> = treated.collect();
    html! {
        @if !treated.is_empty() {
            h2 { "What was done to the text" }
            @for (arm, text) in treated {
                h3 { (arm.name) }
                @for account in &text.accounts { (of_text(account)) }
                p.sub { "As in " (text.run) "; all words and more examples are in its text_interventions.json." }
            }
        }
    }
}

fn of_text(account: &Account) -> Markup {
    html! {
        p { (account.sentence()) }
        @for Example { document, before, after } in account.examples.iter().take(EXAMPLES) {
            div.scroll { table { tbody {
                tr { th { "document " (document) ", before" } td.text { (before) } }
                tr { th { "after" } td.text { @match after { Some(after) => (after), None => "(dropped)" } } }
            } } }
        }
    }
}

/// What each of the two models did in each arm, and where in its weights, for arms whose runs say so.
fn models_and_places(study: &Summary) -> Markup {
    let arms = study.arms.iter().enumerate();
    let arms = arms.filter(|(_, arm)| !arm.attributions.is_empty() || !arm.heat_maps.is_empty());
    let arms: Vec<(usize, &AboutArm)> = arms.collect();
    html! {
        @if !arms.is_empty() {
            h2 { "The two models and the places in their weights" }
            p { "How much each model made of a change in each arm, and where in its weights, pooled over the arm's seeds. These are the arms themselves, not what they do beyond " code { (study.baseline) } "." }
            @for (index, arm) in arms {
                details data-arm=(format!("arms/{index}")) open[arm.name == study.baseline] {
                    summary { (name(study, &arm.name)) }
                    (attributions(&arm.attributions))
                    (heat_maps(&arm.heat_maps))
                }
            }
        }
    }
}

/// The runs that are left out: of everything, or of one contrast.
fn left_out(study: &Summary) -> Markup {
    let of_contrasts = study.outcomes.iter().flat_map(|outcome| {
        let pooled = outcome
            .arms
            .iter()
            .filter_map(|arm| arm.change.as_ref().ok());
        pooled
            .flat_map(|pooled| &pooled.left_out)
            .map(|(run, lacking)| {
                let reason = format!("{}: {}", outcome.contrast.names.name, lacking.reason());
                (run.clone(), reason)
            })
    });
    let all = study
        .left_out
        .iter()
        .map(|one| (one.run.clone(), one.reason.clone()));
    let all: Vec<(String, String)> = all.chain(of_contrasts).collect();
    html! {
        @if !all.is_empty() {
            h2 { "Runs left out" }
            ul { @for (run, reason) in &all { li { (run) ": " (reason) } } }
        }
    }
}
