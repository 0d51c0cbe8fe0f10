//! Plain text: files, their lines, or their paragraphs. Its fields are `text`, `file` (the name) and `folder` (that of the folder it is in).

use std::io::Read;
use std::path::Path;

use super::rows::{Format, Lines, Place, Row, Rows, Unit, Wanted};
use super::value::Value;
use super::{Source, Text, opened};
use crate::data::source_error::SourceError;

/// Plain text.
pub static SOURCE: Source = Source {
    name: "text",
    title: "plain text",
    unit: "documents",
    text: Text::Files(Format {
        endings: &["txt"],
        fields: Some(&["text", "file", "folder"]),
        keys: &["document"],
        read,
    }),
};

fn read(path: &Path, wanted: &Wanted) -> Result<Rows, SourceError> {
    let named = Named::of(path);
    Ok(match wanted.unit {
        Unit::File => Box::new(std::iter::once(whole(path).map(|text| named.row(1, text)))),
        Unit::Line => Box::new(Lines::open(path)?.filter_map(move |line| match line {
            Ok((_, line)) if line.trim().is_empty() => None,
            Ok((number, line)) => Some(Ok(named.row(number, without_end(&line).to_owned()))),
            Err(error) => Some(Err(error)),
        })),
        Unit::Paragraph => Box::new(Paragraphs {
            lines: Lines::open(path)?,
            named,
            ended: false,
        }),
    })
}

/// The text of a whole file as it is, without a byte-order mark.
fn whole(path: &Path) -> Result<String, SourceError> {
    let mut bytes = Vec::new();
    let read = opened::open(path)?.read_to_end(&mut bytes);
    read.map_err(|error| SourceError::Read {
        path: path.to_owned(),
        message: error.to_string(),
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        Place::Line(line).wrong(path, "not UTF-8; save the file as UTF-8")
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(text) => text.to_owned(),
        None => text,
    })
}

/// A line without `\n` or `\r\n` at its end.
fn without_end(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

/// The names of a file and of its folder.
struct Named {
    file: String,
    folder: String,
}

impl Named {
    fn of(path: &Path) -> Self {
        let name = |path: Option<&Path>| {
            let name = path.and_then(Path::file_name).unwrap_or_default();
            name.to_string_lossy().into_owned()
        };
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self {
            file: name(Some(path)),
            folder: name(whole.parent()),
        }
    }

    fn row(&self, line: usize, text: String) -> Row {
        let fields = [
            ("text", text),
            ("file", self.file.clone()),
            ("folder", self.folder.clone()),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), Value::Text(value)));
        Row {
            place: Place::Line(line),
            fields: Value::Table(fields.into()),
        }
    }
}

/// Lines that belong together, with `\n` between them.
struct Paragraphs {
    lines: Lines,
    named: Named,
    ended: bool,
}

impl Paragraphs {
    fn paragraph(&mut self) -> Result<Option<Row>, SourceError> {
        let (mut begun, mut text) = (None, String::new());
        for line in self.lines.by_ref() {
            let (number, line) = line?;
            let line = without_end(&line);
            match (line.trim().is_empty(), begun) {
                (true, None) => {}
                (true, Some(begun)) => return Ok(Some(self.named.row(begun, text))),
                (false, None) => {
                    begun = Some(number);
                    text += line;
                }
                (false, Some(_)) => {
                    text.push('\n');
                    text += line;
                }
            }
        }
        Ok(begun.map(|begun| self.named.row(begun, text)))
    }
}

impl Iterator for Paragraphs {
    type Item = Result<Row, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let row = self.paragraph().transpose();
        self.ended = !matches!(row, Some(Ok(_)));
        row
    }
}
