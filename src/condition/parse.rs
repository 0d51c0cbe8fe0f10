//! The parser of a condition.

use std::ops::Range;

use super::{Check, ConditionError, Lasting, Node, Test};
use crate::suggestion::did_you_mean;

/// The words of the language.
const WORDS: &[&str] = &[
    "and", "or", "not", "rises", "falls", "for", "step", "steps", "value", "values",
];
const FORMS: &str = "`train/main/loss < 2.0`, `eval/main/loss rises`, `falls`, either of them with `for 20 steps` or `for 3 values`, joined by `and`, `or`, `not` and parentheses";
/// How deep parentheses and `not` may be nested.
const DEEPEST: usize = 32;

/// Whether a tag can be written without backquotes.
pub(super) fn is_plain(tag: &str) -> bool {
    let is_word = !tag.is_empty() && !tag.contains(separates);
    is_word && !WORDS.contains(&tag) && tag.parse::<f64>().is_err()
}

fn separates(letter: char) -> bool {
    letter.is_whitespace() || is_sign(letter) || letter == '`'
}

fn is_sign(letter: char) -> bool {
    "()<>=!".contains(letter)
}

/// A piece of a condition: a word, a sign, or a tag in backquotes.
struct Piece<'a> {
    text: &'a str,
    span: Range<usize>,
    quoted: bool,
}

/// Parses a condition.
pub(super) fn condition(text: &str) -> Result<Node, ConditionError> {
    let mut parser = Parser {
        pieces: pieces(text)?,
        next: 0,
        end: text.len(),
        depth: 0,
    };
    let node = parser.any()?;
    match parser.pieces.get(parser.next) {
        None => Ok(node),
        Some(piece) => Err(parser.unexpected(piece)),
    }
}

/// Splits a condition into pieces.
fn pieces(text: &str) -> Result<Vec<Piece<'_>>, ConditionError> {
    let mut pieces = Vec::new();
    let mut start = 0;
    while let Some(letter) = text[start..].chars().next() {
        let rest = &text[start..];
        let quoted = letter == '`';
        let length = if letter.is_whitespace() {
            start += letter.len_utf8();
            continue;
        } else if quoted {
            let closing = rest[1..].find('`').map(|index| index + 2);
            closing.ok_or_else(|| error("the tag in backquotes has no end", start..text.len()))?
        } else if is_sign(letter) {
            let equals = rest[1..].starts_with('=') && letter != '(' && letter != ')';
            1 + usize::from(equals)
        } else {
            rest.find(separates).unwrap_or(rest.len())
        };
        let span = start..start + length;
        pieces.push(Piece {
            text: if quoted {
                &rest[1..length - 1]
            } else {
                &rest[..length]
            },
            span: span.clone(),
            quoted,
        });
        start = span.end;
    }
    Ok(pieces)
}

