//! `templates/step-<step>-<hook>.tsv`: the values of one hook at one milestone, with a row for each prompt and a column for each measure.

use std::collections::BTreeMap;
use std::fs;

use super::error::{Malformed, RecordError};
use super::folder::RunDirectory;
use super::layout::TEMPLATES;
use crate::checksum::sha256;
use crate::data::templates::Templates;

/// The columns before the measures.
const ABOUT: [&str; 3] = ["prompt", "group", "identity"];

/// A written file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnFile {
    /// Its name in the run's folder.
    pub name: String,
    /// Its SHA-256.
    pub sha256: String,
}

/// The name, in the run's folder, of the file that a hook writes at a step.
pub fn name(step: u64, hook: &str) -> String {
    format!("{TEMPLATES}/step-{step:08}-{hook}.tsv")
}

/// Whether a name is that of a file directly in the folder of values per prompt.
pub fn is_name(name: &str) -> bool {
    let inside = name
        .strip_prefix(TEMPLATES)
        .and_then(|rest| rest.strip_prefix('/'));
    inside.is_some_and(|rest| !rest.contains(['/', '\\']) && !rest.is_empty())
}

/// The step and the hook of a file, taken from its name.
fn step_and_hook(name: &str) -> Option<(u64, &str)> {
    let (step, hook) = name.strip_prefix("step-")?.split_once('-')?;
    Some((step.parse().ok()?, hook.strip_suffix(".tsv")?))
}

/// Writes the values of a milestone. Each column has a name and a value for each prompt, in the order of `templates`.
///
/// # Errors
/// When the file cannot be written.
pub fn write(
    directory: &RunDirectory,
    step: u64,
    hook: &str,
    templates: &Templates,
    columns: &[(String, Vec<f64>)],
) -> Result<ColumnFile, RecordError> {
    let mut text = ABOUT.join("\t");
    for (column, _) in columns {
        text.push('\t');
        text.push_str(column);
    }
    text.push('\n');
    for (index, template) in templates.prompts().iter().enumerate() {
        text.push_str(&template.prompt);
        text.push('\t');
        text.push_str(&template.group);
        text.push('\t');
        text.push_str(&template.identity);
        for (_, values) in columns {
            text.push_str(&format!("\t{}", values[index]));
        }
        text.push('\n');
    }
    let name = name(step, hook);
    directory.write_below(&name, text.as_bytes())?;
    Ok(ColumnFile {
        name,
        sha256: sha256(text.as_bytes()),
    })
}

/// Removes files of steps after the last step of their hook in `last`.
///
/// # Errors
/// When one cannot be removed.
pub fn cut(directory: &RunDirectory, last: &BTreeMap<String, u64>) -> Result<(), RecordError> {
    let entries = fs::read_dir(directory.path().join(TEMPLATES))
        .into_iter()
        .flatten();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some((step, hook)) = step_and_hook(&name)
            && last.get(hook).is_none_or(|last| step > *last)
        {
            directory.remove(&format!("{TEMPLATES}/{name}"))?;
        }
    }
    Ok(())
}

/// The content of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The prompts.
    pub prompts: Vec<String>,
    /// The group of each prompt.
    pub groups: Vec<String>,
    /// Who each prompt is about.
    pub identities: Vec<String>,
    /// The columns, each with its name and a value for each prompt.
    pub columns: Vec<(String, Vec<f64>)>,
}

impl Table {
    /// Parses the text of a file.
    ///
    /// # Errors
    /// When a line is malformed.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut reader = super::tsv::reader(text);
        let header = reader.headers();
        let header = header.map_err(|error| Malformed::new(1, &error))?;
        if header.len() <= ABOUT.len() {
            return Err(Malformed::new(1, &"its columns are missing"));
        }
        let names = header.iter().skip(ABOUT.len());
        let mut columns: Vec<(String, Vec<f64>)> =
            names.map(|name| (name.to_owned(), Vec::new())).collect();
        let [mut prompts, mut groups, mut identities] = [const { Vec::new() }; ABOUT.len()];
        for (index, row) in reader.records().enumerate() {
            let row = row.map_err(|error| Malformed::new(index + 2, &error))?;
            let about = [&mut prompts, &mut groups, &mut identities];
            for (cell, known) in row.iter().zip(about) {
                known.push(cell.to_owned());
            }
            for (cell, (_, values)) in row.iter().skip(ABOUT.len()).zip(&mut columns) {
                let value = cell.parse();
                values.push(value.map_err(|_| {
                    Malformed::new(index + 2, &format!("`{cell}` is not a number"))
                })?);
            }
        }
        Ok(Self {
            prompts,
            groups,
            identities,
            columns,
        })
    }
}
