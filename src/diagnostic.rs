//! How an error in a text file is shown: what is wrong, where (file, line, a caret under it), and what was probably meant.
//!
//! ```text
//! unknown key `max_step`
//!   --> experiments/ag_news.toml:14:1
//!    |
//! 14 | max_step = 50
//!    | ^^^^^^^^ did you mean `max_steps`?
//! ```

use std::fmt;
use std::ops::Range;

use crate::suggestion::did_you_mean;

/// A text, and the name that messages use for it.
#[derive(Debug, Clone)]
pub struct Source {
    /// A path, or a name for a text that is not a file.
    pub name: String,
    /// The text.
    pub text: String,
}

/// An error in a text: what is wrong, where, and what may help.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    message: String,
    name: String,
    /// Boxed, so that results that carry a diagnostic stay small.
    place: Option<Box<Place>>,
    help: Option<String>,
}

#[derive(Debug, Clone)]
struct Place {
    line: usize,
    column: usize,
    text: String,
    /// The white space before the caret. It repeats the line's own tabs, so that the caret stands right.
    indent: String,
    width: usize,
}

impl Diagnostic {
    /// An error at `span` (a range of bytes) of `source`.
    pub fn at(source: &Source, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            name: source.name.clone(),
            place: Some(Box::new(place(&source.text, span))),
            help: None,
        }
    }

    /// An error that concerns a file as a whole.
    pub fn file(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            name: name.into(),
            place: None,
            help: None,
        }
    }

    /// Adds a hint: what was probably meant, or what to do.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// An error of the TOML parser, in plainer words. For a mistyped name it suggests the nearest known one.
    pub fn from_toml(source: &Source, error: &toml::de::Error) -> Self {
        let raw = error.message().trim().replace('\n', ", ");
        let (mut message, help) = reworded(&raw);
        // A key that is missing at the top level has no line to point at.
        let whole = 0..source.text.len();
        let nowhere = |span: &Range<usize>| *span == (0..0) || *span == whole;
        let span = error
            .span()
            .filter(|span| !(raw.starts_with("missing field") && nowhere(span)));
        if raw == "duplicate key"
            && let Some(key) = span.clone().and_then(|span| source.text.get(span))
        {
            message = format!("key `{key}` is given twice");
        }
        let mut diagnostic = match span {
            Some(span) => Self::at(source, span, message),
            None => Self::file(&source.name, message),
        };
        diagnostic.help = help;
        diagnostic
    }

    /// What is wrong, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The line, counted from 1. None for a file as a whole.
    pub fn line(&self) -> Option<usize> {
        self.place.as_ref().map(|place| place.line)
    }

    /// The hint, if there is one.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl std::error::Error for Diagnostic {}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Some(place) = &self.place else {
            write!(f, "{}: {}", self.name, self.message)?;
            return match &self.help {
                Some(help) => write!(f, " ({help})"),
                None => Ok(()),
            };
        };
        let number = place.line.to_string();
        let margin = " ".repeat(number.len());
        writeln!(f, "{}", self.message)?;
        writeln!(
            f,
            "{margin}--> {}:{}:{}",
            self.name, place.line, place.column
        )?;
        writeln!(f, "{margin} |")?;
        writeln!(f, "{number} | {}", place.text)?;
        let carets = "^".repeat(place.width);
        write!(f, "{margin} | {}{carets}", place.indent)?;
        match &self.help {
            Some(help) => write!(f, " {help}"),
            None => Ok(()),
        }
    }
}

/// The first line of a span (in bytes), and where on that line to point.
fn place(text: &str, span: Range<usize>) -> Place {
    let start = floor_boundary(text, span.start.min(text.len()));
    let end = floor_boundary(text, span.end.clamp(start, text.len()));
    let first = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let last = text[start..]
        .find('\n')
        .map_or(text.len(), |newline| start + newline);
    let before = &text[first..start];
    let pointed = &text[start..end.min(last)];
    Place {
        line: 1 + text[..first].matches('\n').count(),
        column: 1 + before.chars().count(),
        text: text[first..last].trim_end_matches('\r').to_owned(),
        indent: before
            .chars()
            .map(|letter| if letter == '\t' { '\t' } else { ' ' })
            .collect(),
        width: pointed.trim_end().chars().count().max(1),
    }
}

fn floor_boundary(text: &str, mut index: usize) -> usize {
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// Translates a message of serde into the words of someone who writes TOML. Also returns the hint that it contains.
fn reworded(message: &str) -> (String, Option<String>) {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    for (start, what) in [("unknown field", "key"), ("unknown variant", "value")] {
        if !message.starts_with(start) {
            continue;
        }
        let Some((word, known)) = quoted.split_first() else {
            continue;
        };
        return (
            format!("unknown {what} `{word}`"),
            Some(known_names(word, known)),
        );
    }
    if message.starts_with("missing field")
        && let Some(field) = quoted.first()
    {
        return (format!("key `{field}` is missing"), None);
    }
    if message == "wanted string or table" {
        return ("expected a string".to_owned(), None);
    }
    // From the right, because the value that was found may be a string with these words in it.
    if let Some((found, expected)) = message.rsplit_once(", expected ") {
        if let Some(found) = found.strip_prefix("invalid type: ") {
            let found = plain_value(found);
            return (
                format!("expected {}, found {found}", plain_type(expected)),
                None,
            );
        }
        if let Some(found) = found.strip_prefix("invalid value: integer ") {
            let found = found.trim_matches('`');
            let why = if found.starts_with('-') && expected.starts_with('u') {
                "expected a whole number, 0 or more, found"
            } else {
                "this whole number is out of range:"
            };
            return (format!("{why} {found}"), None);
        }
    }
    (message.to_owned(), None)
}

/// A hint for an unknown `word`: "did you mean" the nearest of `known`, or all of them when none is near.
pub fn known_names(word: &str, known: &[&str]) -> String {
    match did_you_mean(word, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None if known.is_empty() => "nothing is allowed here".to_owned(),
        None => format!("known: {}", known.join(", ")),
    }
}

fn plain_type(expected: &str) -> &str {
    match expected {
        "f64" | "f32" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "a map" => "a table",
        structure if structure.starts_with("struct ") => "a table",
        "usize" | "isize" => "a whole number",
        number if number.starts_with(['u', 'i']) && number[1..].parse::<u8>().is_ok() => {
            "a whole number"
        }
        other => other,
    }
}

/// The value that serde found. Numbers, `true` and `false` are shown as written, other values with their kind.
fn plain_value(found: &str) -> String {
    match found {
        "map" => return "a table".to_owned(),
        "sequence" => return "an array".to_owned(),
        _ => {}
    }
    for kind in ["integer `", "floating point `", "boolean `"] {
        if let Some((value, _)) = found
            .strip_prefix(kind)
            .and_then(|rest| rest.split_once('`'))
        {
            return value.to_owned();
        }
    }
    found.to_owned()
}
