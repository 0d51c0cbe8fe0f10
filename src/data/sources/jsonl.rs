//! JSON Lines: a JSON object on each line. Lines end with `\n` alone, so that U+2028, U+2029 and U+0085 may stand in a text. Empty lines are
//! skipped.

use std::path::Path;

use super::rows::{Format, Lines, Place, Row, Rows, Wanted};
use super::value::Value;
use super::{Source, Text};
use crate::data::source_error::SourceError;

/// JSON Lines.
pub static SOURCE: Source = Source {
    name: "jsonl",
    title: "JSON Lines",
    unit: "documents",
    text: Text::Files(Format {
        endings: &["jsonl", "ndjson"],
        fields: None,
        keys: &[],
        read,
    }),
};

fn read(path: &Path, _: &Wanted) -> Result<Rows, SourceError> {
    let path = path.to_owned();
    let rows = Lines::open(&path)?.filter_map(move |line| match line {
        Ok((_, line)) if line.trim_matches(['\n', '\r', ' ', '\t']).is_empty() => None,
        Ok((number, line)) => Some(row(&path, number, &line)),
        Err(error) => Some(Err(error)),
    });
    Ok(Box::new(rows))
}

fn row(path: &Path, number: usize, line: &str) -> Result<Row, SourceError> {
    let place = Place::Line(number);
    let fields: Value = serde_json::from_str(line).map_err(|error| {
        let message = error.to_string();
        // The parser sees one line.
        let (message, _) = message.rsplit_once(" at line").unwrap_or((&message, ""));
        let column = error.column();
        let what = format!("not JSON: {message}, column {column}");
        match line.trim_start() {
            begin if begin.starts_with('[') => place.wrong(path, format!("{what}; {NOT_AN_ARRAY}")),
            _ => place.wrong(
                path,
                format!("{what}; each line must be a JSON object of its own"),
            ),
        }
    })?;
    match &fields {
        Value::Table(_) => Ok(Row { place, fields }),
        Value::List(_) => Err(place.wrong(path, format!("a list; {NOT_AN_ARRAY}"))),
        other => {
            let kind = other.kind();
            let message = format!("{kind}, and not a JSON object such as {{\"text\": \"...\"}}");
            Err(place.wrong(path, message))
        }
    }
}

/// What to do with an array.
const NOT_AN_ARRAY: &str = "each line must be a JSON object of its own, so write the elements of an array line by line (jq -c '.[]')";
