//! The table at the end of a run.

use std::time::Duration;

use crate::hook::{Cells, Row, TwoByTwo};
use crate::intervention::Done;
use crate::record::layout::REPORT;
use crate::report::number::{number, range, signed};
use crate::report::{Moment, RecordedRun};
use crate::train::{HookTime, Outcome, StopReason};

/// The whole table: start, end and change of each measure, the cost of hooks, and where the files are. `run` is the run read back, or None
/// when it cannot be read.
pub(super) fn table(outcome: &Outcome, origin: &str, run: Option<&RecordedRun>) -> String {
    let mut text = run.map_or(String::new(), |run| measured(run, origin));
    if !outcome.times.is_empty() {
        text += &costs(outcome);
    }
    for (index, done) in outcome.interventions.iter().enumerate() {
        let Done { step, name, what } = done;
        let gap = if index == 0 { "\n" } else { "" };
        text += &format!("{gap}intervention `{name}` at step {step} {what}\n");
    }
    for time in &outcome.times {
        if let Some(step) = time.detached {
            let name = &time.name;
            text += &format!("\nhook `{name}` ended its calls at step {step}\n");
        }
    }
    for failure in &outcome.failures {
        text += &format!(
            "\nhook `{}` failed at step {}: {}",
            failure.name, failure.step, failure.message
        );
    }
    if !outcome.failures.is_empty() {
        text.push('\n');
    }
    if let StopReason::Requested(reason) = &outcome.stop {
        text += &format!(
            "\nended early, after step {}: {reason}\n",
            outcome.clock.step
        );
    }
    let elapsed = outcome.clock.elapsed.as_secs();
    let runs = outcome.directory.parent().and_then(|path| path.parent());
    text + &format!(
        "\n{} steps in {}:{:02}; the run lies in {}\nread it: {}\nlook at it: make tensorboard (or: tensorboard --logdir {})\n",
        outcome.clock.step,
        elapsed / 60,
        elapsed % 60,
        outcome.directory.display(),
        outcome.directory.join(REPORT).display(),
        runs.unwrap_or(&outcome.directory).display()
    )
}

/// What each hook cost.
fn costs(outcome: &Outcome) -> String {
    let mut text = format!(
        "\n{:<24}{:>7}{:>10}{:>8}{:>11}{:>9}{:>17}{:>13}\n",
        "hook",
        "calls",
        "seconds",
        "share",
        "in probes",
        "waited",
        "training waited",
        "longest lag"
    );
    let elapsed = outcome.clock.elapsed.as_secs_f64();
    for HookTime {
        name,
        calls,
        cost,
        longest_lag,
        background,
        ..
    } in &outcome.times
    {
        let lag = if *background {
            format!("{longest_lag} steps")
        } else {
            "inline".to_owned()
        };
        let [took, in_probes, waited, training_waited] =
            [cost.took, cost.in_probes, cost.waited, cost.training_waited]
                .map(|time| time.as_secs_f64());
        text += &format!(
            "{name:<24}{calls:>7}{took:>10.2}{:>7.1}%{in_probes:>11.2}{waited:>9.2}{training_waited:>17.2}{lag:>13}\n",
            100.0 * took / elapsed,
        );
    }
    text += &memory(outcome);
    let device: Duration = outcome.times.iter().map(|time| time.cost.device).sum();
    if !device.is_zero() {
        text += &format!(
            "devices had {:.2} s of the training's work left when inline hooks were called, which is not the hooks'\n",
            device.as_secs_f64()
        );
    }
    for excess in &outcome.excesses {
        text += &format!("note: {excess}\n");
    }
    text
}

/// What hooks took of memory, where it is a MB or more.
fn memory(outcome: &Outcome) -> String {
    const MB: u64 = 1_000_000;
    let mut text = String::new();
    let twice = outcome.times.iter().map(|time| time.cost.held_twice);
    let twice = twice.max().unwrap_or(0) / MB;
    if twice > 0 {
        text += &format!(
            "background hooks held up to {twice} MB of weights while the training had others\n"
        );
    }
    let rises = outcome.times.iter().filter_map(|time| {
        let rise = time.cost.peak_rise? / MB;
        (rise > 0).then(|| format!("{} by {rise} MB", time.name))
    });
    let rises = rises.collect::<Vec<_>>().join(", ");
    if !rises.is_empty() {
        text += &format!("inline hooks raised the peak of memory: {rises}\n");
    }
    text
}

