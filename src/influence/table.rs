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
