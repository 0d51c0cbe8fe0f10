//! Prompt templates in HONEST layout (Nozza et al. 2021): a tab-separated file with the header
//! `template_masked raw identity number category type`, in any order; `number` and `type` may be missing.
//!
//! The prompt is `template_masked` without its marker ` [M].`. An optional column `counterpart` names the identity on the other side
//! (for a female identity the male one, and the reverse; on either row is enough), so that files in any language can be paired. Where
//! it is missing or empty, a list of English counterparts is used. Identities are compared without article and in lower case.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::template_matches::{Matching, RowMatch, nothing_matches, plain};
use super::template_rows::{Row, rows};
use crate::checksum::sha256;

/// The two groups that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// `female`.
    Female,
    /// `male`.
    Male,
}

impl Group {
    /// As in the file's `category`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Female => "female",
            Self::Male => "male",
        }
    }
}

/// Which rows of a file are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TemplateSet {
    /// Rows whose identity has a true counterpart in the same raw template, and stands in one group only: the clean set.
    #[default]
    Paired,
    /// Every prompt once; the last row of a prompt decides its group, as a Python dict keyed on the text has it.
    Unique,
    /// Every row.
    All,
}

impl TemplateSet {
    /// As in an experiment's `set`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paired => "paired",
            Self::Unique => "unique",
            Self::All => "all",
        }
    }
}

/// One prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The text to continue.
    pub prompt: String,
    /// The sentence with `[I]` in place of the identity.
    pub raw: String,
    /// Who it is about.
    pub identity: String,
    /// Which group that is.
    pub group: Group,
    /// The file's `type`, or empty.
    pub kind: String,
    /// The file's line.
    pub line: usize,
}

/// Two prompts that differ only in the identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatchedPair {
    /// Index of the female prompt in [`Templates::prompts`].
    pub female: usize,
    /// Index of the male prompt.
    pub male: usize,
    /// Index of the identity pair in [`Templates::identities`].
    pub identity: usize,
    /// Index of the raw template in [`Templates::raws`].
    pub template: usize,
}

/// Why a template file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// It cannot be read.
    #[error("cannot read templates {name}: {source}")]
    Io {
        /// The file.
        name: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A line is not as it should be.
    #[error("{name}:{line}: {message}")]
    Line {
        /// The file.
        name: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what to do.
        message: String,
    },
    /// The file as a whole cannot be used.
    #[error("{name}: {message}")]
    File {
        /// The file.
        name: String,
        /// What is wrong and what to do.
        message: String,
    },
}

/// A set of prompts with its matched pairs.
#[derive(Debug, Clone)]
pub struct Templates {
    name: String,
    left_out: Option<String>,
    sha256: String,
    prompts: Vec<Template>,
    pairs: Vec<MatchedPair>,
    identities: Vec<(String, String)>,
    raws: Vec<String>,
}

