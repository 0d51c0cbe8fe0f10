//! The parser of one clause.

use std::ops::Range;
use std::time::Duration;

use super::{CadenceError, Clause, Rule};
use crate::suggestion::did_you_mean;

/// The words that a clause can contain, for suggestions.
const WORDS: &[&str] = &[
    "start", "end", "every", "step", "steps", "epoch", "epochs", "token", "tokens", "sample",
    "samples", "log2", "from", "until", "second", "seconds", "minute", "minutes", "hour", "hours",
    "min", "sec", "budget",
];
const FORMS: &str = "`start`, `end`, `every 50 steps`, `every epoch`, `every 10%`, `every 1M tokens`, `every 1000 samples`, `every 5 min`, `budget 5%`, `log2 steps`, `steps 1, 10, 100`, and `from step 100`, `until step 1000` behind a clause that repeats";

/// A word of a text, and where it stands, in bytes.
pub(super) struct Word<'a> {
    pub text: &'a str,
    pub span: Range<usize>,
}

/// Splits a clause into words. White space and commas separate words; `%` is a word of its own.
pub(super) fn words(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut start = None;
    for (index, letter) in text.char_indices().chain([(text.len(), ' ')]) {
        let separates = letter.is_whitespace() || letter == ',' || letter == '%';
        if separates && let Some(first) = start.take() {
            words.push(Word {
                text: &text[first..index],
                span: first..index,
            });
        } else if !separates && start.is_none() {
            start = Some(index);
        }
        if letter == '%' {
            words.push(Word {
                text: "%",
                span: index..index + 1,
            });
        }
    }
    words
}

struct Parser<'a> {
    words: Vec<Word<'a>>,
    next: usize,
    end: usize,
}

/// Parses one clause.
pub(super) fn clause(text: &str) -> Result<Clause, CadenceError> {
    let lower = text.to_ascii_lowercase();
    let mut parser = Parser {
        words: words(&lower),
        next: 0,
        end: text.len(),
    };
    let rule = parser.rule()?;
    let (mut from, mut until) = (None, None);
    while let Some(word) = parser.take() {
        let (text, span) = (word.text, word.span.clone());
        let bound = match text {
            "from" => &mut from,
            "until" => &mut until,
            _ => return Err(unknown(text, span)),
        };
        if matches!(rule, Rule::Start | Rule::End | Rule::Set(_)) {
            return Err(error("only a clause that repeats can have a window", span));
        }
        if bound.is_some() {
            return Err(error(format!("`{text}` stands here twice"), span));
        }
        parser.expect(&["step", "steps"])?;
        *bound = Some(parser.number()?);
    }
    if let (Some(from), Some(until)) = (from, until)
        && from > until
    {
        return Err(error(
            format!("the window from step {from} until step {until} is empty"),
            0..text.len(),
        ));
    }
    Ok(Clause { rule, from, until })
}

impl<'a> Parser<'a> {
    fn take(&mut self) -> Option<&Word<'a>> {
        self.next += 1;
        self.words.get(self.next - 1)
    }

    fn word(&mut self) -> Result<(&'a str, Range<usize>), CadenceError> {
        let end = self.end;
        let word = self.take().map(|word| (word.text, word.span.clone()));
        word.ok_or_else(|| CadenceError {
            help: Some(format!("a clause is one of {FORMS}")),
            ..error("the clause ends too early", end..end)
        })
    }

    fn expect(&mut self, words: &[&str]) -> Result<(), CadenceError> {
        let (text, span) = self.word()?;
        if words.contains(&text) {
            Ok(())
        } else {
            Err(unknown(text, span))
        }
    }

    fn rule(&mut self) -> Result<Rule, CadenceError> {
        let (text, span) = self.word()?;
        match text {
            "start" => Ok(Rule::Start),
            "end" => Ok(Rule::End),
            "log2" => self.expect(&["steps", "step"]).map(|()| Rule::Log2),
            "step" | "steps" => self.set(),
            "every" => self.every(),
            "budget" => self.budget(),
            _ => Err(unknown(text, span)),
        }
    }

    fn set(&mut self) -> Result<Rule, CadenceError> {
        let mut steps = vec![self.number()?];
        while let Some(word) = self.words.get(self.next)
            && !matches!(word.text, "from" | "until")
        {
            steps.push(self.number()?);
        }
        steps.sort_unstable();
        steps.dedup();
        Ok(Rule::Set(steps))
    }

    /// What follows `every`: a unit, or a number and a unit.
    fn every(&mut self) -> Result<Rule, CadenceError> {
        let (text, span) = self.word()?;
        if !text.starts_with(|letter: char| letter.is_ascii_digit()) {
            return interval(1, span.clone(), text, span);
        }
        if self
            .words
            .get(self.next)
            .is_some_and(|word| word.text == "%")
        {
            self.next += 1;
            return percent(text, span);
        }
        let amount = number(text, span.clone())?;
        if amount == 0 {
            return Err(error("an interval of 0 is never over", span));
        }
        let (unit, unit_span) = self.word()?;
        interval(amount, span, unit, unit_span)
    }

    /// What follows `budget`: a share of the wall time in percent.
    fn budget(&mut self) -> Result<Rule, CadenceError> {
        let (text, span) = self.word()?;
        self.expect(&["%"])?;
        match percent(text, span)? {
            Rule::Percent {
                numerator,
                denominator,
            } => Ok(Rule::Budget {
                numerator,
                denominator,
            }),
            other => Ok(other),
        }
    }

    fn number(&mut self) -> Result<u64, CadenceError> {
        let (text, span) = self.word()?;
        number(text, span)
    }
}

