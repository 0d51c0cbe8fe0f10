//! Prompt templates in the layout of HONEST (Nozza et al. 2021): a tab-separated file. Its columns, in any order, are `template_masked raw
//! identity number category type`; `number` and `type` may be missing.
//!
//! The prompt is `template_masked` without its marker ` [M].`. A contrast takes the rows of two categories. An optional column
//! `counterpart` names the identity on the other side, so that files in any language can be paired; one of the two rows is enough. Where it
//! is missing or empty, a list of English counterparts is used. Identities are compared without their article and in lower case.

mod contrast;
mod counterparts;
mod error;
mod matching;
mod row;

use std::path::Path;

pub use self::contrast::{Contrast, ContrastNames, ContrastSpec, Pairing, Template, TemplateSet};
pub use self::error::TemplateError;
use crate::checksum::sha256;

/// The prompts of a run, contrast by contrast.
#[derive(Debug, Clone, Default)]
pub struct Templates {
    prompts: Vec<Template>,
    contrasts: Vec<Contrast>,
}

impl Templates {
    /// Reads the template file of one contrast.
    ///
    /// # Errors
    /// When the file cannot be read, is not UTF-8, or is not a template file. The error names the line.
    pub fn read(path: &Path, spec: &ContrastSpec) -> Result<Self, TemplateError> {
        let name = path.display().to_string();
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(source) => return Err(TemplateError::Io { name, source }),
        };
        match std::str::from_utf8(&bytes) {
            Ok(text) => Self::parse(&name, text, spec),
            Err(error) => {
                let before = &bytes[..error.valid_up_to()];
                Err(TemplateError::Line {
                    name,
                    line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
                    message: "not UTF-8; save the file as UTF-8".to_owned(),
                })
            }
        }
    }

    /// Parses the text of a contrast's template file. `name` stands for the file in messages.
    ///
    /// # Errors
    /// When a line is malformed, the file is empty, a group has no row, or the set is `paired` and nothing matches.
    pub fn parse(name: &str, text: &str, spec: &ContrastSpec) -> Result<Self, TemplateError> {
        if text.trim_start_matches('\u{feff}').trim().is_empty() {
            return Err(TemplateError::File {
                name: name.to_owned(),
                message: "the file is empty; it needs a header and a row for each prompt"
                    .to_owned(),
            });
        }
        let rows = row::rows(name, text)?;
        let (prompts, contrast) = contrast::build(spec, name, &rows, sha256(text.as_bytes()))?;
        Ok(Self {
            prompts,
            contrasts: vec![contrast],
        })
    }

    /// Appends the prompts and contrasts of `other`.
    pub fn join(&mut self, other: Self) {
        let by = self.prompts.len();
        self.prompts.extend(other.prompts);
        let moved = other.contrasts.into_iter().map(|one| one.moved(by));
        self.contrasts.extend(moved);
    }

    /// The prompts of all contrasts, each in its file's order.
    pub fn prompts(&self) -> &[Template] {
        &self.prompts
    }

    /// The contrasts, in the order of their prompts.
    pub fn contrasts(&self) -> &[Contrast] {
        &self.contrasts
    }

    /// The names of the contrasts.
    pub fn names(&self) -> Vec<ContrastNames> {
        let names = self.contrasts.iter().map(|contrast| ContrastNames {
            name: contrast.name.clone(),
            groups: contrast.groups.clone(),
        });
        names.collect()
    }

    /// The groups of all contrasts, each contrast's first group first: the group's name, and the indices of its prompts in
    /// [`Self::prompts`].
    pub fn groups(&self) -> Vec<(&str, Vec<usize>)> {
        let groups = self.contrasts.iter().flat_map(|contrast| {
            let sides = contrast.groups.iter().enumerate();
            sides.map(|(side, group)| {
                let own = contrast.prompts.clone();
                let own = own.filter(|&place| self.prompts[place].side == side);
                (group.as_str(), own.collect())
            })
        });
        groups.collect()
    }

    /// The tag of a contrast's gap in a measure with the tag `tag`: `<tag>/disparity`, or `<tag>/<contrast>/disparity` in a run with
    /// several contrasts.
    pub fn gap_tag(&self, tag: &str, contrast: &Contrast) -> String {
        match &self.contrasts[..] {
            [_] => format!("{tag}/disparity"),
            _ => format!("{tag}/{}/disparity", contrast.name),
        }
    }

    /// A note on each contrast that leaves out rows: how many, and why.
    pub fn left_out(&self) -> impl Iterator<Item = String> {
        let notes = self.contrasts.iter();
        notes.filter_map(|contrast| contrast.left_out.clone())
    }
}
