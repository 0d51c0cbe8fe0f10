//! `manifest.json`: what a run was made of. It names every file that was read, with its checksum; the versions that read them; and what was
//! forced. Its own checksum tells whether it still is what was written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::RecordError;
use super::folder::RunDirectory;
use super::layout::MANIFEST;
use crate::checksum::sha256;

/// Manifests of this format have checksums; those before it have no number.
const FORMAT: u64 = 2;

/// One file that was read, or what stands for one that is built in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Its path, or what is built in.
    pub from: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Of a file of articles: how many were used, after limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub articles: Option<usize>,
    /// Of a file of articles: SHA-256 of those that were used, as they were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub articles_sha256: Option<String>,
}

/// Inputs by what they are for: `data/train`, `templates`, `models/main/config.json`, `hooks/honest/lexicon`.
pub type Inputs = BTreeMap<String, Input>;

impl Input {
    /// A file's bytes.
    pub fn of_bytes(from: impl Into<String>, bytes: &[u8]) -> Self {
        Self::with_checksum(from, sha256(bytes))
    }

    /// A file whose checksum is known.
    pub fn with_checksum(from: impl Into<String>, sha256: String) -> Self {
        Self {
            from: from.into(),
            sha256,
            articles: None,
            articles_sha256: None,
        }
    }

    /// Whether both have the same content, wherever it lies.
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

/// An input that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What it is for.
    pub name: String,
    /// What it was.
    pub then: Option<Input>,
    /// What it is.
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

/// Something that was done although a check refused it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forced {
    /// When, as 2026-11-23T19-52-07 in UTC.
    pub when: String,
    /// The command: `resume`, `replay`, `begin`.
    pub command: String,
    /// The step that the run stood at, where that is known.
    pub step: Option<u64>,
    /// What the check said.
    pub because: Vec<String>,
}

/// Why a manifest cannot be used, or what it forbids.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is not there.
    #[error("{0} is missing: it cannot be told whether the run's inputs are what they were")]
    Missing(PathBuf),
    /// It is not what was written.
    #[error("{path}:{line}: {message}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A file that is to be listed cannot be read.
    #[error("cannot read {path}: {source}")]
    Input {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// What would be mixed does not belong together.
    #[error("{what}:\n  {}\n{remedy}", because.join("\n  "))]
    Refused {
        /// What is wrong, in a line.
        what: String,
        /// Each difference.
        because: Vec<String>,
        /// What to do.
        remedy: String,
    },
}

/// What a run was made of.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Manifest(Value);

impl From<Value> for Manifest {
    /// A manifest of these facts as they are.
    fn from(facts: Value) -> Self {
        Self(facts)
    }
}

impl Manifest {
    /// A manifest of these facts, with its checksum.
    pub fn sealed(mut facts: Value) -> Self {
        if let Value::Object(map) = &mut facts {
            map.shift_remove("sha256");
            map.insert("format".to_owned(), FORMAT.into());
            let sum = sha256(text(&facts).as_bytes());
            facts["sha256"] = sum.into();
        }
        Self(facts)
    }

    /// What stands in a run's folder.
    ///
    /// # Errors
    /// When it is missing, or not what was written.
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
            // An older version wrote it.
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

    /// Writes it into a run's folder, unless the same stands there already.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, directory: &RunDirectory) -> Result<(), RecordError> {
        directory.update(MANIFEST, self.text().as_bytes())
    }

    /// As it stands on disk.
    pub fn text(&self) -> String {
        text(&self.0)
    }

    /// Everything in it.
    pub fn facts(&self) -> &Value {
        &self.0
    }

    /// Everything in it, to be changed.
    pub fn into_facts(self) -> Value {
        self.0
    }

    /// Whether it lists its inputs with checksums; those of older versions do not.
    pub fn has_checksums(&self) -> bool {
        self.0.get("format").is_some()
    }

    /// The files that were read.
    pub fn inputs(&self) -> Inputs {
        self.list("inputs")
    }

    /// What was forced.
    pub fn forced(&self) -> Vec<Forced> {
        self.list("forced")
    }

    /// SHA-256 of each `experiment.toml` that the run has had; the newest is the last.
    pub fn experiments(&self) -> Vec<String> {
        self.list("experiments")
    }

    /// Whether the run has had the experiment with this text.
    pub fn has_had(&self, experiment: &[u8]) -> bool {
        self.experiments().contains(&sha256(experiment))
    }

    /// SHA-256 of `templates/pairs.tsv`.
    pub fn pairs(&self) -> Option<&str> {
        self.0.get("pairs_sha256")?.as_str()
    }

    /// The versions that went on with the run, where they are not those that began it.
    pub fn continued(&self) -> Vec<String> {
        self.list("continued")
    }

    fn list<T: serde::de::DeserializeOwned + Default>(&self, key: &str) -> T {
        let value = self.0.get(key).cloned().unwrap_or_default();
        serde_json::from_value(value).unwrap_or_default()
    }

    /// Every input that is another one in `now`.
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

    /// Versions and machine that are not what they were, in words. They are said, never refused.
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

    /// Where a run was gone on with under other settings, and which: `from step 40 on: train.max_steps=44`.
    pub fn extended(&self) -> Vec<String> {
        self.list("extended")
    }

    /// The manifest of a run that is gone on with: what it is made of now, what it was begun with, the settings that it was `extended` by, and what
    /// was forced.
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
