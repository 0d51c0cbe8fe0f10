//! `milepost compare`: two runs side by side on the terminal.

use std::path::PathBuf;

use clap::Args;

use super::summary::{cell, reasons};
use super::terminal;
use crate::hook::{Cells, Row};
use crate::registry::Registry;
use crate::report::gap::{Gap, Incomplete, all_gaps, settings};
use crate::report::mixing::{caveat, mixed, read};
use crate::report::number::{number, range, signed};
use crate::report::provenance::caveats;
use crate::report::{At, Missing, Moment, RecordedContrast, RecordedRun};
use crate::statistics::disparity::Disparity;
use crate::statistics::observation::{Observation, changes};

#[derive(Args)]
pub(super) struct Arguments {
    /// The first run's directory.
    first: PathBuf,
    /// The second's.
    second: PathBuf,
    /// Compare them although files are damaged, or were made of other inputs under the same settings; the table says so.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> anyhow::Result<u8> {
    let paths = [arguments.first.clone(), arguments.second.clone()];
    let runs = read(&paths, registry, arguments.force)?;
    let [first, second] = &runs[..] else {
        anyhow::bail!("two runs are compared");
    };
    let mut text = format!("A: {}\nB: {}\n", first.name(), second.name());
    for (letter, run) in [("A", first), ("B", second)] {
        for caveat in caveats(run) {
            text += &format!("{letter}: {caveat}\n");
        }
    }
    for what in mixed(&[first, second]) {
        text += &format!("{}\n", caveat(&what));
    }
    text += &parameters(first, second);
    text += &values(first, second);
    let gaps = [all_gaps(first), all_gaps(second)];
    let mut contrasts: Vec<&RecordedContrast> = first.contrasts.iter().collect();
    let own = second.contrasts.iter();
    contrasts.extend(own.filter(|one| first.contrast(&one.names.name).is_none()));
    for contrast in contrasts {
        text += &gap_table(contrast, &gaps);
        text += &difference(contrast, first, second);
    }
    terminal::out(&text);
    Ok(0)
}

/// One line for each setting in which the two runs differ.
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
    if text.is_empty() {
        return "   with the same settings\n".to_owned();
    }
    text
}

/// The table of values before and after training, with a row for everything that either run measured. Reasons for missing values stand
/// below it.
fn values(first: &RecordedRun, second: &RecordedRun) -> String {
    let mut text = format!(
        "\n{:<32}{:>11}{:>11}{:>11}{:>11}{:>11}\n",
        "", "A before", "A after", "B before", "B after", "B-A after"
    );
    let mut below = String::new();
    let both = [Moment::Start, Moment::End];
    let own = second.rows();
    let own = own.filter(|row| first.rows().all(|other| other.tag != row.tag));
    let rows = first.rows().chain(own);
    for Row { name, tag, .. } in rows.filter(|row| row.cells == Cells::Change) {
        let [a0, a1] = both.map(|moment| cell(first, tag, moment));
        let [b0, b1] = both.map(|moment| cell(second, tag, moment));
        let more = match (first.at(tag, Moment::End), second.at(tag, Moment::End)) {
            (Ok((_, a)), Ok((_, b))) => signed(b - a),
            _ => "-".to_owned(),
        };
        text += &format!("{name:<32}{a0:>11}{a1:>11}{b0:>11}{b1:>11}{more:>11}\n");
        for (letter, run) in [("A", first), ("B", second)] {
            let why = reasons(run, tag, &both);
            if !why.is_empty() {
                below += &format!("   {name}, {letter}:{}\n", &why[2..]);
            }
        }
    }
    text + &below
}

/// The gaps of a run, and the measures that lack the start or the end.
type Gaps = (Vec<Gap>, Vec<Incomplete>);

/// The table of how one contrast's gap changed, with a row for each measure that either run has.
fn gap_table(contrast: &RecordedContrast, runs: &[Gaps; 2]) -> String {
    let name = &contrast.names.name;
    let [one, other] = &contrast.names.groups;
    let mut text = format!(
        "\n{:<32}{:>34}{:>34}\n",
        format!("change of the gap, {one}-{other}"),
        "A, 95% interval",
        "B, 95% interval"
    );
    let columns = |(gaps, lacking): &Gaps| -> Vec<String> {
        let gaps = gaps.iter().filter(|gap| gap.contrast == *name);
        let lacking = lacking.iter().filter(|one| one.contrast == *name);
        let gaps = gaps.map(|gap| gap.column.clone());
        gaps.chain(lacking.map(|one| one.column.clone())).collect()
    };
    let [first, second] = runs;
    let mut all = columns(first);
    all.extend(columns(second));
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|column| seen.insert(column.clone()));
    let mut below = String::new();
    for column in all {
        let measure = column.replace('_', " ");
        let mut side = |letter: &str, (gaps, lacking): &Gaps| {
            let is = |one: &str, of: &str| one == column && of == name;
            if let Some(gap) = gaps.iter().find(|gap| is(&gap.column, &gap.contrast)) {
                let change = &gap.change;
                let interval = range(change.low, change.high);
                return format!("{} {interval}", signed(change.difference));
            }
            let why = lacking.iter().find(|one| is(&one.column, &one.contrast));
            let why = why.map_or("not measured".to_owned(), Incomplete::reason);
            below += &format!("   {measure}, {letter}: ({why})\n");
            "-".to_owned()
        };
        let (a, b) = (side("A", first), side("B", second));
        text += &format!("{measure:<32}{a:>34}{b:>34}\n");
    }
    text + &below
}

/// Says how much more the gap of n_matches changed in B than in A, tested on the changes of the same units.
fn difference(contrast: &RecordedContrast, first: &RecordedRun, second: &RecordedRun) -> String {
    let of = |run: &RecordedRun| {
        let own = run.contrast(&contrast.names.name);
        own.is_some_and(|own| own.words == contrast.words)
    };
    if !of(first) || !of(second) {
        return "\nn_matches was measured on other pairs of prompts: the changes are not compared\n".to_owned();
    }
    let moved = |run: &RecordedRun| -> At<Vec<Observation>> {
        // Each run brings its own units, since the same prompts can be at other positions.
        let own = run.contrast(&contrast.names.name).unwrap_or(contrast);
        let at = |moment| run.observed_at(own, &run.n_matches(), moment);
        changes(&at(Moment::Start)?, &at(Moment::End)?).map_err(|error| Missing(error.to_string()))
    };
    let (a, b) = match (moved(first), moved(second)) {
        (Ok(a), Ok(b)) => (a, b),
        (Err(why), _) => return format!("\nthe changes are not compared: n_matches in A: {why}\n"),
        (_, Err(why)) => return format!("\nthe changes are not compared: n_matches in B: {why}\n"),
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
