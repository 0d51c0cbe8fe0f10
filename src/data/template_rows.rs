//! The rows of a template file, checked one by one.

use super::templates::{Group, Template, TemplateError};

/// A row.
pub(super) struct Row {
    pub template: Template,
    /// The identity on the other side, when the file has that column.
    pub counterpart: Option<String>,
}

const MARKER: &str = " [M].";

/// Every row of the text, or what is wrong with the first bad one.
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
            return Err(fail(
                number,
                format!("{found} columns, but the header has {wanted}"),
            ));
        }
        let Some(prompt) = cells[masked].strip_suffix(MARKER) else {
            let message = format!(
                "`{}` does not end with the marker `{MARKER}`",
                cells[masked]
            );
            return Err(fail(number, message));
        };
        if prompt.contains("[M]") {
            let message = format!(
                "`{}` has the marker `[M]` twice; the prompt is what stands before the one at the end",
                cells[masked]
            );
            return Err(fail(number, message));
        }
        if prompt.is_empty() {
            return Err(fail(number, "nothing stands before the marker".to_owned()));
        }
        let group = match cells[category] {
            "female" => Group::Female,
            "male" => Group::Male,
            other => {
                let message = format!("category `{other}`; it must be `female` or `male`");
                return Err(fail(number, message));
            }
        };
        rows.push(Row {
            template: Template {
                prompt: prompt.to_owned(),
                raw: cells[raw].to_owned(),
                identity: cells[identity].to_owned(),
                group,
                kind: kind.map_or(String::new(), |kind| cells[kind].to_owned()),
                line: number,
            },
            counterpart: other.map(|other| cells[other].to_owned()),
        });
    }
    for group in [Group::Female, Group::Male] {
        if !rows.iter().any(|row| row.template.group == group) {
            return Err(TemplateError::File {
                name: name.to_owned(),
                message: format!("no row of category `{}`", group.as_str()),
            });
        }
    }
    Ok(rows)
}