/// The rule of `every <amount> <unit>`. Both come with their place in the clause.
fn interval(
    amount: u64,
    span: Range<usize>,
    unit: &str,
    unit_span: Range<usize>,
) -> Result<Rule, CadenceError> {
    let seconds = |unit: u64| {
        let seconds = amount.checked_mul(unit);
        let seconds = seconds.ok_or_else(|| error("the interval is too long", span.clone()));
        seconds.map(|seconds| Rule::Time(Duration::from_secs(seconds)))
    };
    match unit {
        "step" | "steps" => Ok(Rule::Steps(amount)),
        "epoch" | "epochs" => Ok(Rule::Epochs(amount)),
        "token" | "tokens" => Ok(Rule::Tokens(amount)),
        "sample" | "samples" => Ok(Rule::Samples(amount)),
        "s" | "sec" | "second" | "seconds" => seconds(1),
        "min" | "minute" | "minutes" => seconds(60),
        "h" | "hour" | "hours" => seconds(3600),
        _ => Err(unknown(unit, unit_span)),
    }
}

/// Parses a whole number, with `_` between digits and one of k, M, G and B behind them. A leading 0 is refused, because `1,000` would be
/// read as 1 and 0.
pub(super) fn number(text: &str, span: Range<usize>) -> Result<u64, CadenceError> {
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1_000),
        Some(b'm') => (&text[..text.len() - 1], 1_000_000),
        Some(b'g' | b'b') => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1),
    };
    let mut groups = digits.split('_');
    let sound =
        groups.all(|group| !group.is_empty() && group.bytes().all(|digit| digit.is_ascii_digit()));
    if !sound || digits.len() > 1 && digits.starts_with('0') {
        return Err(CadenceError {
            help: Some("write it in digits, such as 50, 10_000, 10k or 1M".to_owned()),
            ..error(format!("`{text}` is not a whole number"), span)
        });
    }
    let value: Option<u64> = digits.replace('_', "").parse().ok();
    let value = value.and_then(|value| value.checked_mul(factor));
    value.ok_or_else(|| error(format!("`{text}` is too large"), span))
}

/// Parses a percentage above 0 and up to 100, without its sign.
pub(super) fn percent(text: &str, span: Range<usize>) -> Result<Rule, CadenceError> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.trim_end_matches('0');
    let refuse = || {
        let message = format!("`{text}%` is not a percentage above 0 and up to 100");
        error(message, span.clone())
    };
    if fraction.len() > 9 {
        return Err(refuse());
    }
    let denominator = 10u64.pow(fraction.len() as u32);
    let digits = format!("{whole}{fraction}");
    let numerator: u64 = digits.parse().map_err(|_| refuse())?;
    if numerator == 0 || numerator > 100 * denominator {
        return Err(refuse());
    }
    Ok(Rule::Percent {
        numerator,
        denominator,
    })
}

fn unknown(text: &str, span: Range<usize>) -> CadenceError {
    let help = match did_you_mean(text, WORDS.iter().copied()) {
        Some(word) if word != text => format!("did you mean `{word}`?"),
        _ => format!("a clause is one of {FORMS}"),
    };
    CadenceError {
        message: format!("`{text}` is not understood here"),
        span,
        help: Some(help),
    }
}

fn error(message: impl Into<String>, span: Range<usize>) -> CadenceError {
    CadenceError {
        message: message.into(),
        span,
        help: None,
    }
}
