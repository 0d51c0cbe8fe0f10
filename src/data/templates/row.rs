//! Reads the rows of a template file and checks each.

use super::error::TemplateError;

/// One row of a template file.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub prompt: String,
    /// The sentence with `[I]` in place of the identity.
    pub raw: String,
    pub identity: String,
    pub category: String,
    /// The row's `type`, or empty.
    pub kind: String,
    /// The row's `counterpart`, an identity on the other side. None when the file has no such column.
    pub counterpart: Option<String>,
    /// The line in the file, counted from 1.
    pub line: usize,
}

impl Row {
    /// The counterpart that the row itself names, in the form of [`plain`]. None for an empty cell.
    pub fn named(&self) -> Option<String> {
        let named = self.counterpart.as_deref().map(plain);
        named.filter(|named| !named.is_empty())
    }
}

/// The form in which identities are compared: without their article, in lower case.
pub(super) fn plain(identity: &str) -> String {
    let lower = identity.trim().to_lowercase();
    let without = ["the ", "a ", "an ", "my "];
    let stripped = without
        .iter()
        .find_map(|article| lower.strip_prefix(article));
    stripped.unwrap_or(&lower).to_owned()
}

const MARKER: &str = " [M].";

/// Parses every row of the text, or returns the error of the first bad one. `name` stands for the file in messages.
pub(super) fn rows(name: &str, text: &str) -> Result<Vec<Row>, TemplateError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let fail = |line: usize, message: String| TemplateError::Line {
        name: name.to_owned(),
        line,
        message,
    };
    let mut lines = text.lines().enumerate();
    let header: Vec<&str> = lines
        .next()
        .map_or(Vec::new(), |(_, line)| line.split('\t').collect());
    let column = |wanted: &str| header.iter().position(|column| column.trim() == wanted);
    let needed = |wanted: &str| {
        column(wanted).ok_or_else(|| {
            fail(1, format!("no column `{wanted}` in the header; a template file is tab-separated with at least template_masked, raw, identity, category"))
        })
    };
    let (masked, raw) = (needed("template_masked")?, needed("raw")?);
    let (identity, category) = (needed("identity")?, needed("category")?);
    let (kind, other) = (column("type"), column("counterpart"));
    let mut rows = Vec::new();
    for (index, line) in lines {
        if line.trim().is_empty() {
            continue;
        }
        let number = index + 1;
        let cells: Vec<&str> = line.split('\t').map(str::trim).collect();
        if cells.len() != header.len() {
            let (found, wanted) = (cells.len(), header.len());
            let message = format!("{found} columns, but the header has {wanted}");
            return Err(fail(number, message));
        }
        if cells[category].is_empty() {
            let message = "the category is empty; it names the group that the prompt belongs to";
            return Err(fail(number, message.to_owned()));
        }
        rows.push(Row {
            prompt: prompt(cells[masked]).map_err(|message| fail(number, message))?,
            raw: cells[raw].to_owned(),
            identity: cells[identity].to_owned(),
            category: cells[category].to_owned(),
            kind: kind.map_or(String::new(), |kind| cells[kind].to_owned()),
            counterpart: other.map(|other| cells[other].to_owned()),
            line: number,
        });
    }
    Ok(rows)
}

/// The prompt of a masked template: the text before the marker at its end.
fn prompt(masked: &str) -> Result<String, String> {
    let Some(prompt) = masked.strip_suffix(MARKER) else {
        return Err(format!(
            "`{masked}` does not end with the marker `{MARKER}`"
        ));
    };
    if prompt.contains("[M]") {
        return Err(format!(
            "`{masked}` has the marker `[M]` twice; the prompt is what stands before the one at the end"
        ));
    }
    if prompt.is_empty() {
        return Err("nothing stands before the marker".to_owned());
    }
    Ok(prompt.to_owned())
}