impl Templates {
    /// Reads a template file.
    ///
    /// # Errors
    /// When it cannot be read, is not UTF-8, or is not a template file; with the line.
    pub fn read(path: &Path, set: TemplateSet) -> Result<Self, TemplateError> {
        let name = path.display().to_string();
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(source) => return Err(TemplateError::Io { name, source }),
        };
        match std::str::from_utf8(&bytes) {
            Ok(text) => Self::parse(&name, text, set),
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

    /// Parses the text of a template file; `name` stands for it in messages.
    ///
    /// # Errors
    /// When a line is malformed, the file is empty, a group has no row, or the set is `paired` and nothing matches.
    pub fn parse(name: &str, text: &str, set: TemplateSet) -> Result<Self, TemplateError> {
        let fail = |message: String| TemplateError::File {
            name: name.to_owned(),
            message,
        };
        if text.trim_start_matches('\u{feff}').trim().is_empty() {
            let message = "the file is empty; it needs a header and a row for each prompt";
            return Err(fail(message.to_owned()));
        }
        let rows = rows(name, text)?;
        let matching = Matching::of(&rows);
        let prompts = match set {
            TemplateSet::All => rows.iter().map(|row| row.template.clone()).collect(),
            TemplateSet::Unique => unique(&rows),
            TemplateSet::Paired => {
                let used = matching.rows().into_iter();
                used.map(|row| rows[row].template.clone()).collect()
            }
        };
        let left_out = match set {
            TemplateSet::All => Vec::new(),
            TemplateSet::Unique => vec![(
                rows.len() - prompts.len(),
                "with a text that a later row has too",
            )],
            TemplateSet::Paired => matching.left_out(&rows),
        };
        let mut found = Self {
            name: name.to_owned(),
            left_out: note(name, rows.len(), set, &left_out),
            sha256: sha256(text.as_bytes()),
            prompts,
            pairs: Vec::new(),
            identities: Vec::new(),
            raws: Vec::new(),
        };
        found.pair_up(&rows, &matching.matches);
        if set == TemplateSet::Paired && found.pairs.is_empty() {
            return Err(fail(nothing_matches(&rows)));
        }
        Ok(found)
    }

    fn pair_up(&mut self, rows: &[Row], matches: &[RowMatch]) {
        // A prompt is found by text and group: in `unique` a text may have lost its group to a later row.
        let mut place = HashMap::new();
        for (index, template) in self.prompts.iter().enumerate() {
            let key = (template.prompt.clone(), template.group);
            place.entry(key).or_insert(index);
        }
        let find = |row: usize| {
            let template = &rows[row].template;
            place
                .get(&(template.prompt.clone(), template.group))
                .copied()
        };
        let (mut identities, mut raws) = (BTreeMap::new(), BTreeMap::new());
        for found in matches {
            let (Some(female), Some(male)) = (find(found.female), find(found.male)) else {
                continue;
            };
            let names = (
                rows[found.female].template.identity.clone(),
                rows[found.male].template.identity.clone(),
            );
            let raw = rows[found.female].template.raw.clone();
            // "the girl" and "girl" are one identity: the statistics must not take them for two independent ones.
            let key = (plain(&names.0), plain(&names.1));
            let identity = *identities.entry(key).or_insert_with(|| {
                self.identities.push(names);
                self.identities.len() - 1
            });
            let template = *raws.entry(raw.clone()).or_insert_with(|| {
                self.raws.push(raw);
                self.raws.len() - 1
            });
            self.pairs.push(MatchedPair {
                female,
                male,
                identity,
                template,
            });
        }
    }

    /// What the set was read from, as it stands in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many rows the set leaves out, and why, in a sentence; None when it has them all.
    pub fn left_out(&self) -> Option<String> {
        self.left_out.clone()
    }

    /// SHA-256 of the text that the set was read from.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The prompts, in the file's order.
    pub fn prompts(&self) -> &[Template] {
        &self.prompts
    }

    /// The matched pairs among them, by female row.
    pub fn pairs(&self) -> &[MatchedPair] {
        &self.pairs
    }

    /// The identity pairs, female and male.
    pub fn identities(&self) -> &[(String, String)] {
        &self.identities
    }

    /// The raw templates of the matched pairs.
    pub fn raws(&self) -> &[String] {
        &self.raws
    }
}

fn unique(rows: &[Row]) -> Vec<Template> {
    let mut place: HashMap<&str, usize> = HashMap::new();
    let mut kept: Vec<Template> = Vec::new();
    for row in rows {
        let template = &row.template;
        match place.get(template.prompt.as_str()) {
            Some(&index) => kept[index] = template.clone(),
            None => {
                place.insert(&template.prompt, kept.len());
                kept.push(template.clone());
            }
        }
    }
    kept
}

/// What to say of the rows that a set leaves out; each part has its number and what the rows have in common.
fn note(name: &str, rows: usize, set: TemplateSet, parts: &[(usize, &str)]) -> Option<String> {
    let all: usize = parts.iter().map(|(count, _)| count).sum();
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    (all > 0).then(|| {
        format!(
            "{name}: {all} of {rows} rows are not in the set `{}`: {}",
            set.as_str(),
            parts.join(", ")
        )
    })
}
