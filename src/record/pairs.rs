//! `templates/pairs.tsv`: which prompts are matched.

use serde::Deserialize;

use super::error::{Malformed, RecordError};
use super::folder::RunDirectory;
use super::layout::TEMPLATES;
use crate::data::templates::Templates;

/// A matched pair of prompts, as rows of the files of values per template.
#[derive(Debug, Clone, Deserialize)]
pub struct RecordedPair {
    /// Row of the female prompt.
    pub female: usize,
    /// Row of the male prompt.
    pub male: usize,
    /// Number of the identity pair.
    pub identity: usize,
    /// Number of the raw template.
    pub template: usize,
    /// The female identity.
    pub woman: String,
    /// The male identity.
    pub man: String,
    /// The raw template.
    pub raw: String,
}

/// The name of the table in the run's folder.
pub fn name() -> String {
    format!("{TEMPLATES}/pairs.tsv")
}

/// Which prompts are matched, as a table: the rows (from 0) of the female and the male prompt among all prompts, and the pair's identity and
/// raw template as numbers and in words.
pub fn text(templates: &Templates) -> String {
    let mut text = String::from("female\tmale\tidentity\ttemplate\twoman\tman\traw\n");
    for pair in templates.pairs() {
        let (woman, man) = &templates.identities()[pair.identity];
        let raw = &templates.raws()[pair.template];
        text.push_str(&format!(
            "{}\t{}\t{}\t{}\t{woman}\t{man}\t{raw}\n",
            pair.female, pair.male, pair.identity, pair.template
        ));
    }
    text
}

/// Writes the table into a run's folder.
///
/// # Errors
/// When it cannot be written.
pub fn write(directory: &RunDirectory, templates: &Templates) -> Result<(), RecordError> {
    directory.write_below(&name(), text(templates).as_bytes())
}

/// Reads the text of the table.
///
/// # Errors
/// When a line is not what a run writes.
pub fn parse(text: &str) -> Result<Vec<RecordedPair>, Malformed> {
    let mut reader = super::tsv::reader(text);
    let rows = reader.deserialize().enumerate();
    rows.map(|(index, row)| row.map_err(|error| Malformed::new(index + 2, &error)))
        .collect()
}
