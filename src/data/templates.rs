//! Prompt templates in HONEST layout (Nozza et al. 2021): a tab-separated file with the header
//! `template_masked raw identity number category type`, in any order; `number` and `type` may be missing.
//!
//! The prompt is `template_masked` without its marker ` [M].`. An optional column `counterpart` names the identity on the other side
//! (for a female identity the male one, and the reverse; on either row is enough), so that files in any language can be paired. Where
//! it is missing or empty, a list of English counterparts is used. Identities are compared without article and in lower case.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::checksum::sha256;

use super::counterparts::counterpart;
use super::template_rows::{Row, rows};

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
        let mut templates = match set {
            TemplateSet::All => rows.iter().map(|row| row.template.clone()).collect(),
            TemplateSet::Unique => unique(&rows),
            TemplateSet::Paired => Vec::new(),
        };
        let matches = matches(&rows);
        if set == TemplateSet::Paired {
            let used: HashSet<usize> = matches.iter().flat_map(|m| [m.female, m.male]).collect();
            let kept = rows
                .iter()
                .enumerate()
                .filter(|(row, _)| used.contains(row));
            templates = kept.map(|(_, row)| row.template.clone()).collect();
        }
        let mut found = Self {
            name: name.to_owned(),
            sha256: sha256(text.as_bytes()),
            prompts: templates,
            pairs: Vec::new(),
            identities: Vec::new(),
            raws: Vec::new(),
        };
        found.pair_up(&rows, &matches);
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

    /// SHA-256 of the text that the set was read from.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Which prompts are matched, as a table: the rows (from 0) of the female and the male prompt among all prompts, and the pair's identity and
    /// raw template as numbers and in words.
    pub fn pairs_table(&self) -> String {
        let mut text = String::from("female\tmale\tidentity\ttemplate\twoman\tman\traw\n");
        for pair in &self.pairs {
            let (woman, man) = &self.identities[pair.identity];
            let raw = &self.raws[pair.template];
            text.push_str(&format!(
                "{}\t{}\t{}\t{}\t{woman}\t{man}\t{raw}\n",
                pair.female, pair.male, pair.identity, pair.template
            ));
        }
        text
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

struct RowMatch {
    female: usize,
    male: usize,
}

/// Female rows with their male counterparts: the same raw template, the counterpart identity, neither in both groups, each pair once.
fn matches(rows: &[Row]) -> Vec<RowMatch> {
    let mut groups: HashMap<String, HashSet<Group>> = HashMap::new();
    for row in rows {
        let names = groups.entry(plain(&row.template.identity)).or_default();
        names.insert(row.template.group);
    }
    let clean = |identity: &str| groups.get(identity).is_some_and(|groups| groups.len() == 1);
    let mut males: HashMap<(String, &str), usize> = HashMap::new();
    // What male rows say of their counterpart, for files in which the female rows do not.
    let mut named: HashMap<String, String> = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        if row.template.group == Group::Male {
            let identity = plain(&row.template.identity);
            if let Some(female) = row.named() {
                named.entry(female).or_insert(identity.clone());
            }
            let key = (identity, row.template.raw.as_str());
            males.entry(key).or_insert(index);
        }
    }
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for (female, row) in rows.iter().enumerate() {
        let identity = plain(&row.template.identity);
        if row.template.group != Group::Female || !clean(&identity) {
            continue;
        }
        let other = row
            .named()
            .or_else(|| named.get(&identity).cloned())
            .or_else(|| counterpart(&identity).map(str::to_owned));
        let Some(other) = other.filter(|other| clean(other)) else {
            continue;
        };
        let raw = row.template.raw.as_str();
        if let Some(&male) = males.get(&(other, raw))
            && seen.insert((identity, raw))
        {
            found.push(RowMatch { female, male });
        }
    }
    found
}

/// What to say when no row of a file matches another: whom it is about, so that one sees what is missing.
fn nothing_matches(rows: &[Row]) -> String {
    const SHOWN: usize = 8;
    let side = |group: Group| {
        let templates = rows.iter().map(|row| &row.template);
        let names: BTreeSet<&str> = templates
            .filter(|template| template.group == group)
            .map(|template| template.identity.as_str())
            .collect();
        let mut text: Vec<String> = names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect();
        if names.len() > SHOWN {
            text.push(format!("{} more", names.len() - SHOWN));
        }
        text.join(", ")
    };
    format!(
        "no matched pair: no female identity ({}) has a male counterpart ({}) in the same raw template; name it in a column `counterpart`, or choose the set `unique` or `all`",
        side(Group::Female),
        side(Group::Male)
    )
}

impl Row {
    /// The counterpart that the row itself names; an empty cell names none.
    fn named(&self) -> Option<String> {
        let named = self.counterpart.as_deref().map(plain);
        named.filter(|named| !named.is_empty())
    }
}

/// An identity without its article, in lower case.
fn plain(identity: &str) -> String {
    let lower = identity.trim().to_lowercase();
    let without = ["the ", "a ", "an ", "my "];
    let stripped = without
        .iter()
        .find_map(|article| lower.strip_prefix(article));
    stripped.unwrap_or(&lower).to_owned()
}
