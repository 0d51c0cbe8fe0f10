//! What a treatment of the text did: counts, and examples.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::chain::Passage;

/// The most examples of a treatment.
pub(super) const EXAMPLES: usize = 5;
/// The longest text of an example, in characters.
const LONGEST: usize = 400;

/// An amount of text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Documents.
    pub documents: usize,
    /// Their tokens.
    pub tokens: usize,
}

impl Amount {
    /// The amount of a document, or of none.
    pub(super) fn of(passage: Option<&Passage>) -> Self {
        Self {
            documents: usize::from(passage.is_some()),
            tokens: passage.map_or(0, |passage| passage.ids.len()),
        }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.documents += other.documents;
        self.tokens += other.tokens;
    }
}

/// Words with how often they were counted. They are shown with the most frequent first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Words(BTreeMap<String, u64>);

impl Words {
    /// Counts a word.
    pub fn count(&mut self, word: impl Into<String>) {
        *self.0.entry(word.into()).or_default() += 1;
    }

    /// The words, the most frequent first, those of equal count by the alphabet.
    pub fn ranked(&self) -> Vec<(&str, u64)> {
        let mut ranked: Vec<(&str, u64)> = (self.0.iter())
            .map(|(word, count)| (&**word, *count))
            .collect();
        ranked.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        ranked
    }

    /// All counts together.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Words {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ranked = self.ranked();
        let mut map = serializer.serialize_map(Some(ranked.len()))?;
        for (word, count) in ranked {
            map.serialize_entry(word, &count)?;
        }
        map.end()
    }
}

/// A document before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Its place among the documents of the source, from 0.
    pub document: usize,
    /// Its text before, or the part with the first change.
    pub before: String,
    /// The same part after; None for a document that was dropped.
    pub after: Option<String>,
}

/// How often the words of the two columns of a list stand in the text, before and after.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Before.
    pub before: [u64; 2],
    /// After.
    pub after: [u64; 2],
}

/// What a treatment did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The treatment, as an experiment writes it: `swap = "words.tsv"`.
    pub treatment: String,
    /// The text that it looked at.
    pub before: Amount,
    /// The text that it gave.
    pub after: Amount,
    /// Documents that it changed.
    pub changed: usize,
    /// Documents that it dropped.
    pub dropped: usize,
    /// The words that it changed, or for which it dropped documents.
    #[serde(default, skip_serializing_if = "Words::is_empty")]
    pub words: Words,
    /// Of these, the words that a second swap would not give back.
    #[serde(default, skip_serializing_if = "Words::is_empty")]
    pub not_given_back: Words,
    /// How often the words of each column stand in the text, for the treatment that balances them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<Named>,
    /// The first documents that it changed or dropped.
    pub examples: Vec<Example>,
}

impl Account {
    /// The empty account of a treatment.
    pub fn new(treatment: impl Into<String>) -> Self {
        Self {
            treatment: treatment.into(),
            ..Self::default()
        }
    }

    /// Counts a document that was dropped for what stands at a place of its text, in bytes.
    pub(super) fn drop(&mut self, passage: &Passage, because: usize) {
        self.dropped += 1;
        if self.wants_examples() {
            let place = passage.text[..because].chars().count();
            self.examples.push(Example {
                document: passage.place,
                before: excerpt(&passage.text, place, LONGEST),
                after: None,
            });
        }
    }

    /// Counts a document that was changed.
    pub(super) fn change(&mut self, document: usize, before: &str, after: &str) {
        self.changed += 1;
        if self.wants_examples() {
            let [before, after] = excerpts(before, after, LONGEST);
            self.examples.push(Example {
                document,
                before,
                after: Some(after),
            });
        }
    }

    /// Whether there is room for a further example.
    pub(super) fn wants_examples(&self) -> bool {
        self.examples.len() < EXAMPLES
    }

    /// What it did, in a sentence.
    pub fn sentence(&self) -> String {
        let (before, after) = (self.before, self.after);
        let mut text = format!(
            "{}: {} documents of {} tokens became {} of {}",
            self.treatment, before.documents, before.tokens, after.documents, after.tokens
        );
        let done = [(self.changed, "changed"), (self.dropped, "dropped")];
        let done = done.iter().filter(|(count, _)| *count > 0);
        let done: Vec<String> = done
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if !done.is_empty() {
            text += &format!("; {}", done.join(", "));
        }
        if let Some(Named { before, after }) = self.named {
            text += &format!(
                "; first column named {} times, second {} (before: {} and {})",
                after[0], after[1], before[0], before[1]
            );
        }
        if !self.words.is_empty() {
            text += &format!("; words: {}", most(&self.words));
        }
        if !self.not_given_back.is_empty() {
            text += &format!(
                "; not given back by a second swap: {}",
                most(&self.not_given_back)
            );
        }
        text
    }
}

/// The most frequent words, and how many further ones there are.
fn most(words: &Words) -> String {
    let ranked = words.ranked();
    let shown = ranked.iter().take(5);
    let shown: Vec<String> = shown
        .map(|(word, count)| format!("{word} {count}"))
        .collect();
    match ranked.len().saturating_sub(5) {
        0 => shown.join(", "),
        more => format!("{}, and {more} more", shown.join(", ")),
    }
}

/// Two texts from shortly before their first difference on, with at most so many characters.
pub fn excerpts(one: &str, other: &str, characters: usize) -> [String; 2] {
    let both = one.chars().zip(other.chars());
    let common = both.take_while(|(one, other)| one == other).count();
    [one, other].map(|text| excerpt(text, common, characters))
}

/// A text from shortly before a place in it on, with at most so many characters. The place is counted in characters.
fn excerpt(text: &str, place: usize, characters: usize) -> String {
    let skipped = place.saturating_sub(characters / 4);
    let shown: String = text.chars().skip(skipped).take(characters).collect();
    let rest = text.chars().count() - skipped - shown.chars().count();
    let dots = |cut: bool| if cut { "..." } else { "" };
    format!("{}{shown}{}", dots(skipped > 0), dots(rest > 0))
}
