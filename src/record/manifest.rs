//! `manifest.json`: what a run was made of. It lists every file that was read, with its checksum, the versions of the programs, and every
//! difference that was forced. Its own checksum shows whether it was changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::RecordError;
use super::folder::RunDirectory;
use super::layout::MANIFEST;
use crate::checksum::sha256;

/// The number of this format, whose manifests have checksums. Earlier manifests have no number.
const FORMAT: u64 = 2;

/// A file that was read, or a built-in one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Its path, or the name of what is built in.
    pub from: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// For a file of articles, how many of them were used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub articles: Option<usize>,
    /// For a file of articles, the SHA-256 of the articles that were used, as they were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub articles_sha256: Option<String>,
}

/// Inputs by their purpose: `data/train`, `templates`, `models/main/config.json`, `hooks/honest/lexicon`.
pub type Inputs = BTreeMap<String, Input>;

impl Input {
    /// An input with these bytes.
    pub fn of_bytes(from: impl Into<String>, bytes: &[u8]) -> Self {
        Self::with_checksum(from, sha256(bytes))
    }

    /// An input whose checksum is known.
    pub fn with_checksum(from: impl Into<String>, sha256: String) -> Self {
        Self {
            from: from.into(),
            sha256,
            articles: None,
            articles_sha256: None,
        }
    }

    /// Whether both have the same content, wherever it comes from.
    fn is(&self, other: &Self) -> bool {
        self.sha256 == other.sha256
            && self.articles == other.articles
            && self.articles_sha256 == other.articles_sha256
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let short = self.sha256.get(..12).unwrap_or(&self.sha256);
        write!(f, "{} (sha256 {short}", self.from)?;
        match self.articles {
            Some(articles) => write!(f, ", {articles} articles)"),
            None => write!(f, ")"),
        }
    }
}

/// An input that has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its purpose.
    pub name: String,
    /// The earlier input.
    pub then: Option<Input>,
    /// The present input.
    pub now: Option<Input>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let said = |input: &Option<Input>| match input {
            Some(input) => input.to_string(),
            None => "nothing".to_owned(),
        };
        let (then, now) = (said(&self.then), said(&self.now));
        write!(f, "{}: then {then}, now {now}", self.name)
    }
}

/// A command that was carried out with `--force` although a check refused it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forced {
    /// The time in UTC, such as 2026-11-23T19-52-07.
    pub when: String,
    /// The command: `resume`, `replay`, `begin`.
    pub command: String,
    /// The step that the run had reached, if known.
    pub step: Option<u64>,
    /// The reasons of the check.
    pub because: Vec<String>,
}

/// Why a manifest cannot be used, or what it does not allow.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The manifest is missing.
    #[error("{0} is missing: it cannot be told whether the run's inputs are what they were")]
    Missing(PathBuf),
    /// The manifest is not what was written.
    #[error("{path}:{line}: {message}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Input {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Inputs would be mixed that do not belong together.
    #[error("{what}:\n  {}\n{remedy}", because.join("\n  "))]
    Refused {
        /// What is wrong, in one line.
        what: String,
        /// Each difference.
        because: Vec<String>,
        /// What to do.
        remedy: String,
    },
}

/// The facts about a run: its inputs, versions, and what was forced.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Manifest(Value);

impl From<Value> for Manifest {
    /// A manifest of these facts, unchanged.
    fn from(facts: Value) -> Self {
        Self(facts)
    }
}

impl Manifest {
    /// A manifest of these facts, with the format's number and its own checksum added.
    pub fn sealed(mut facts: Value) -> Self {
        if let Value::Object(map) = &mut facts {
            map.shift_remove("sha256");
            map.insert("format".to_owned(), FORMAT.into());
            let sum = sha256(text(&facts).as_bytes());
            facts["sha256"] = sum.into();
        }
        Self(facts)
    }

