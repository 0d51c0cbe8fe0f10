//! Which prompts carry the change of the gap of n_matches: at which position of their drafts it happens, whether it goes with what else changed,
//! and what it is without one identity or one template.

use maud::{Markup, html};

use super::chart::scatter;
use super::draft_positions::by_position;
use super::number::{number, range, signed};
use super::record::{Moment, RecordedContrast, RecordedRun};
use crate::statistics::disparity::Settings;
use crate::statistics::observation::{Contributions, changes};
use crate::statistics::regression::Regression;

/// The kind whose values per prompt the change is held against.
const DIVERGENCE: &str = "template-kl";
/// Its columns, and what they are.
const COLUMNS: [(&str, &str); 3] = [
    ("kl_nats", "KL, nats"),
    ("top1_agreement", "top-1 agreement"),
    ("entropy_main_nats", "the main model's entropy, nats"),
];
/// Identities and templates that are shown.
const SHOWN: usize = 5;

/// The section on one contrast. Empty where n_matches was not measured at start and end. Only matched pairs can be set against each other one by
/// one.
pub(super) fn which_prompts(run: &RecordedRun, contrast: &RecordedContrast) -> Markup {
    let n_matches = run.n_matches();
    let Some(moved) = moved(run, contrast, &n_matches) else {
        return html! {};
    };
    html! {
        h2 { "Which prompts" @if run.contrasts.len() > 1 { ": " (contrast.names.name) } }
        (by_position(run, contrast))
        @if contrast.is_paired() {
            (goes_with(run, contrast, &moved))
            (without_one(contrast, &moved))
        }
    }
}

/// How the gap of a column changed in each matched pair.
fn moved(run: &RecordedRun, contrast: &RecordedContrast, column: &str) -> Option<Contributions> {
    let at = |moment| run.observed_at(contrast, column, moment).ok();
    let moved = changes(&at(Moment::Start)?, &at(Moment::End)?).ok()?;
    (!moved.is_empty()).then(|| Contributions::of(&moved))
}

/// The change of each pair's gap against that of other measures.
fn goes_with(
    run: &RecordedRun,
    contrast: &RecordedContrast,
    moved_matches: &Contributions,
) -> Markup {
    let prefix = run.hook_of(DIVERGENCE).map_or("", |hook| &hook.prefix);
    let measured = COLUMNS.iter().filter_map(|(column, name)| {
        let other = moved(run, contrast, &format!("{prefix}{column}"))?;
        let clusters = moved_matches.clusters();
        let line = Regression::of(&other.values, &moved_matches.values, &clusters);
        Some((*name, other.values, line))
    });
    let measured: Vec<(&str, Vec<f64>, Option<Regression>)> = measured.collect();
    let level = Settings::default().level;
    let points = |x: &[f64]| {
        let both = x.iter().copied().zip(moved_matches.values.iter().copied());
        both.collect::<Vec<(f64, f64)>>()
    };
    html! {
        @if !measured.is_empty() {
            p { "Does the gap of n_matches move where the models' agreement moves? Each dot is a matched pair: how much its gap of n_matches changed, against how much its gap of another measure changed, " (contrast.gap()) ". The intervals are for other identities and templates. A slope is no cause." }
            div.figures {
                @for (name, x, line) in &measured {
                    @if let Some(line) = line {
                        (scatter("Change of the gap of n_matches", &format!("change of the gap of {name}"), &points(x), (line.intercept, line.slope)))
                    }
                }
            }
            div.scroll { table {
                thead { tr { th { "change of n_matches against that of" } th { "slope" } th { "95% interval" } th { "p" } } }
                tbody { @for (name, _, line) in &measured { tr data-slope=(name) {
                    td { (name) }
                    @if let Some(line) = line {
                        @let (low, high) = line.error.interval(line.slope, level);
                        td { (signed(line.slope)) } td { (range(low, high)) } td { (number(line.error.two_sided_p_value(line.slope))) }
                    } @else { td.missing { "it did not change, or changed alike in all pairs" } td {} td {} }
                } } }
            } }
        }
    }
}

/// A way to put pairs together: its name, the cluster of each pair, and the name of a pair's cluster.
type Way<'a> = (&'static str, &'a [usize], &'a dyn Fn(usize) -> String);

/// The change of the gap without one identity pair or one template: those whose absence makes most of a difference.
fn without_one(contrast: &RecordedContrast, moved: &Contributions) -> Markup {
    let identity = |unit: usize| {
        let [first, second, _] = &contrast.words[unit];
        format!("{first} / {second}")
    };
    let template = |unit: usize| contrast.words[unit][2].clone();
    let ways: [Way; 2] = [
        ("identity pair", &moved.identities, &identity),
        ("template", &moved.templates, &template),
    ];
    let all = moved.gap();
    html! {
        h3 { "The change of the gap of n_matches without one identity or template" }
        p { "Of all pairs together it is " (signed(all)) ". Shown are those whose absence changes it most." }
        div.scroll { table {
            thead { tr { th.text { "left out" } th.text { "" } th { "pairs" } th { "change of the gap without" } th { "difference" } } }
            tbody { @for (kind, labels, name) in ways { @for left in left_out(&moved.values, labels) {
                tr data-left-out=(kind) {
                    td.text { (kind) } td.text { (name(left.unit)) } td { (left.count) } td { (signed(left.without)) } td { (signed(left.without - all)) }
                }
            } } }
        } }
    }
}

/// A cluster of values, and the mean of all others.
struct LeftOut {
    /// The place of one of its values.
    unit: usize,
    count: usize,
    without: f64,
}

/// The clusters by how much the mean of `values` changes without them, the most first. A cluster that has all values is none.
fn left_out(values: &[f64], labels: &[usize]) -> Vec<LeftOut> {
    let clusters = labels.iter().max().map_or(0, |last| last + 1);
    let (sum, count) = (values.iter().sum::<f64>(), values.len());
    let found = (0..clusters).filter_map(|cluster| {
        let own = || (0..count).filter(|&unit| labels[unit] == cluster);
        let inside = own().count();
        let without = (sum - own().map(|unit| values[unit]).sum::<f64>()) / (count - inside) as f64;
        (inside < count).then_some(LeftOut {
            unit: own().next()?,
            count: inside,
            without,
        })
    });
    let mut found: Vec<LeftOut> = found.collect();
    let mean = sum / count as f64;
    let moves = |one: &LeftOut| (one.without - mean).abs();
    found.sort_by(|one, other| {
        moves(other)
            .total_cmp(&moves(one))
            .then(one.unit.cmp(&other.unit))
    });
    found.truncate(SHOWN);
    found
}
