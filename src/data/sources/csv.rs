//! CSV as RFC 4180 defines it. The first row names the fields, unless `data.columns` does.

use std::collections::BTreeSet;
use std::path::Path;

use super::rows::{Format, Place, Row, Rows, Wanted};
use super::value::Value;
use super::{Source, Text, opened};
use crate::data::csv_rows::{CsvError, CsvRow, CsvRows};
use crate::data::source_error::SourceError;

/// CSV.
pub static SOURCE: Source = Source {
    name: "csv",
    title: "CSV",
    unit: "documents",
    text: Text::Files(Format {
        endings: &["csv"],
        fields: None,
        keys: &["columns"],
        read,
    }),
};

fn read(path: &Path, wanted: &Wanted) -> Result<Rows, SourceError> {
    let path = path.to_owned();
    let mut rows = CsvRows::read(opened::open(&path)?);
    let columns = match &wanted.columns {
        Some(columns) => columns.clone(),
        None => match rows.next() {
            None => return Ok(Box::new(std::iter::empty())),
            Some(row) => header(&path, row)?,
        },
    };
    Ok(Box::new(rows.map(move |row| fields(&path, &columns, row))))
}

fn wrong(path: &Path, error: CsvError) -> SourceError {
    Place::Line(error.line).wrong(path, error.message)
}

/// The names of the columns in the first row.
fn header(path: &Path, row: Result<CsvRow, CsvError>) -> Result<Vec<String>, SourceError> {
    let row = row.map_err(|error| wrong(path, error))?;
    let mut known = BTreeSet::new();
    match row.fields.iter().find(|name| !known.insert(*name)) {
        None => Ok(row.fields),
        Some(name) => {
            let message = format!(
                "two columns are called `{name}`; give each a name of its own, or name them by `data.columns` if this row is none of names"
            );
            Err(Place::Line(row.line).wrong(path, message))
        }
    }
}

fn fields(
    path: &Path,
    columns: &[String],
    row: Result<CsvRow, CsvError>,
) -> Result<Row, SourceError> {
    let row = row.map_err(|error| wrong(path, error))?;
    let place = Place::Line(row.line);
    let (found, named) = (row.fields.len(), columns.len());
    if found != named {
        let message = format!(
            "{found} fields, and not {named} ({}); put a field with a comma in it into quotes",
            columns.join(", ")
        );
        return Err(place.wrong(path, message));
    }
    let fields = columns
        .iter()
        .cloned()
        .zip(row.fields.into_iter().map(Value::Text));
    Ok(Row {
        place,
        fields: Value::Table(fields.collect()),
    })
}
