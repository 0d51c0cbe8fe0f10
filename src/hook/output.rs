//! What a hook has to say at one milestone.

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

/// Everything reported by one call of one hook. Tags are as TensorBoard shows them, `group/name_unit`.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// Numbers, one a tag.
    pub scalars: Vec<(String, f64)>,
    /// Distributions, one a tag.
    pub histograms: Vec<(String, Vec<f64>)>,
    /// Markdown texts, one a tag.
    pub texts: Vec<(String, String)>,
    /// Columns with one value a template, in the templates' order.
    pub per_template: Vec<(String, Vec<f64>)>,
    /// What the loop should do.
    pub requests: Vec<Request>,
}

impl Output {
    /// Refuses what no hook may report at `step`: a tag twice at one step or going backwards, a column that is not one value a template. `last` gives
    /// the step at which a tag was last reported.
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

/// Text that cannot break out of a Markdown table's cell.
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
