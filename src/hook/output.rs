//! What a hook reports at one milestone.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// Something a hook asks the loop to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// End the run after this step, with a reason.
    Stop(String),
    /// Save a checkpoint.
    Save,
    /// Evaluate on the held-out split.
    Evaluate,
}

/// Everything that one call of one hook reported. Tags are written as TensorBoard shows them, `group/name_unit`.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// Numbers, each with its tag.
    pub scalars: Vec<(String, f64)>,
    /// Distributions, each a list of values with its tag.
    pub histograms: Vec<(String, Vec<f64>)>,
    /// Texts in Markdown, each with its tag.
    pub texts: Vec<(String, String)>,
    /// Columns by name, with one value for each prompt, in the order of the prompts.
    pub per_template: Vec<(String, Vec<f64>)>,
    /// Events of the hook's own, for other hooks.
    pub emitted: Vec<String>,
    /// What the loop should do.
    pub requests: Vec<Request>,
    /// Whether this is the hook's last call.
    pub detached: bool,
}

impl Output {
    /// Refuses a scalar whose tag was already reported at `step` or later, and a column that does not have one value for each of the
    /// `templates` prompts. `last` returns the step at which a tag was last reported.
    pub(crate) fn check(
        &self,
        step: u64,
        templates: usize,
        last: impl Fn(&str) -> Option<u64>,
    ) -> Result<(), String> {
        let mut seen = HashSet::new();
        for (tag, _) in &self.scalars {
            if !seen.insert(tag) || last(tag).is_some_and(|last| last >= step) {
                return Err(format!(
                    "tag `{tag}` has been reported for step {step} already; give the second hook another name"
                ));
            }
        }
        for (column, values) in &self.per_template {
            if values.len() != templates {
                return Err(format!(
                    "column `{column}` has {} values for {templates} templates",
                    values.len()
                ));
            }
        }
        Ok(())
    }
}

impl Output {
    /// Refuses an event of the hook's own that its kind does not declare.
    pub(crate) fn check_emitted(&self, declared: &[&str]) -> Result<(), String> {
        let mut emitted = self.emitted.iter();
        match emitted.find(|signal| !declared.contains(&signal.as_str())) {
            None => Ok(()),
            Some(signal) => Err(format!(
                "it emits `{signal}`, which its kind does not declare: Kind::emits"
            )),
        }
    }
}

/// Escapes a text so that it can stand in a cell of a Markdown table.
pub fn markdown_cell(text: &str) -> String {
    let mut cell = String::new();
    for letter in text.chars() {
        match letter {
            '\n' | '\r' => cell.push(' '),
            '|' | '*' | '_' | '`' | '<' | '>' | '\\' | '[' | ']' => {
                cell.push('\\');
                cell.push(letter);
            }
            _ => cell.push(letter),
        }
    }
    cell
}
