//! Under which condition a hook is called: a small language over what a run has recorded, parsed and checked before the run.
//!
//! ```text
//! train/main/loss < 2.0                     the last value that was recorded is below 2; also <=, >, >=
//! train/main/loss < 2.0 for 20 steps        so was each value of the last 20 steps
//! train/main/loss < 2.0 for 3 values        so were the last 3 values
//! eval/main/loss rises                      the last value is above the one before; also falls
//! eval/main/loss rises for 3 values         so it was 3 times in a row
//! not a/b < 1 and (c/d rises or c/d > 5)    `not` binds closest, then `and`, then `or`
//! `an odd tag` < 1                          a tag that has spaces or one of ( ) < > = !, or is a number or a word of the language
//! ```
//!
//! Each test is either true or false:
//!
//! - Each recorded value passes a test or does not. A comparison with NaN never passes. A first value neither rises nor falls.
//! - `for N values`: the last N recorded values passed. Without `for`, N is 1. Before N values were recorded it is false.
//! - `for N steps`: the run has done at least N optimiser steps; something was recorded in the last N of them; and all of that passed.
//!   What was recorded since then, in the middle of the next step, counts as well.
//! - A test of a tag that was not recorded yet is false. `not` makes true of it.

mod exact;
mod parse;
mod watched;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

pub use exact::Exact;
pub use watched::{Memory, Watched};

/// Why a condition is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConditionError {
    /// What is wrong.
    pub message: String,
    /// Where in the condition, in bytes.
    pub span: Range<usize>,
    /// What was probably meant, or what is allowed.
    pub help: Option<String>,
}

/// An expression over what a run has recorded. See [the module](self).
#[derive(Debug, Clone, PartialEq)]
pub struct Condition(Node);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Test(Test),
    Not(Box<Node>),
    /// Joined by `and`; at least two.
    All(Vec<Node>),
    /// Joined by `or`; at least two.
    Any(Vec<Node>),
}

/// What one tag must do, and for how long.
#[derive(Debug, Clone, PartialEq)]
struct Test {
    tag: String,
    check: Check,
    lasting: Lasting,
}

/// What a recorded value passes or does not.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Check {
    Below(f64),
    AtMost(f64),
    Above(f64),
    AtLeast(f64),
    Rises,
    Falls,
}

/// For how long values must have passed. Both counts are at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lasting {
    Values(u64),
    Steps(u64),
}

impl Condition {
    /// The tags that it looks at, in the order in which they are written. One may stand there more than once.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.0.tests().into_iter().map(|test| test.tag.as_str())
    }
}

impl FromStr for Condition {
    type Err = ConditionError;

    /// Parses a condition in the module's language.
    fn from_str(text: &str) -> Result<Self, ConditionError> {
        parse::condition(text).map(Self)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Node {
    /// All tests, from left to right.
    fn tests(&self) -> Vec<&Test> {
        match self {
            Self::Test(test) => vec![test],
            Self::Not(node) => node.tests(),
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().flat_map(Self::tests).collect(),
        }
    }

    /// Whether it is true, if `passes` says which tests are.
    fn holds(&self, passes: &dyn Fn(&Test) -> bool) -> bool {
        match self {
            Self::Test(test) => passes(test),
            Self::Not(node) => !node.holds(passes),
            Self::All(nodes) => nodes.iter().all(|node| node.holds(passes)),
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(passes)),
        }
    }

    /// Writes the parts, each in parentheses if `nested` says so, with `word` between them.
    fn joined(
        f: &mut fmt::Formatter,
        parts: &[Self],
        word: &str,
        nested: impl Fn(&Self) -> bool,
    ) -> fmt::Result {
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                write!(f, " {word} ")?;
            }
            if nested(part) {
                write!(f, "({part})")?;
            } else {
                write!(f, "{part}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let is_joined = |node: &Self| matches!(node, Self::All(_) | Self::Any(_));
        match self {
            Self::Test(test) => test.fmt(f),
            Self::Not(node) if is_joined(node) => write!(f, "not ({node})"),
            Self::Not(node) => write!(f, "not {node}"),
            Self::All(nodes) => Self::joined(f, nodes, "and", is_joined),
            Self::Any(nodes) => Self::joined(f, nodes, "or", |node| matches!(node, Self::Any(_))),
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if parse::is_plain(&self.tag) {
            write!(f, "{} ", self.tag)?;
        } else {
            write!(f, "`{}` ", self.tag)?;
        }
        // `{:?}` writes a number in the shortest way that reads back the same, with an exponent where that is shorter.
        match self.check {
            Check::Below(bound) => write!(f, "< {bound:?}")?,
            Check::AtMost(bound) => write!(f, "<= {bound:?}")?,
            Check::Above(bound) => write!(f, "> {bound:?}")?,
            Check::AtLeast(bound) => write!(f, ">= {bound:?}")?,
            Check::Rises => write!(f, "rises")?,
            Check::Falls => write!(f, "falls")?,
        }
        match self.lasting {
            Lasting::Values(1) => Ok(()),
            Lasting::Values(count) => write!(f, " for {count} values"),
            Lasting::Steps(1) => write!(f, " for 1 step"),
            Lasting::Steps(count) => write!(f, " for {count} steps"),
        }
    }
}

impl Check {
    /// Whether a recorded value passes. `before` is the value before it, if there is one.
    fn passes(self, before: Option<f64>, value: f64) -> bool {
        match self {
            Self::Below(bound) => value < bound,
            Self::AtMost(bound) => value <= bound,
            Self::Above(bound) => value > bound,
            Self::AtLeast(bound) => value >= bound,
            Self::Rises => before.is_some_and(|before| value > before),
            Self::Falls => before.is_some_and(|before| value < before),
        }
    }
}