struct Parser<'a> {
    pieces: Vec<Piece<'a>>,
    next: usize,
    end: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    /// Whether the next piece is the word or sign `text`, which is then taken.
    fn takes(&mut self, text: &str) -> bool {
        let next = self.pieces.get(self.next);
        let found = next.is_some_and(|piece| !piece.quoted && piece.text == text);
        self.next += usize::from(found);
        found
    }

    /// The next piece; `wanted` says what should stand there.
    fn take(&mut self, wanted: &str) -> Result<&Piece<'a>, ConditionError> {
        let end = self.end;
        self.next += 1;
        self.pieces.get(self.next - 1).ok_or_else(|| {
            let message = format!("the condition ends too early: {wanted} is missing");
            error(message, end..end)
        })
    }

    /// Parts with `or` between them.
    fn any(&mut self) -> Result<Node, ConditionError> {
        let first = self.all()?;
        let mut parts = vec![first];
        while self.takes("or") {
            parts.push(self.all()?);
        }
        Ok(joined(parts, Node::Any))
    }

    /// Parts with `and` between them.
    fn all(&mut self) -> Result<Node, ConditionError> {
        let first = self.one()?;
        let mut parts = vec![first];
        while self.takes("and") {
            parts.push(self.one()?);
        }
        Ok(joined(parts, Node::All))
    }

    /// A test, the opposite of something, or a condition in parentheses.
    fn one(&mut self) -> Result<Node, ConditionError> {
        let begin = self.pieces.get(self.next).map(|piece| piece.span.clone());
        self.depth += 1;
        if self.depth > DEEPEST {
            let message = format!("more than {DEEPEST} parentheses and `not` within each other");
            return Err(error(message, begin.unwrap_or(self.end..self.end)));
        }
        let node = if self.takes("not") {
            Node::Not(Box::new(self.one()?))
        } else if self.takes("(") {
            let inner = self.any()?;
            if !self.takes(")") {
                return Err(match self.pieces.get(self.next) {
                    Some(piece) => self.unexpected(piece),
                    None => error("this parenthesis is not closed", begin.unwrap_or_default()),
                });
            }
            inner
        } else {
            Node::Test(self.test()?)
        };
        self.depth -= 1;
        Ok(node)
    }

    fn test(&mut self) -> Result<Test, ConditionError> {
        let tag = self.tag()?;
        let check = self.check()?;
        let lasting = if self.takes("for") {
            self.lasting()?
        } else {
            Lasting::Values(1)
        };
        Ok(Test {
            tag,
            check,
            lasting,
        })
    }

    fn tag(&mut self) -> Result<String, ConditionError> {
        let piece = self.take("a tag")?;
        let is_number = piece.text.parse::<f64>().is_ok() && !piece.quoted;
        if piece.quoted && !piece.text.is_empty() || is_plain(piece.text) {
            return Ok(piece.text.to_owned());
        }
        let message = format!("a tag must stand here, not `{}`", piece.text);
        let help = if is_number {
            "the tag comes first: `train/main/loss < 2.0`".to_owned()
        } else {
            format!("a condition is made of {FORMS}")
        };
        Err(error(message, piece.span.clone()).with_help(help))
    }

    fn check(&mut self) -> Result<Check, ConditionError> {
        let piece = self.take("what the tag must do")?;
        let bounded: fn(f64) -> Check = match piece.text {
            "<" => Check::Below,
            "<=" => Check::AtMost,
            ">" => Check::Above,
            ">=" => Check::AtLeast,
            "rises" => return Ok(Check::Rises),
            "falls" => return Ok(Check::Falls),
            text => {
                let known = ["rises", "falls"];
                let help = match did_you_mean(&text.to_lowercase(), known) {
                    Some(word) => format!("did you mean `{word}`?"),
                    None => {
                        "a tag is followed by <, <=, > or >= and a number, or by `rises` or `falls`"
                            .to_owned()
                    }
                };
                let message = format!("`{text}` is not understood here");
                return Err(error(message, piece.span.clone()).with_help(help));
            }
        };
        self.number().map(bounded)
    }

    /// A number. Digits may have `_` between them, as in TOML.
    fn number(&mut self) -> Result<f64, ConditionError> {
        let piece = self.take("a number")?;
        let (text, span) = (piece.text, piece.span.clone());
        let refuse = |message: String| error(message, span.clone());
        let digits = |letter: char| letter.is_ascii_digit() || "+-.eE".contains(letter);
        let bare = without_underscores(text).filter(|bare| bare.chars().all(digits));
        match bare.and_then(|bare| bare.parse::<f64>().ok()) {
            Some(value) if value.is_finite() => Ok(value),
            Some(_) => Err(refuse(format!("`{text}` is too large"))),
            None => Err(refuse(format!("`{text}` is not a number"))
                .with_help("write it in digits, such as 2, -0.5 or 1e-3")),
        }
    }

    /// What follows `for`: a number of steps or values.
    fn lasting(&mut self) -> Result<Lasting, ConditionError> {
        let piece = self.take("a number of steps or values")?;
        let (text, span) = (piece.text, piece.span.clone());
        let digits = without_underscores(text)
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
        let count = digits.and_then(|digits| digits.parse().ok());
        let count = count.filter(|count| *count >= 1u64).ok_or_else(|| {
            let message = format!("`{text}` is not a whole number of at least 1");
            error(message, span).with_help("write it in digits: `for 20 steps`")
        })?;
        let piece = self.take("`steps` or `values`")?;
        match piece.text {
            "step" | "steps" => Ok(Lasting::Steps(count)),
            "value" | "values" => Ok(Lasting::Values(count)),
            text => {
                let known = ["step", "steps", "value", "values"];
                let help = match did_you_mean(&text.to_lowercase(), known) {
                    Some(word) => format!("did you mean `{word}`?"),
                    None => "write `for 20 steps` or `for 3 values`".to_owned(),
                };
                let message = format!("`{text}` is not understood here");
                Err(error(message, piece.span.clone()).with_help(help))
            }
        }
    }

    /// What to say of a piece behind something that is complete.
    fn unexpected(&self, piece: &Piece) -> ConditionError {
        let message = format!("`{}` is not understood here", piece.text);
        let known = ["for", "and", "or"];
        let help = match did_you_mean(&piece.text.to_lowercase(), known) {
            Some(word) => format!("did you mean `{word}`?"),
            None if piece.text == ")" => "no parenthesis is open here".to_owned(),
            None => format!("a condition is made of {FORMS}"),
        };
        error(message, piece.span.clone()).with_help(help)
    }
}

/// The only part, or all parts joined.
fn joined(mut parts: Vec<Node>, join: fn(Vec<Node>) -> Node) -> Node {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            join(parts)
        }
    }
}

/// A number without the `_` between its digits. None when one stands elsewhere.
fn without_underscores(text: &str) -> Option<String> {
    let digit = |part: Option<char>| part.is_some_and(|letter| letter.is_ascii_digit());
    let parts: Vec<&str> = text.split('_').collect();
    let sound = parts
        .windows(2)
        .all(|pair| digit(pair[0].chars().last()) && digit(pair[1].chars().next()));
    (sound && !text.is_empty()).then(|| parts.concat())
}

fn error(message: impl Into<String>, span: Range<usize>) -> ConditionError {
    ConditionError {
        message: message.into(),
        span,
        help: None,
    }
}

impl ConditionError {
    fn with_help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }
}
