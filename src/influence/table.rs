//! `documents.tsv`: a row for each document, with all digits, so that it can be read back as it was.

use std::fmt::Write as _;

use anyhow::{Context as _, ensure};

use super::estimate::OfGoal;
use super::summary::Documents;

/// The columns before those of the goals.
const FIRST: [&str; 3] = ["document", "topic", "predictions"];

/// The table: number, topic and predictions of each document, its influence on each goal through either model and both, and its text, in which
/// white space is a space. A document that was never seen has empty cells.
pub fn table(names: &[&str], goals: &[OfGoal], documents: &Documents) -> String {
    let mut text = FIRST.join("\t");
    for name in names {
        let _ = write!(text, "\t{name}/main\t{name}/assistant\t{name}/both");
    }
    text += "\ttext\n";
    for (document, predictions) in documents.predictions.iter().enumerate() {
        let topic = documents.topics[document].as_deref().unwrap_or_default();
        let _ = write!(text, "{document}\t{}\t{predictions}", plain(topic));
        for goal in goals {
            let [main, assistant] = goal.documents[document];
            match predictions {
                0 => text += "\t\t\t",
                _ => {
                    let both = main + assistant;
                    let _ = write!(text, "\t{main}\t{assistant}\t{both}");
                }
            }
        }
        let _ = writeln!(text, "\t{}", plain(&documents.texts[document]));
    }
    text
}

/// A text in one cell.
fn plain(text: &str) -> String {
    let parts: Vec<&str> = text.split_whitespace().collect();
    parts.join(" ")
}

/// The influence of each document on each goal, from a table: `[goal][document]`, through main model and assistant.
///
/// # Errors
/// When it is not the table of these goals and of so many documents.
pub fn read(text: &str, names: &[&str], documents: usize) -> anyhow::Result<Vec<Vec<[f64; 2]>>> {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    let places = names.iter().map(|name| {
        let wanted = format!("{name}/main");
        let place = header.iter().position(|column| *column == wanted);
        place.with_context(|| format!("it has no column `{wanted}`"))
    });
    let places: Vec<usize> = places.collect::<anyhow::Result<_>>()?;
    let mut goals = vec![Vec::with_capacity(documents); names.len()];
    for (index, line) in lines.enumerate() {
        let cells: Vec<&str> = line.split('\t').collect();
        for (goal, &place) in goals.iter_mut().zip(&places) {
            let number = |place: usize| match cells.get(place).copied() {
                Some("") => Ok(0.0),
                Some(cell) => cell.parse::<f64>(),
                None => "".parse(),
            };
            let read = [number(place), number(place + 1)];
            let [main, assistant] = read;
            let where_it_is = || format!("line {}: not numbers", index + 2);
            goal.push([
                main.with_context(where_it_is)?,
                assistant.with_context(where_it_is)?,
            ]);
        }
    }
    ensure!(
        goals.iter().all(|goal| goal.len() == documents),
        "it has not {documents} documents"
    );
    Ok(goals)
}

/// The influence that another method gives each document, for each goal that it has a column for: `[goal][document]`. The table has the
/// columns `document`, the numbers of [`table`], and for a goal one with its name. Documents that are not in it have 0.
///
/// # Errors
/// When it has no column of documents or of any goal, or when a line has no such document, one that was there before, or no number.
pub fn of_other(
    text: &str,
    names: &[&str],
    documents: usize,
) -> anyhow::Result<Vec<Option<Vec<f64>>>> {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    let place = |wanted: &str| header.iter().position(|column| *column == wanted);
    let number = place(FIRST[0]).with_context(|| format!("it has no column `{}`", FIRST[0]))?;
    let places: Vec<Option<usize>> = names.iter().map(|name| place(name)).collect();
    ensure!(
        places.iter().any(Option::is_some),
        "it has no column of a goal; the goals are {}",
        names.join(", ")
    );
    let mut goals: Vec<Option<Vec<f64>>> = (places.iter())
        .map(|place| place.map(|_| vec![0.0; documents]))
        .collect();
    let mut there = vec![false; documents];
    for (index, line) in lines.enumerate() {
        let cells: Vec<&str> = line.split('\t').collect();
        let cell = |place: usize| cells.get(place).copied().unwrap_or_default();
        let line = index + 2;
        let document: usize = cell(number)
            .parse()
            .ok()
            .filter(|document| *document < documents)
            .with_context(|| format!("line {line}: `{}` is no document; they are numbered from 0, and there are {documents}", cell(number)))?;
        ensure!(
            !std::mem::replace(&mut there[document], true),
            "line {line}: document {document} was there before"
        );
        for (goal, place) in goals.iter_mut().zip(&places) {
            if let (Some(values), Some(place)) = (goal, *place) {
                let value = cell(place).parse().ok().filter(|one: &f64| one.is_finite());
                values[document] = value.with_context(|| {
                    format!(
                        "line {line}: `{}` in column `{}` is no number",
                        cell(place),
                        header[place]
                    )
                })?;
            }
        }
    }
    Ok(goals)
}
