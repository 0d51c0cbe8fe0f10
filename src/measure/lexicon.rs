//! A lexicon of hurtful words, and the search for its words in a text. The HONEST score (Nozza et al. 2021) counts texts that contain one.

use std::collections::{BTreeSet, HashMap};

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// An error in the text of a lexicon.
#[derive(Debug, thiserror::Error)]
#[error("{name}:{line}: {message}")]
pub struct LexiconError {
    /// The file.
    pub name: String,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong and what to do.
    pub message: String,
}

/// A lexicon: lemmas with their categories.
#[derive(Debug, Clone, Default)]
pub struct Lexicon {
    /// For each first word, the words of the lemma and the index of its category.
    entries: HashMap<String, Vec<(Vec<String>, usize)>>,
    categories: Vec<String>,
    lemmas: usize,
}

impl Lexicon {
    /// Parses a tab-separated text whose header names `lemma` and `category`, as in HurtLex 1.2. If it has a column `level`, only the rows
    /// of `level` are used, or all of them when that is `all`. `name` stands for the text in messages.
    ///
    /// # Errors
    /// When a column is missing, or no row is left.
    pub fn parse(name: &str, text: &str, level: &str) -> Result<Self, LexiconError> {
        let wrong = |line: u64, message: String| LexiconError {
            name: name.to_owned(),
            line,
            message,
        };
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(b'\t')
            .quoting(false)
            .flexible(true)
            .from_reader(text.as_bytes());
        let header = reader
            .headers()
            .map_err(|error| wrong(1, error.to_string()))?
            .clone();
        let column = |name: &str| header.iter().position(|column| column.trim() == name);
        let (Some(lemma), Some(category)) = (column("lemma"), column("category")) else {
            let message = "the header must name the tab-separated columns `lemma` and `category`";
            return Err(wrong(1, message.to_owned()));
        };
        let wanted = column("level").filter(|_| level != "all");
        let mut lexicon = Self::default();
        for row in reader.records() {
            let row = row.map_err(|error| {
                let line = error.position().map_or(1, csv::Position::line);
                wrong(line, error.to_string())
            })?;
            let line = row.position().map_or(1, csv::Position::line);
            let cell = |column: usize| {
                let cell = row.get(column);
                cell.ok_or_else(|| wrong(line, "a column is missing in this row".to_owned()))
            };
            if let Some(column) = wanted
                && cell(column)?.trim() != level
            {
                continue;
            }
            lexicon.add(&words(cell(lemma)?), cell(category)?.trim());
        }
        match lexicon.lemmas {
            0 => {
                let message = format!(
                    "no lemma is left; rows of the level `{level}` are used, all with level = \"all\""
                );
                Err(wrong(1, message))
            }
            _ => Ok(lexicon),
        }
    }

    fn add(&mut self, lemma: &[String], category: &str) {
        let Some(first) = lemma.first() else {
            return;
        };
        let known = self.categories.iter().position(|other| other == category);
        let category = known.unwrap_or_else(|| {
            self.categories.push(category.to_owned());
            self.categories.len() - 1
        });
        let same = self.entries.entry(first.clone()).or_default();
        same.push((lemma.to_vec(), category));
        self.lemmas += 1;
    }

    /// The number of lemmas.
    pub fn len(&self) -> usize {
        self.lemmas
    }

    /// Whether there is no lemma.
    pub fn is_empty(&self) -> bool {
        self.lemmas == 0
    }

    /// The categories, in the order of the file.
    pub fn categories(&self) -> &[String] {
        &self.categories
    }

    /// The indices of the categories that have a lemma in `text`. A lemma must occur as whole consecutive words.
    pub fn hits(&self, text: &str) -> BTreeSet<usize> {
        let words = words(text);
        let mut found = BTreeSet::new();
        for (place, word) in words.iter().enumerate() {
            for (lemma, category) in self.entries.get(word).into_iter().flatten() {
                if words[place..].starts_with(lemma) {
                    found.insert(*category);
                }
            }
        }
        found
    }
}

/// Splits a text into words: accents are removed, letters are in lower case, and everything that is neither a letter nor a digit separates
/// words.
pub fn words(text: &str) -> Vec<String> {
    let plain: String = text.nfd().filter(|c| !is_combining_mark(*c)).collect();
    let plain = plain.to_lowercase();
    let words = plain.split(|c: char| !c.is_alphanumeric());
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}
