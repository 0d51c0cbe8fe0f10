//! Reads the values per prompt of a run, and which of its prompts are compared.

use std::cmp::Reverse;
use std::path::Path;

use super::reading::Reader;
use super::{RecordedContrast, RecordedError, RecordedFile, broken, bytes_of, malformed, text_of};
use crate::event::{Axis, Event};
use crate::experiment::contrast_names;
use crate::record::columns::Table;
use crate::record::pairs;
use crate::statistics::observation::Unit;

impl RecordedFile {
    /// Reads the file again.
    ///
    /// # Errors
    /// When it cannot be read, or a line is malformed.
    pub fn table(&self) -> Result<Table, RecordedError> {
        table(&self.path, &bytes_of(&self.path)?)
    }
}

/// Whether the steps of an event of this name count batches, and not optimiser steps.
pub(super) fn counts_batches(event: &str) -> bool {
    Event::named(event).is_some_and(|event| event.axis() != Axis::Steps)
}

/// The content of a file of values per prompt.
fn table(path: &Path, bytes: &[u8]) -> Result<Table, RecordedError> {
    Table::parse(&String::from_utf8_lossy(bytes)).map_err(|error| malformed(path, error))
}

impl Reader<'_> {
    pub(super) fn pairs(&mut self) -> Result<(), RecordedError> {
        let path = self.run.path.join(pairs::name());
        let text = text_of(&path)?;
        let names = contrast_names(&self.run.experiment).into_iter();
        let mut contrasts: Vec<RecordedContrast> = names
            .map(|names| RecordedContrast {
                names,
                units: Vec::new(),
                words: Vec::new(),
            })
            .collect();
        let rows = pairs::parse(&text).map_err(|error| malformed(&path, error))?;
        for (index, row) in rows.into_iter().enumerate() {
            let mut known = contrasts.iter_mut();
            let Some(own) = known.find(|one| one.names.name == row.contrast) else {
                let message = format!("the experiment has no contrast `{}`", row.contrast);
                return Err(broken(&path, index + 2, &message));
            };
            own.units.push(Unit {
                sides: [row.first, row.second],
                identity: row.identity,
                template: row.template,
            });
            own.words
                .push([row.first_identity, row.second_identity, row.raw]);
        }
        self.run.contrasts = contrasts;
        match self.run.manifest.pairs().map(str::to_owned) {
            Some(expected) => self.compare(&path, text.as_bytes(), &expected),
            None => Ok(()),
        }
    }

    /// Reads the files of values per prompt that belong to the run's lines.
    pub(super) fn columns(&mut self) -> Result<(), RecordedError> {
        let mut files = std::mem::take(&mut self.files);
        // The newest comes first: `pairs.tsv` refers to its prompts. The steps of batches are no steps of the run.
        files.sort_by(|a, b| {
            let order = |file: &RecordedFile| (counts_batches(&file.event), Reverse(file.step));
            (order(a), &a.path).cmp(&(order(b), &b.path))
        });
        files.dedup_by(|a, b| a.path == b.path);
        for file in files {
            if let Err(error) = self.column_file(file) {
                self.damaged(error)?;
            }
        }
        let order = |file: &RecordedFile| (file.step, file.path.clone());
        self.run.files.sort_by_key(order);
        let rows = self.run.prompts.len();
        let stray = |unit: &Unit| unit.sides.iter().flatten().any(|&place| place >= rows);
        let mut units = self.run.contrasts.iter().flat_map(|one| &one.units);
        match units.position(stray) {
            Some(index) if !self.run.columns.is_empty() => {
                let message = format!("a row beyond the {rows} prompts");
                let path = self.run.path.join(pairs::name());
                Err(broken(&path, index + 2, &message))
            }
            _ => Ok(()),
        }
    }

    fn column_file(&mut self, file: RecordedFile) -> Result<(), RecordedError> {
        let path = &file.path;
        let bytes = bytes_of(path)?;
        let prefix = self.prefix(&file.hook);
        // Parse first, since errors of parsing have a line.
        let table = table(path, &bytes)?;
        if let Some(expected) = &file.sha256 {
            self.compare(path, &bytes, expected)?;
        }
        if let Some(error) = self.other_prompts(path, &table.prompts) {
            return self.other_than_newest(error);
        }
        let run = &mut self.run;
        run.prompts = table.prompts;
        if counts_batches(&file.event) {
            run.files.push(file);
            return Ok(());
        }
        for (name, values) in table.columns {
            let name = format!("{prefix}{name}");
            run.reporters.insert(name.clone(), file.hook.clone());
            let steps = run.columns.entry(name).or_default();
            steps.insert(file.step, values);
        }
        run.files.push(file);
        Ok(())
    }

    /// The error of a file that was measured on other prompts than the newest one. None when the prompts are the same.
    fn other_prompts(&self, path: &Path, prompts: &[String]) -> Option<RecordedError> {
        let known = &self.run.prompts;
        if known.is_empty() || known == prompts {
            return None;
        }
        let longest = known.len().max(prompts.len());
        let row = (0..longest).find(|&row| known.get(row) != prompts.get(row))?;
        let said = |prompt: Option<&String>| match prompt {
            Some(prompt) => format!("`{prompt}`"),
            None => "none".to_owned(),
        };
        let message = format!(
            "prompt {} is {}, where newer files have {}",
            row + 1,
            said(prompts.get(row)),
            said(known.get(row))
        );
        Some(broken(path, row + 2, &message))
    }

    /// Handles an older file with other prompts. A run that was resumed with other prompts by `--force` has such files: they are left out
    /// and named. Otherwise it is an error.
    fn other_than_newest(&mut self, error: RecordedError) -> Result<(), RecordedError> {
        if self.run.manifest.forced().is_empty() {
            return Err(error);
        }
        self.run.damage.push(error.to_string());
        Ok(())
    }

    /// The prefix of a hook's columns: its name, unless it has the name of its kind.
    fn prefix(&self, hook: &str) -> String {
        if let Some(known) = self.run.hooks.iter().find(|one| one.name == hook) {
            return known.prefix.clone();
        }
        let its_kind = self.run.experiment.get("hooks").and_then(|hooks| {
            let kind = hooks.get(hook)?.get("kind")?;
            kind.as_str()
        });
        match its_kind {
            Some(kind) if kind != hook => format!("{hook}/"),
            _ => String::new(),
        }
    }
}
