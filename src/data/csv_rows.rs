//! A strict reader of CSV as RFC 4180 defines it. It refuses a file in which a quote may swallow rows, rather than guess.
//!
//! A field is either quoted as a whole, with every quote inside it doubled, or has no quote at all. Rows end with `\n` or `\r\n`; empty
//! lines are skipped. A backslash has no special meaning.

/// An error in a CSV text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct CsvError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvRow {
    /// The line on which the row begins, counted from 1.
    pub line: usize,
    /// The fields, without the quotes around them.
    pub fields: Vec<String>,
}

/// An iterator over the rows of a text. It ends after the first error.
pub struct CsvRows<'a> {
    rest: &'a [u8],
    /// The line on which `rest` begins.
    line: usize,
}

/// What follows a field: another field, or the next row.
enum End {
    Comma,
    Row,
}

impl<'a> CsvRows<'a> {
    /// Reads the rows of `text`. A byte-order mark at its start is skipped.
    pub fn of(text: &'a [u8]) -> Self {
        Self {
            rest: text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text),
            line: 1,
        }
    }

    fn row(&mut self) -> Result<CsvRow, CsvError> {
        let line = self.line;
        let mut fields = Vec::new();
        loop {
            let field = self.line;
            let bytes = match self.rest.strip_prefix(b"\"") {
                Some(rest) => self.quoted(rest)?,
                None => self.plain()?,
            };
            let text = String::from_utf8(bytes).map_err(|error| {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                CsvError {
                    line: field + lines(valid),
                    message: "not UTF-8; save the file as UTF-8".to_owned(),
                }
            })?;
            fields.push(text);
            if let End::Row = self.end()? {
                return Ok(CsvRow { line, fields });
            }
        }
    }

    /// Reads a field without quotes, up to the next comma or the end of the line.
    fn plain(&mut self) -> Result<Vec<u8>, CsvError> {
        let ends = |byte: &u8| matches!(byte, b',' | b'\n' | b'\r');
        let length = self.rest.iter().position(ends);
        let (field, rest) = self.rest.split_at(length.unwrap_or(self.rest.len()));
        if field.contains(&b'"') {
            return Err(CsvError {
                line: self.line,
                message: "a quote in a field that does not begin with one; put the field into quotes, and double the quotes in it".to_owned(),
            });
        }
        self.rest = rest;
        Ok(field.to_vec())
    }

    /// Reads a quoted field behind its first quote, up to a quote that is not doubled.
    fn quoted(&mut self, mut rest: &'a [u8]) -> Result<Vec<u8>, CsvError> {
        let opened = self.line;
        let mut field = Vec::new();
        loop {
            let Some(length) = rest.iter().position(|&byte| byte == b'"') else {
                return Err(CsvError {
                    line: opened,
                    message: "a quote is opened here and never closed".to_owned(),
                });
            };
            let (part, behind) = (&rest[..length], &rest[length + 1..]);
            field.extend_from_slice(part);
            self.line += lines(part);
            let Some(more) = behind.strip_prefix(b"\"") else {
                self.rest = behind;
                break;
            };
            field.push(b'"');
            rest = more;
        }
        match self.rest.first() {
            None | Some(b',' | b'\n' | b'\r') => Ok(field),
            Some(_) => Err(CsvError {
                line: opened,
                message: format!(
                    "a quote is opened here, and text stands behind the quote that closes it in line {}; double the quotes inside a field",
                    self.line
                ),
            }),
        }
    }

    /// Skips the comma or line end after a field, and says which it was.
    fn end(&mut self) -> Result<End, CsvError> {
        let (end, rest) = match self.rest {
            [] => (End::Row, self.rest),
            [b',', rest @ ..] => (End::Comma, rest),
            [b'\n', rest @ ..] | [b'\r', b'\n', rest @ ..] => {
                self.line += 1;
                (End::Row, rest)
            }
            _ => {
                return Err(CsvError {
                    line: self.line,
                    message: "a carriage return without a line feed behind it; end lines with \\n or \\r\\n".to_owned(),
                });
            }
        };
        self.rest = rest;
        Ok(end)
    }

    fn pass_over_empty_lines(&mut self) {
        while let [b'\n', rest @ ..] | [b'\r', b'\n', rest @ ..] = self.rest {
            self.rest = rest;
            self.line += 1;
        }
    }
}

impl Iterator for CsvRows<'_> {
    type Item = Result<CsvRow, CsvError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.pass_over_empty_lines();
        if self.rest.is_empty() {
            return None;
        }
        let row = self.row();
        if row.is_err() {
            self.rest = &[];
        }
        Some(row)
    }
}

/// The number of line ends in a part of the text.
fn lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'\n').count()
}
