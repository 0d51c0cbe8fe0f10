//! A named table of a section of an experiment, such as `[hooks.perplexity]`, and what is checked of all of them alike.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::{Written, value_of};
use crate::diagnostic::{Diagnostic, known_names};

/// The longest allowed name in bytes. File names are made of it, with more text around it.
const LONGEST_NAME: usize = 100;

/// A named table.
pub(super) struct Entry<'a> {
    pub written: &'a Written,
    /// The section: `hooks`.
    pub section: &'static str,
    pub name: &'a Spanned<Cow<'a, str>>,
    pub span: Range<usize>,
    pub table: &'a DeTable<'a>,
}

/// Calls `read` for each table of a section, in the order of the file.
///
/// # Errors
/// The first of `read`, and a diagnostic where the section is no table of tables or a name cannot be used.
pub(super) fn each(
    written: &Written,
    section: &'static str,
    mut read: impl FnMut(Entry) -> Result<(), Diagnostic>,
) -> Result<(), Diagnostic> {
    let one = section.strip_suffix('s').unwrap_or(section);
    let parsed = DeTable::parse(&written.source.text)
        .map_err(|error| Diagnostic::from_toml(&written.source, &error))?;
    let Some(all) = value_of(parsed.get_ref(), &[section]) else {
        return Ok(());
    };
    let Some(tables) = all.get_ref().as_table() else {
        let message =
            format!("`{section}` is a table with one table for each {one}: [{section}.NAME]");
        return Err(Diagnostic::at(&written.source, all.span(), message));
    };
    for (name, value) in tables.iter() {
        let Some(table) = value.get_ref().as_table() else {
            let message = format!("{one} `{}` must be a table", name.get_ref());
            return Err(Diagnostic::at(&written.source, value.span(), message));
        };
        let entry = Entry {
            written,
            section,
            name,
            span: value.span(),
            table,
        };
        entry.check_name()?;
        read(entry)?;
    }
    Ok(())
}

impl Entry<'_> {
    /// A part of the table as a type.
    ///
    /// # Errors
    /// A diagnostic for a value of the wrong type.
    pub fn typed<T: serde::de::DeserializeOwned>(
        &self,
        table: DeTable<'_>,
    ) -> Result<T, Diagnostic> {
        let value = Spanned::new(self.span.clone(), DeValue::Table(table));
        T::deserialize(ValueDeserializer::from(value))
            .map_err(|error| Diagnostic::from_toml(&self.written.source, &error))
    }

    /// Refuses keys that are neither the kind's own nor those that all have. It is done here so that both can be suggested.
    ///
    /// # Errors
    /// A diagnostic at the first such key.
    pub fn check_keys(&self, kind: &str, own: &[&str], common: &[&str]) -> Result<(), Diagnostic> {
        let known = [own, common].concat();
        for key in self.table.keys() {
            let word = key.get_ref().as_ref();
            if !known.contains(&word) {
                let message = format!("{kind} has no option `{word}`");
                return Err(Diagnostic::at(&self.written.source, key.span(), message)
                    .with_help(known_names(word, &known)));
            }
        }
        Ok(())
    }

    /// Refuses a name that cannot be part of file names and tags.
    fn check_name(&self) -> Result<(), Diagnostic> {
        let name = self.name.get_ref().as_ref();
        let letter = |c: char| c.is_alphanumeric() || "-_.".contains(c);
        if name.len() <= LONGEST_NAME
            && name.starts_with(char::is_alphanumeric)
            && name.chars().all(letter)
        {
            return Ok(());
        }
        let article = if self.section == "hooks" {
            "a hook's"
        } else {
            "an intervention's"
        };
        let message = format!(
            "not {article} name: file names contain it, so it must begin with a letter or digit, go on with letters, digits and `-`, `_`, `.`, and have at most {LONGEST_NAME} bytes"
        );
        Err(Diagnostic::at(
            &self.written.source,
            self.name.span(),
            message,
        ))
    }
}
