//! A place in a run at which it can be stopped: the end of a step.
//!
//! ```text
//! step 120 | epoch 2 | 50% | 1M tokens | 1000 samples | end
//! ```

use std::fmt;
use std::str::FromStr;

use super::parse::{Word, number, percent, words};
use super::{Cadence, CadenceError, Clause, Rule};
use crate::clock::{Extent, Step};
use crate::suggestion::did_you_mean;

/// What can be counted, also in the plural.
const UNITS: [&str; 4] = ["step", "epoch", "token", "sample"];
const FORMS: &str = "`step 120`, `epoch 2`, `50%`, `1M tokens`, `1000 samples` or `end`";

/// A place in a run, as written: the end of the step in which a count is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    text: String,
    /// It is due there for the first time.
    first: Cadence,
}

impl Place {
    /// The step at whose end the place is, from 1. None in a run that never gets there.
    pub fn step(&self, extent: &Extent) -> Option<Step> {
        self.first.next_firing(Step(1), extent)
    }
}

impl FromStr for Place {
    type Err = CadenceError;

    fn from_str(text: &str) -> Result<Self, CadenceError> {
        let clause = Clause {
            rule: rule(text)?,
            from: None,
            until: None,
        };
        Ok(Self {
            text: text.trim().to_owned(),
            first: Cadence {
                clauses: vec![clause],
            },
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The rule that is due at the place for the first time.
fn rule(text: &str) -> Result<Rule, CadenceError> {
    let lower = text.to_ascii_lowercase();
    let words = words(&lower);
    let (unit, amount) = match &words[..] {
        [word] if word.text == "end" => return Ok(Rule::End),
        [share, sign] if sign.text == "%" => return percent(share.text, share.span.clone()),
        [unit, amount] if singular(unit).is_some() => (unit, amount),
        [amount, unit] if is_number(amount) => (unit, amount),
        _ => return Err(not_a_place(text, &words)),
    };
    let count = number(amount.text, amount.span.clone());
    match singular(unit) {
        Some("step") => Ok(Rule::Set(vec![count?])),
        Some(_) if count == Ok(0) => Err(CadenceError {
            message: format!("`{}` is where a run begins", text.trim()),
            span: 0..text.len(),
            help: Some("a place is the end of a step".to_owned()),
        }),
        Some("epoch") => Ok(Rule::Epochs(count?)),
        Some("token") => Ok(Rule::Tokens(count?)),
        Some(_) => Ok(Rule::Samples(count?)),
        None => Err(not_a_place(text, &words)),
    }
}

fn is_number(word: &Word) -> bool {
    word.text
        .starts_with(|letter: char| letter.is_ascii_digit())
}

/// The unit that a word names.
fn singular(word: &Word) -> Option<&'static str> {
    let named = word.text.strip_suffix('s').unwrap_or(word.text);
    UNITS.into_iter().find(|unit| *unit == named)
}

/// The error of a text that names no place, at the first word that is neither a number nor a unit.
fn not_a_place(text: &str, words: &[Word]) -> CadenceError {
    let is_unknown =
        |word: &&Word| !is_number(word) && word.text != "%" && singular(word).is_none();
    let forms = || format!("a place is {FORMS}");
    match words.iter().find(is_unknown) {
        Some(word) => CadenceError {
            message: format!("`{}` is not understood here", word.text),
            span: word.span.clone(),
            help: Some(match did_you_mean(word.text, UNITS) {
                Some(unit) => format!("did you mean `{unit}`?"),
                None => forms(),
            }),
        },
        None => CadenceError {
            message: format!("`{}` is no place in a run", text.trim()),
            span: 0..text.len(),
            help: Some(forms()),
        },
    }
}
