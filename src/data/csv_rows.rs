//! A strict reader of CSV as RFC 4180 defines it. It refuses a file in which a quote may swallow rows, rather than guess.
//!
//! A field is either quoted as a whole, with every quote inside it doubled, or has no quote at all. Rows end with `\n` or `\r\n`; empty
//! lines are skipped. A backslash has no special meaning. One row at a time is in memory.

use std::io::BufRead;

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
pub struct CsvRows<R> {
    text: R,
    /// The lines of the row at hand.
    row: Vec<u8>,
    /// The line on which what was not yet read begins.
    line: usize,
    ended: bool,
}

impl<'a> CsvRows<&'a [u8]> {
    /// Reads the rows of `text`. A byte-order mark at its start is skipped.
    pub fn of(text: &'a [u8]) -> Self {
        Self::read(text)
    }
}

impl<R: BufRead> CsvRows<R> {
    /// Reads the rows of a text on its way in. A byte-order mark at its start is skipped.
    pub fn read(text: R) -> Self {
        Self {
            text,
            row: Vec::new(),
            line: 1,
            ended: false,
        }
    }

    /// Reads the lines of the next row. Returns whether there is one.
    fn gather(&mut self) -> Result<bool, CsvError> {
        loop {
            self.row.clear();
            if self.another_line()? == 0 {
                return Ok(false);
            }
            if self.line == 1 && self.row.starts_with(BYTE_ORDER_MARK) {
                self.row.drain(..BYTE_ORDER_MARK.len());
            }
            match self.row[..] {
                [] => {}
                [b'\n'] | [b'\r', b'\n'] => self.line += 1,
                _ => break,
            }
        }
        // A row ends with the first line behind which no quote is open. One that is wrong already must not swallow what follows.
        let mut quotes = count(&self.row, b'"');
        if quotes % 2 == 1 && !matches!(self.parse(), Err(error) if error.message == OPEN) {
            return Ok(true);
        }
        while quotes % 2 == 1 {
            let begun = self.row.len();
            if self.another_line()? == 0 {
                break;
            }
            quotes += count(&self.row[begun..], b'"');
        }
        Ok(true)
    }

    /// Reads one more line. Returns its length in bytes.
    fn another_line(&mut self) -> Result<usize, CsvError> {
        let read = self.text.read_until(b'\n', &mut self.row);
        read.map_err(|error| CsvError {
            line: self.line + count(&self.row, b'\n'),
            message: format!("cannot be read any further: {error}"),
        })
    }

    fn parse(&self) -> Result<(CsvRow, usize), CsvError> {
        let mut parser = Parser {
            rest: &self.row,
            line: self.line,
        };
        let row = parser.row()?;
        Ok((row, parser.line))
    }

    fn next_row(&mut self) -> Result<Option<CsvRow>, CsvError> {
        if !self.gather()? {
            return Ok(None);
        }
        let (row, line) = self.parse()?;
        self.line = line;
        Ok(Some(row))
    }
}

impl<R: BufRead> Iterator for CsvRows<R> {
    type Item = Result<CsvRow, CsvError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let row = self.next_row().transpose();
        self.ended = !matches!(row, Some(Ok(_)));
        row
    }
}

/// The bytes that some programs put before a text in UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// What is said of a quoted field without an end.
const OPEN: &str = "a quote is opened here and never closed";

/// What follows a field: another field, or the next row.
enum End {
    Comma,
    Row,
}

/// Reads one row.
struct Parser<'a> {
    rest: &'a [u8],
    /// The line on which `rest` begins.
    line: usize,
}

impl<'a> Parser<'a> {
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
                    line: field + count(valid, b'\n'),
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
                    message: OPEN.to_owned(),
                });
            };
            let (part, behind) = (&rest[..length], &rest[length + 1..]);
            field.extend_from_slice(part);
            self.line += count(part, b'\n');
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
}

/// How often a byte stands among others.
fn count(bytes: &[u8], wanted: u8) -> usize {
    bytes.iter().filter(|&&byte| byte == wanted).count()
}
