//! What a hook has to say at one milestone.

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