    /// Reads the manifest in a run's folder.
    ///
    /// # Errors
    /// When it is missing, cannot be read, or is not what was written.
    pub fn read(folder: &Path) -> Result<Self, ManifestError> {
        let path = folder.join(MANIFEST);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ManifestError::Missing(path));
            }
            Err(source) => return Err(ManifestError::Input { path, source }),
        };
        Self::parse(&path, &bytes)
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ManifestError> {
        let damaged = |line: usize, message: String| ManifestError::Damaged {
            path: path.to_owned(),
            line,
            message,
        };
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|error| damaged(error.line(), format!("not what a run writes ({error})")))?;
        let manifest = Self(value);
        if !manifest.0.is_object() {
            return Err(damaged(1, "not what a run writes".to_owned()));
        }
        if manifest.0.get("format").is_none() && manifest.0.get("sha256").is_none() {
            // Written by an older version.
            return Ok(manifest);
        }
        if Self::sealed(manifest.0.clone()).text().as_bytes() == bytes {
            Ok(manifest)
        } else {
            Err(damaged(
                1,
                "its own checksum says that it was changed after it was written".to_owned(),
            ))
        }
    }

    /// Writes the manifest into a run's folder, unless it has the same content already.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, directory: &RunDirectory) -> Result<(), RecordError> {
        directory.update(MANIFEST, self.text().as_bytes())
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        text(&self.0)
    }

    /// All facts.
    pub fn facts(&self) -> &Value {
        &self.0
    }

    /// All facts, to be changed.
    pub fn into_facts(self) -> Value {
        self.0
    }

    /// Whether it lists inputs with checksums. Manifests of older versions do not.
    pub fn has_checksums(&self) -> bool {
        self.0.get("format").is_some()
    }

    /// The inputs, by their purpose.
    pub fn inputs(&self) -> Inputs {
        self.list("inputs")
    }

    /// The commands that were forced.
    pub fn forced(&self) -> Vec<Forced> {
        self.list("forced")
    }

    /// The SHA-256 of each `experiment.toml` that the run has had, the newest last.
    pub fn experiments(&self) -> Vec<String> {
        self.list("experiments")
    }

    /// Whether the run has had an experiment with this text.
    pub fn has_had(&self, experiment: &[u8]) -> bool {
        self.experiments().contains(&sha256(experiment))
    }

    /// The SHA-256 of `templates/pairs.tsv`.
    pub fn pairs(&self) -> Option<&str> {
        self.0.get("pairs_sha256")?.as_str()
    }

    /// The versions that resumed the run, where they differ from those that began it.
    pub fn continued(&self) -> Vec<String> {
        self.list("continued")
    }

    fn list<T: serde::de::DeserializeOwned + Default>(&self, key: &str) -> T {
        let value = self.0.get(key).cloned().unwrap_or_default();
        serde_json::from_value(value).unwrap_or_default()
    }

    /// Every input that differs between this manifest and `now`.
    pub fn differences(&self, now: &Self) -> Vec<Difference> {
        let (then, now) = (self.inputs(), now.inputs());
        let names: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
        let changed = names.into_iter().filter_map(|name| {
            let (then, now) = (then.get(name), now.get(name));
            if let (Some(then), Some(now)) = (then, now)
                && then.is(now)
            {
                return None;
            }
            Some(Difference {
                name: name.clone(),
                then: then.cloned(),
                now: now.cloned(),
            })
        });
        changed.collect()
    }

    /// Describes the versions, operating system and architecture that have changed. They are mentioned but never refused.
    pub fn versions(&self, now: &Self) -> Option<String> {
        let keys = ["milepost", "burn", "os", "architecture"];
        let said = keys.into_iter().filter_map(|key| {
            let value = |of: &Self| of.0.get(key).and_then(Value::as_str).map(str::to_owned);
            let (then, now) = (value(self)?, value(now)?);
            (then != now).then(|| format!("{key} {now} (begun with {then})"))
        });
        let said = said.collect::<Vec<_>>().join(", ");
        (!said.is_empty()).then_some(said)
    }

    /// The settings that a run was extended by, with the step: `from step 40 on: train.max_steps=44`.
    pub fn extended(&self) -> Vec<String> {
        self.list("extended")
    }

    /// The manifest of a run that is resumed: the inputs of `now`, the versions of `then`, and the history of both, with the settings that
    /// the run is `extended` by and what was `forced`. It is `then` unchanged when nothing differs.
    pub fn going_on(
        now: &Self,
        then: &Self,
        extended: Option<String>,
        forced: Option<Forced>,
    ) -> Self {
        let versions = then.versions(now);
        let (mut experiments, newest) = (then.experiments(), now.experiments());
        experiments.retain(|one| !newest.contains(one));
        experiments.extend(newest);
        let unchanged = then.differences(now).is_empty() && experiments == then.experiments();
        let mut continued = then.continued();
        let news = versions.filter(|versions| continued.last() != Some(versions));
        if unchanged && news.is_none() && forced.is_none() && extended.is_none() {
            return then.clone();
        }
        continued.extend(news);
        let mut facts = now.0.clone();
        for key in ["milepost", "burn", "os", "architecture"] {
            if let Some(value) = then.0.get(key) {
                facts[key] = value.clone();
            }
        }
        facts["experiments"] = json!(experiments);
        facts["continued"] = json!(continued);
        facts["extended"] = json!(
            then.extended()
                .into_iter()
                .chain(extended)
                .collect::<Vec<_>>()
        );
        facts["forced"] = json!(then.forced().into_iter().chain(forced).collect::<Vec<_>>());
        Self::sealed(facts)
    }
}

fn text(facts: &Value) -> String {
    format!("{facts:#}\n")
}
