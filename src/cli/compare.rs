//! `milepost compare`: two runs side by side on the terminal.

use std::path::PathBuf;

use clap::Args;

use super::summary::ROWS;
use super::terminal;
use crate::measure::disparity::{Disparity, changes};
use crate::report::RecordedRun;
use crate::report::gap::{Gap, N_MATCHES, gaps, settings};
use crate::report::number::{number, range, signed};

#[derive(Args)]
pub(super) struct Arguments {
    /// The first run's directory.
    first: PathBuf,
    /// The second's.
    second: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let runs = super::report::read(&[arguments.first.clone(), arguments.second.clone()])?;
    let [first, second] = &runs[..] else {
        anyhow::bail!("two runs are compared");
    };
    let mut text = format!("A: {}\nB: {}\n", first.name(), second.name());
    text += &parameters(first, second);
    text += &values(first, second);
    text += &gap_table(&gaps(first), &gaps(second));
    text += &difference(first, second);
    terminal::out(&text);
    Ok(0)
}

/// The settings in which they differ.
fn parameters(first: &RecordedRun, second: &RecordedRun) -> String {
    let (first, second) = (first.settings(), second.settings());
    let value = |settings: &[(String, String)], key: &str| {
        let found = settings.iter().find(|(name, _)| name == key);
        found.map_or("-".to_owned(), |(_, value)| value.clone())
    };
    let mut keys: Vec<&String> = first.iter().chain(&second).map(|(key, _)| key).collect();
    keys.sort();
    keys.dedup();
    let mut text = String::new();
    for key in keys {
        let (a, b) = (value(&first, key), value(&second, key));
        if a != b {
            text += &format!("   {key}: {a} in A, {b} in B\n");
        }
    }
    match text.is_empty() {
        true => "   with the same settings\n".to_owned(),
        false => text,
    }
}

/// Before, after and change of what both measured.
fn values(first: &RecordedRun, second: &RecordedRun) -> String {
    let mut text = format!(
        "\n{:<32}{:>11}{:>11}{:>11}{:>11}{:>11}\n",
        "", "A before", "A after", "B before", "B after", "B-A after"
    );
    for (name, tag) in ROWS {
        if let (Some([a0, a1]), Some([b0, b1])) = (first.span(tag), second.span(tag)) {
            text += &format!(
                "{name:<32}{:>11}{:>11}{:>11}{:>11}{:>11}\n",
                number(a0.1),
                number(a1.1),
                number(b0.1),
                number(b1.1),
                signed(b1.1 - a1.1)
            );
        }
    }
    text
}

/// The change of the gap in every measure that both have.
fn gap_table(first: &[Gap], second: &[Gap]) -> String {
    let mut text = format!(
        "\n{:<32}{:>34}{:>34}\n",
        "change of the gap, female-male", "A, 95% interval", "B, 95% interval"
    );
    let said = |gap: &Gap| {
        let change = &gap.change;
        format!(
            "{} {}",
            signed(change.difference),
            range(change.low, change.high)
        )
    };
    for a in first {
        if let Some(b) = second.iter().find(|b| b.column == a.column) {
            let name = a.column.replace('_', " ");
            text += &format!("{name:<32}{:>34}{:>34}\n", said(a), said(b));
        }
    }
    text
}

/// How much more the gap of n_matches moved in B than in A, on the same pairs.
fn difference(first: &RecordedRun, second: &RecordedRun) -> String {
    if !first.has_pairs_of(second) {
        return "\nn_matches was measured on other pairs of prompts: the changes are not compared\n".to_owned();
    }
    let moved = |run: &RecordedRun| {
        let observed = run.observations(N_MATCHES);
        if observed.len() < 2 {
            return None;
        }
        let (_, before) = observed.first_key_value()?;
        let (_, after) = observed.last_key_value()?;
        changes(before, after).ok()
    };
    let (Some(a), Some(b)) = (moved(first), moved(second)) else {
        return "\nn_matches was not measured at two milestones in both\n".to_owned();
    };
    match Disparity::change(&a, &b, &settings(first)) {
        Ok(more) => format!(
            "\nthe gap of n_matches changed by {} {} more in B than in A, p = {}\n",
            signed(more.difference),
            range(more.low, more.high),
            number(more.two_way_p_value)
        ),
        Err(error) => format!("\nthe two changes cannot be compared: {error}\n"),
    }
}