/// Start, end and change of each measure of a run. The reason for a missing value stands behind its row.
fn measured(run: &RecordedRun, origin: &str) -> String {
    let mut text = String::new();
    let rows: String = run.rows().map(|shown| row(run, shown)).collect();
    if !rows.is_empty() {
        text += &format!(
            "\n{:<32}{:>12}{:>12}{:>12}\n{rows}",
            "", "start", "end", "change"
        );
        text +=
            &format!("\nmeasured on {origin}; one run is one seed: no claim about fine-tuning\n");
    }
    let measures = run.hooks.iter().flat_map(|hook| &hook.shows.two_by_two);
    let attribution: String = measures
        .filter_map(|measure| attributed(run, measure))
        .collect();
    if !attribution.is_empty() {
        text += &format!(
            "\n{:<32}{:>12}{:>12}{:>14}{:>13}\n{attribution}",
            "change since the start", "in all", "by main", "by assistant", "interaction"
        );
    }
    text
}

/// A tag's value at one moment, formatted; a dash when there is none.
pub(super) fn cell(run: &RecordedRun, tag: &str, moment: Moment) -> String {
    let point = run.at(tag, moment);
    point.map_or("-".to_owned(), |(_, value)| number(value))
}

/// The reasons why a tag has no value at some of these moments, each once. Empty when it has all of them.
pub(super) fn reasons(run: &RecordedRun, tag: &str, moments: &[Moment]) -> String {
    let reasons = moments
        .iter()
        .filter_map(|&moment| run.at(tag, moment).err());
    let mut reasons: Vec<String> = reasons.map(|why| why.to_string()).collect();
    reasons.dedup();
    if reasons.is_empty() {
        return String::new();
    }
    format!("   ({})", reasons.join("; "))
}

/// One row of the table. The reason for a missing value stands behind it.
fn row(run: &RecordedRun, Row { name, tag, cells }: &Row) -> String {
    let both = [Moment::Start, Moment::End];
    let [first, last] = both.map(|moment| cell(run, tag, moment));
    match cells {
        Cells::Change => {
            let change = run.change(tag).map_or("-".to_owned(), signed);
            let why = reasons(run, tag, &both);
            format!("{name:<32}{first:>12}{last:>12}{change:>12}{why}\n")
        }
        Cells::Ends => format!("{name:<32}{first:>12}{last:>12}\n"),
        // The row of the interval, or of the value itself, already says why the change is missing.
        Cells::End if run.at(tag, Moment::End).is_err() => String::new(),
        Cells::End => format!("{name:<32}{last:>24}\n"),
        Cells::Interval => {
            let [first, last] = both.map(|moment| interval(run, tag, moment));
            format!("{name:<24}{first:>20}{last:>24}\n")
        }
    }
}

/// The interval of a tag at one moment, formatted; a dash when there is none.
fn interval(run: &RecordedRun, tag: &str, moment: Moment) -> String {
    let end = |end: &str| run.at(&format!("{tag}_{end}"), moment);
    match (end("low"), end("high")) {
        (Ok((_, low)), Ok((_, high))) => range(low, high),
        _ => "-".to_owned(),
    }
}

/// How much each of the two models changed a measure by the end. None when no hook attributed it.
fn attributed(run: &RecordedRun, TwoByTwo { name, tag }: &TwoByTwo) -> Option<String> {
    let tag = |cell: &str| format!("{tag}/{cell}");
    let of = |cell: &str| run.at(&tag(cell), Moment::End).map(|point| point.1);
    if !run.scalars.contains_key(&tag("by_main")) {
        return None;
    }
    let (Ok(main), Ok(assistant), Ok(interaction)) =
        (of("by_main"), of("by_assistant"), of("interaction"))
    else {
        let why = reasons(run, &tag("by_main"), &[Moment::End]);
        return Some(format!(
            "{name:<32}{:>12}{:>12}{:>14}{:>13}{why}\n",
            "-", "-", "-", "-"
        ));
    };
    Some(format!(
        "{name:<32}{:>12}{:>12}{:>14}{:>13}\n",
        signed(main + assistant),
        signed(main),
        signed(assistant),
        signed(interaction)
    ))
}
