//! A text with gaps for the fields of a row: `title: {title}\n{body}`.

use super::value::Value;

/// A text with gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Letters(String),
    /// The path of a field.
    Field(String),
}

/// What is done with a row that lacks a field, or has `null` in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// The text is refused.
    #[default]
    Refuse,
    /// The row is left out.
    Skip,
    /// Nothing stands in the gap. A document without topic has none.
    Empty,
}

impl Form {
    /// Reads a form. A field stands in braces, and a brace that is meant as such twice: `{{`. A text without braces is the name of a field.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("names no field".to_owned());
        }
        if !text.contains(['{', '}']) {
            return Ok(Self::of(text));
        }
        let (mut parts, mut letters, mut rest) = (Vec::new(), String::new(), text);
        while let Some(place) = rest.find(['{', '}']) {
            letters += &rest[..place];
            let (brace, behind) = rest[place..].split_at(1);
            if let Some(behind) = behind.strip_prefix(brace) {
                letters += brace;
                rest = behind;
                continue;
            }
            if brace == "}" {
                return Err("`}` closes nothing; write `}}` for the letter".to_owned());
            }
            let Some((field, behind)) = behind.split_once('}') else {
                return Err("`{` is never closed; write `{{` for the letter".to_owned());
            };
            if field.trim().is_empty() || field.contains('{') {
                return Err(format!("`{{{field}}}` names no field"));
            }
            if !letters.is_empty() {
                parts.push(Part::Letters(std::mem::take(&mut letters)));
            }
            parts.push(Part::Field(field.to_owned()));
            rest = behind;
        }
        letters += rest;
        if !letters.is_empty() {
            parts.push(Part::Letters(letters));
        }
        if !parts.iter().any(|part| matches!(part, Part::Field(_))) {
            return Err("names no field; put one in braces, such as {text}".to_owned());
        }
        Ok(Self(parts))
    }

    /// The text of a field alone.
    pub fn of(field: &str) -> Self {
        Self(vec![Part::Field(field.to_owned())])
    }

    /// The paths of its fields.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Field(path) => Some(&**path),
            Part::Letters(_) => None,
        })
    }

    /// The text with the fields of a row in its gaps. None where the row is to be left out.
    ///
    /// # Errors
    /// What is wrong with a field.
    pub fn fill(&self, row: &Value, missing: Missing) -> Result<Option<String>, String> {
        let mut text = String::new();
        for part in &self.0 {
            let path = match part {
                Part::Letters(letters) => {
                    text += letters;
                    continue;
                }
                Part::Field(path) => path,
            };
            match (row.at(path), missing) {
                (Some(Value::Text(value)), _) => text += value,
                (None | Some(Value::Null), Missing::Empty) => {}
                (None | Some(Value::Null), Missing::Skip) => return Ok(None),
                (None, Missing::Refuse) => return Err(absent(path, row)),
                (Some(Value::Null), Missing::Refuse) => {
                    return Err(format!("the field `{path}` is null; {LEAVE_OUT}"));
                }
                (Some(value), _) => {
                    return Err(format!(
                        "the field `{path}` is {}; a field must be a text, a whole number, true or false, and one inside it is named with a dot, as in `{path}.0` or `{path}.name`",
                        value.kind()
                    ));
                }
            }
        }
        Ok(Some(text))
    }
}

/// What to do where a field is missing.
const LEAVE_OUT: &str =
    "`data.missing = \"skip\"` leaves such rows out, and \"empty\" puts nothing in its place";

fn absent(path: &str, row: &Value) -> String {
    let known: Vec<&str> = match row {
        Value::Table(table) => table.keys().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    let known = match crate::suggestion::did_you_mean(path, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("it has {}", known.join(", ")),
    };
    format!("there is no field `{path}` ({known}); {LEAVE_OUT}")
}
