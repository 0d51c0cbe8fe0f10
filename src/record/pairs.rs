//! `templates/pairs.tsv`: the prompts that are compared.

use serde::Deserialize;

use super::error::{Malformed, RecordError};
use super::folder::RunDirectory;
use super::layout::TEMPLATES;
use crate::data::templates::Templates;

/// A unit of a contrast: a matched pair of prompts, or a single prompt without pairing. Prompts are rows of the files of values per prompt,
/// counted from 0.
#[derive(Debug, Clone, Deserialize)]
pub struct RecordedPair {
    /// The contrast's name.
    pub contrast: String,
    /// The row of the first group's prompt; None for a single prompt of the second group.
    pub first: Option<usize>,
    /// The row of the second group's prompt; None for a single prompt of the first group.
    pub second: Option<usize>,
    /// The index of the identity pair, or of the single prompt's identity.
    pub identity: usize,
    /// The index of the raw template.
    pub template: usize,
    /// The first group's identity; empty when there is no prompt of that group.
    pub first_identity: String,
    /// The second group's identity; empty when there is no prompt of that group.
    pub second_identity: String,
    /// The raw template.
    pub raw: String,
}

/// The name of the table in the run's folder.
pub fn name() -> String {
    format!("{TEMPLATES}/pairs.tsv")
}

/// The table of all units: the contrast, the rows (from 0) of the first and the second group's prompt among all prompts, and identity and
/// raw template as numbers and in words. The side that a single prompt lacks is empty.
pub fn text(templates: &Templates) -> String {
    let mut text = String::from(
        "contrast\tfirst\tsecond\tidentity\ttemplate\tfirst_identity\tsecond_identity\traw\n",
    );
    for contrast in templates.contrasts() {
        for unit in &contrast.units {
            let [first, second] = unit.sides.map(|place| {
                let place = place.map(|place| place.to_string());
                place.unwrap_or_default()
            });
            let [one, other] = &contrast.identities[unit.identity];
            text.push_str(&format!(
                "{}\t{first}\t{second}\t{}\t{}\t{one}\t{other}\t{}\n",
                contrast.name, unit.identity, unit.template, contrast.raws[unit.template]
            ));
        }
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

/// Parses the text of the table.
///
/// # Errors
/// When a line is malformed.
pub fn parse(text: &str) -> Result<Vec<RecordedPair>, Malformed> {
    let mut reader = super::tsv::reader(text);
    let rows = reader.deserialize().enumerate();
    rows.map(|(index, row)| row.map_err(|error| Malformed::new(index + 2, &error)))
        .collect()
}
