//! A run as it lies on disk, read back: every scalar, the values of every prompt, what it was made of, how it ended.

mod columns;
mod moments;
mod reading;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub use self::moments::{At, Missing, Moment};
use crate::experiment::COMMON;
use crate::hook::{Cells, Registry, Row, Shows};
use crate::measure::disparity::PairObservation;
pub use crate::record::RecordedPair;
use crate::record::{Ended, HookFailure, Malformed, Manifest, ManifestError, Unusable};

/// Why a run cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordedError {
    /// A file is missing or cannot be read.
    #[error("{path}: {source}; is that the directory of a run, such as runs/ag_news/NAME?")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file is not what a run writes.
    #[error("{path}:{line}: {message}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// A file is not what the run has written.
    #[error("{path}: {message}; --force reads the run all the same")]
    Changed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The manifest is missing or not what the run has written.
    #[error("{0}; --force reads the run all the same")]
    Manifest(#[from] ManifestError),
    /// The outcome cannot be read.
    #[error("{0}; --force reads the run all the same")]
    Ended(#[source] Unusable),
    /// Runs that do not belong together.
    #[error(transparent)]
    Mixed(ManifestError),
    /// The run has not measured what is asked of it.
    #[error("{path}: {message}")]
    Missing {
        /// The run.
        path: PathBuf,
        /// What is missing, and what to do.
        message: String,
    },
}

/// A hook of a run.
#[derive(Debug, Clone)]
pub struct RecordedHook {
    /// Its name in the experiment.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// What it shows beside its curves, under the tags that it has in this run.
    pub shows: Shows,
}

/// A run that is on disk.
#[derive(Debug, Clone, Default)]
pub struct RecordedRun {
    /// Its directory.
    pub path: PathBuf,
    /// `manifest.json`.
    pub manifest: Manifest,
    /// `experiment.toml`, resolved.
    pub experiment: toml::Table,
    /// Its hooks whose kinds are known, in the order of the kinds' registry.
    pub hooks: Vec<RecordedHook>,
    /// `outcome.json`: how it ended; None while it is under way, or where it was killed.
    pub ended: Option<Ended>,
    /// Every tag with its steps and values, in the order of steps.
    pub scalars: BTreeMap<String, Vec<(u64, f64)>>,
    /// The tags whose steps are micro-batches.
    pub by_micro_batch: BTreeSet<String>,
    /// Who reported each tag and each column: `train`, `eval`, or a hook's name.
    pub reporters: BTreeMap<String, String>,
    /// Calls of hooks that gave nothing, by hook and step.
    pub failures: BTreeSet<HookFailure>,
    /// The matched pairs.
    pub pairs: Vec<RecordedPair>,
    /// Columns of values per template: name, then step, then a value for each prompt.
    pub columns: BTreeMap<String, BTreeMap<u64, Vec<f64>>>,
    /// The prompts.
    pub prompts: Vec<String>,
    /// What is not as the run wrote it, where it was read all the same.
    pub damage: Vec<String>,
    /// The files that carry no checksum, because an older version wrote them.
    pub unchecked: Vec<&'static str>,
}

impl RecordedRun {
    /// Reads a run's directory, and refuses it where a file is not what the run has written. `registry` has the kinds of its hooks: what these
    /// declare is shown.
    ///
    /// # Errors
    /// When it is not one, or a file in it is damaged or was changed; with the file, and the line where it can be told.
    pub fn read(path: &Path, registry: &Registry) -> Result<Self, RecordedError> {
        reading::read(path, registry, false)
    }

    /// The same, but what is damaged is left out and named in `damage`, as far as anything can be read.
    ///
    /// # Errors
    /// When too little is left to be read.
    pub fn read_damaged(path: &Path, registry: &Registry) -> Result<Self, RecordedError> {
        reading::read(path, registry, true)
    }

    /// Its name: the experiment's, then its own.
    pub fn name(&self) -> String {
        let part = |path: Option<&Path>| {
            let name = path.and_then(Path::file_name).unwrap_or_default();
            name.to_string_lossy().into_owned()
        };
        let absolute = std::path::absolute(&self.path).unwrap_or(self.path.clone());
        format!("{}/{}", part(absolute.parent()), part(Some(&absolute)))
    }

    /// The run's last step; None while it is not over.
    pub fn end(&self) -> Option<u64> {
        self.ended.as_ref().map(|ended| ended.steps)
    }

    /// Every setting as a dotted key and its value; of the hooks' only those that say how the gap is measured.
    pub fn settings(&self) -> Vec<(String, String)> {
        let mut settings = self.experiment.clone();
        if let Some(toml::Value::Table(hooks)) = settings.get_mut("hooks") {
            hooks.retain(|_, hook| is_kind(hook, GAP));
            for (_, hook) in hooks.iter_mut() {
                if let toml::Value::Table(hook) = hook {
                    hook.retain(|key, _| !COMMON.contains(&key));
                }
            }
        }
        dotted(&settings)
    }

    /// Every setting as a dotted key and its value.
    pub fn all_settings(&self) -> Vec<(String, String)> {
        dotted(&self.experiment)
    }

    /// The hook of a kind that goes by the kind's own name, where the experiment has it.
    pub fn has_hook(&self, kind: &str) -> bool {
        let hook = self
            .experiment
            .get("hooks")
            .and_then(|hooks| hooks.get(kind));
        hook.is_some_and(|hook| is_kind(hook, kind))
    }

    /// The rows of the tables of start and end, hook by hook: those that were measured, or would have been had their hook not been silent.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        let spoke = |hook: &RecordedHook| self.reporters.values().any(|name| *name == hook.name);
        self.hooks.iter().flat_map(move |hook| {
            let silent = !spoke(hook);
            let rows = hook.shows.rows.iter();
            rows.filter(move |row| match row.cells {
                Cells::Change => silent || self.scalars.contains_key(&row.tag),
                Cells::Interval => self.scalars.contains_key(&format!("{}_low", row.tag)),
                Cells::Ends | Cells::End => self.scalars.contains_key(&row.tag),
            })
        })
    }

    /// The name under which a hook shows a tag in tables.
    pub fn row_name(&self, tag: &str) -> Option<&str> {
        let mut rows = self.hooks.iter().flat_map(|hook| &hook.shows.rows);
        let row = rows.find(|row| row.tag == tag && row.cells != Cells::Interval)?;
        Some(row.name.trim_start())
    }

    /// Whether both were measured on the same matched pairs.
    pub fn has_pairs_of(&self, other: &Self) -> bool {
        let words = |run: &Self| -> Vec<[String; 3]> {
            let pairs = run.pairs.iter();
            pairs
                .map(|pair| [pair.woman.clone(), pair.man.clone(), pair.raw.clone()])
                .collect()
        };
        words(self) == words(other)
    }

    /// Whether generated text stood in for AG News.
    pub fn is_builtin_sample(&self) -> bool {
        self.manifest.facts()["data"]["origin"] == "builtin-sample"
    }

    /// The run's seed.
    pub fn seed(&self) -> u64 {
        let seed = self
            .experiment
            .get("seed")
            .and_then(toml::Value::as_integer);
        seed.map_or(1, |seed| seed as u64)
    }

    /// A column's values on the matched pairs at each step at which it was measured.
    pub fn observations(&self, column: &str) -> BTreeMap<u64, Vec<PairObservation>> {
        let steps = self.columns.get(column).into_iter().flatten();
        let observed = steps.filter_map(|(&step, values)| {
            let pairs = self.pairs.iter().map(|pair| {
                Some(PairObservation {
                    identity: pair.identity,
                    template: pair.template,
                    female: *values.get(pair.female)?,
                    male: *values.get(pair.male)?,
                })
            });
            Some((step, pairs.collect::<Option<Vec<_>>>()?))
        });
        observed.collect()
    }
}

