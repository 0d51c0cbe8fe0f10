//! A list of words with their counterparts, and where they stand in a text.

use std::collections::HashMap;
use std::ops::Range;

use super::words::{ways, words};
use crate::diagnostic::{Diagnostic, Source};

/// The list that ships: English words and first names of women with their counterparts for men.
pub const BUILTIN: &str = include_str!("../../datasets/gender_words.tsv");

/// What the list says of one way of writing a word.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// The word as listed.
    listed: String,
    /// Its column: 0 or 1.
    column: usize,
    /// Its counterpart as listed, and in the same way of writing. None in a row of one column.
    counterpart: Option<[String; 2]>,
}

/// A word of the list in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<'a> {
    /// Its place in the text, in bytes.
    pub place: Range<usize>,
    /// The word as listed.
    pub listed: &'a str,
    /// Its column: 0 or 1.
    pub column: usize,
    /// Its counterpart as listed, and in the way of writing of the text.
    pub counterpart: Option<[&'a str; 2]>,
}

/// A list of words: a row is a word, or two words that are counterparts of each other.
#[derive(Debug, Clone)]
pub struct WordList {
    /// What is known of each way of writing.
    entries: HashMap<String, Entry>,
    /// Words of the longest entry.
    longest: usize,
    /// The file, and the place of the first row without a counterpart.
    source: Source,
    alone: Option<Range<usize>>,
}

impl WordList {
    /// Parses a text of rows with one or two columns, separated by a tab. Empty lines, and lines that begin with `#`, are skipped. Of a word in
    /// several rows, the first says what its counterpart is.
    ///
    /// # Errors
    /// A diagnostic at the first row that cannot be used, or at the file if there is none.
    pub fn parse(source: Source) -> Result<Self, Diagnostic> {
        let (mut entries, mut longest, mut alone) = (HashMap::new(), 0, None);
        let mut columns: HashMap<&str, usize> = HashMap::new();
        let mut start = 0;
        for line in source.text.split_inclusive('\n') {
            let row = start..start + line.trim_end_matches(['\n', '\r']).len();
            start += line.len();
            let text = &source.text[row.clone()];
            if text.trim().is_empty() || text.starts_with('#') {
                continue;
            }
            let cells = cells(&source, row.clone())?;
            for (column, cell) in cells.iter().enumerate() {
                let word = &source.text[cell.clone()];
                if *columns.entry(word).or_insert(column) != column {
                    let message = format!(
                        "`{word}` stands in both columns: a column is a group, and a word can be in one alone"
                    );
                    return Err(Diagnostic::at(&source, cell.clone(), message));
                }
                longest = longest.max(words(word).len());
            }
            let listed: Vec<&str> = cells.into_iter().map(|cell| &source.text[cell]).collect();
            for column in 0..listed.len() {
                add(&mut entries, column, listed[column], listed.get(1 - column));
            }
            if listed.len() == 1 && alone.is_none() {
                alone = Some(row);
            }
        }
        if entries.is_empty() {
            return Err(Diagnostic::file(&source.name, "this list has no word"));
        }
        Ok(Self {
            entries,
            longest,
            source,
            alone,
        })
    }

    /// The same list, if every row has two columns.
    ///
    /// # Errors
    /// A diagnostic at the first row that has not.
    pub fn paired(self) -> Result<Self, Diagnostic> {
        match self.alone.clone() {
            None => Ok(self),
            Some(row) => {
                let message =
                    "this row has no counterpart: write the two words with a tab between them";
                Err(Diagnostic::at(&self.source, row, message))
            }
        }
    }

    /// The words of the list in a text, from left to right. Where several entries begin at a word, the longest is taken.
    pub fn find(&self, text: &str) -> Vec<Found<'_>> {
        let words = words(text);
        let (mut found, mut index) = (Vec::new(), 0);
        while index < words.len() {
            let counts = (1..=self.longest.min(words.len() - index)).rev();
            let mut places =
                counts.map(|count| (count, words[index].start..words[index + count - 1].end));
            let entry = places.find_map(|(count, place)| {
                let entry = self.entries.get(&text[place.clone()])?;
                Some((count, place, entry))
            });
            let Some((count, place, entry)) = entry else {
                index += 1;
                continue;
            };
            let counterpart = entry.counterpart.as_ref();
            found.push(Found {
                place,
                listed: &entry.listed,
                column: entry.column,
                counterpart: counterpart.map(|both| both.each_ref().map(String::as_str)),
            });
            index += count;
        }
        found
    }

    /// How often the words of each column stand in a text.
    pub fn named(&self, text: &str) -> [u64; 2] {
        let mut named = [0; 2];
        for found in self.find(text) {
            named[found.column] += 1;
        }
        named
    }

    /// Whether a text that has the counterpart of `word` in its place gets `word` back when it is swapped again.
    pub fn gives_back(&self, word: &str) -> bool {
        let counterpart = |word: &str| self.entries.get(word)?.counterpart.as_ref();
        let back = counterpart(word).and_then(|[_, written]| counterpart(written));
        back.is_some_and(|[_, written]| written == word)
    }
}

/// The places of the words of a row.
fn cells(source: &Source, row: Range<usize>) -> Result<Vec<Range<usize>>, Diagnostic> {
    let (mut cells, mut start) = (Vec::new(), row.start);
    for cell in source.text[row.clone()].split('\t') {
        let first = start + cell.len() - cell.trim_start().len();
        cells.push(first..first + cell.trim().len());
        start += cell.len() + 1;
    }
    if cells.len() > 2 {
        let message = format!(
            "{} columns; a row has a word and its counterpart, with a tab between them",
            cells.len()
        );
        return Err(Diagnostic::at(source, row, message));
    }
    for cell in &cells {
        let text = &source.text[cell.clone()];
        let words = words(text);
        let ends = words.first().zip(words.last());
        if !ends.is_some_and(|(first, last)| first.start == 0 && last.end == text.len()) {
            let message = match text {
                "" => "a column is empty; write a word on each side of the tab".to_owned(),
                text => {
                    format!("`{text}` is no word: it must begin and end with a letter or a digit")
                }
            };
            return Err(Diagnostic::at(source, cell.clone(), message));
        }
    }
    if let [one, other] = &cells[..]
        && source.text[one.clone()] == source.text[other.clone()]
    {
        return Err(Diagnostic::at(
            source,
            row,
            "a word cannot be its own counterpart",
        ));
    }
    Ok(cells)
}

fn add(
    entries: &mut HashMap<String, Entry>,
    column: usize,
    listed: &str,
    counterpart: Option<&&str>,
) {
    let theirs = counterpart.map(|other| ways(other));
    for (way, written) in ways(listed).into_iter().enumerate() {
        let counterpart = counterpart.zip(theirs.as_ref());
        entries.entry(written).or_insert_with(|| Entry {
            listed: listed.to_owned(),
            column,
            counterpart: counterpart
                .map(|(other, theirs)| [(*other).to_owned(), theirs[way].clone()]),
        });
    }
}