/// The kind of hook that measures the gap.
pub(super) const GAP: &str = "gender-disparity";

/// Whether a hook of an experiment is of a kind.
fn is_kind(hook: &toml::Value, kind: &str) -> bool {
    hook.get("kind").and_then(toml::Value::as_str) == Some(kind)
}

/// Every value of a table with its dotted key.
pub(crate) fn dotted(table: &toml::Table) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    flatten("", &toml::Value::Table(table.clone()), &mut rows);
    rows
}

fn flatten(key: &str, value: &toml::Value, rows: &mut Vec<(String, String)>) {
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                let key = if key.is_empty() {
                    name.clone()
                } else {
                    format!("{key}.{name}")
                };
                flatten(&key, value, rows);
            }
        }
        toml::Value::String(text) => rows.push((key.to_owned(), text.clone())),
        value => rows.push((key.to_owned(), value.to_string())),
    }
}

/// The bytes of a run's file.
fn bytes_of(path: &Path) -> Result<Vec<u8>, RecordedError> {
    std::fs::read(path).map_err(|source| RecordedError::Io {
        path: path.to_owned(),
        source,
    })
}

/// The text of a run's file.
fn text_of(path: &Path) -> Result<String, RecordedError> {
    String::from_utf8(bytes_of(path)?).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        broken(path, line, &"not UTF-8")
    })
}

fn malformed(path: &Path, error: Malformed) -> RecordedError {
    broken(path, error.line, &error.message)
}

fn broken(path: &Path, line: usize, error: &dyn std::fmt::Display) -> RecordedError {
    RecordedError::Line {
        path: path.to_owned(),
        line,
        message: format!("not what a run writes ({error})"),
    }
}
