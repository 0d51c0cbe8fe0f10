//! A run read back from disk: every scalar, the values of every prompt, its inputs, and how it ended.

mod columns;
mod moments;
mod reading;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub use self::moments::{At, Missing, Moment};
use crate::data::sources;
use crate::data::templates::ContrastNames;
use crate::experiment::COMMON;
use crate::hook::{Cells, Row, Section, Shows};
use crate::record::milestones::Line;
use crate::record::{Ended, HookFailure, Malformed, Manifest, ManifestError, Unusable};
use crate::registry::Registry;
use crate::statistics::observation::{Observation, Unit, observations};

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
    /// A file is malformed.
    #[error("{path}:{line}: {message}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// A file was changed since the run wrote it.
    #[error("{path}: {message}; --force reads the run all the same")]
    Changed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The manifest is missing, or was changed since the run wrote it.
    #[error("{0}; --force reads the run all the same")]
    Manifest(#[from] ManifestError),
    /// The outcome cannot be read.
    #[error("{0}; --force reads the run all the same")]
    Ended(#[source] Unusable),
    /// The runs do not belong together.
    #[error(transparent)]
    Mixed(ManifestError),
    /// The run has not measured what is needed.
    #[error("{path}: {message}")]
    Missing {
        /// The run.
        path: PathBuf,
        /// What is missing, and what to do.
        message: String,
    },
}

/// A contrast of a run.
#[derive(Debug, Clone)]
pub struct RecordedContrast {
    /// Its name and those of its groups.
    pub names: ContrastNames,
    /// The units, as rows of the files of values per prompt.
    pub units: Vec<Unit>,
    /// For each unit, the identities of the first and the second group, and the raw template.
    pub words: Vec<[String; 3]>,
}

impl RecordedContrast {
    /// Whether matched pairs are compared, rather than two samples.
    pub fn is_paired(&self) -> bool {
        let both = |unit: &Unit| unit.sides.iter().all(Option::is_some);
        self.units.iter().all(both)
    }

    /// The gap in words: `first - second`.
    pub fn gap(&self) -> String {
        let [first, second] = &self.names.groups;
        format!("{first} - {second}")
    }
}

/// A hook of a run.
#[derive(Debug, Clone)]
pub struct RecordedHook {
    /// Its name in the experiment.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// The prefix of its tags and columns.
    pub prefix: String,
    /// What it shows besides its curves, with the tags that it has in this run.
    pub shows: Shows,
    /// Writes the end of its section of the report.
    pub section: Option<Section>,
}

/// A file of values per prompt that belongs to a line of `milestones.jsonl`.
#[derive(Debug, Clone)]
pub struct RecordedFile {
    /// The step of the line; the micro-batch for the event `micro-batch-end`.
    pub step: u64,
    /// The line's event.
    pub event: String,
    /// The hook that reported the values.
    pub hook: String,
    /// Its path.
    pub path: PathBuf,
    /// Its recorded checksum; None in runs of older versions.
    sha256: Option<String>,
}

/// A run that was read from disk.
#[derive(Debug, Clone, Default)]
pub struct RecordedRun {
    /// Its directory.
    pub path: PathBuf,
    /// The content of `manifest.json`.
    pub manifest: Manifest,
    /// The resolved experiment of `experiment.toml`.
    pub experiment: toml::Table,
    /// The hooks whose kinds are known, in the order of the kinds' registry.
    pub hooks: Vec<RecordedHook>,
    /// How the run ended, from `outcome.json`. None while it is running or when it was killed.
    pub ended: Option<Ended>,
    /// Every tag with its steps and values, in the order of steps.
    pub scalars: BTreeMap<String, Vec<(u64, f64)>>,
    /// The tags whose steps are micro-batches, or batches of an evaluation.
    pub by_batch: BTreeSet<String>,
    /// The source of each tag and each column: `train`, `eval`, or a hook's name.
    pub reporters: BTreeMap<String, String>,
    /// Failed calls of hooks.
    pub failures: BTreeSet<HookFailure>,
    /// The contrasts, in the order of their prompts.
    pub contrasts: Vec<RecordedContrast>,
    /// Columns of values per prompt: by name, then by step, one value for each prompt.
    pub columns: BTreeMap<String, BTreeMap<u64, Vec<f64>>>,
    /// The files of values per prompt that could be read, in the order of steps.
    pub files: Vec<RecordedFile>,
    /// The prompts, in the order of the columns' values.
    pub prompts: Vec<String>,
    /// Descriptions of damaged records, when the run was read in spite of them.
    pub damage: Vec<String>,
    /// The files without a checksum, which an older version wrote.
    pub unchecked: Vec<&'static str>,
}

impl RecordedRun {
    /// Reads a run from its directory. A file that was changed since the run wrote it is an error. `registry` has the kinds of the hooks,
    /// whose declarations are shown.
    ///
    /// # Errors
    /// When it is not the directory of a run, or when a file in it is damaged or was changed. The error has the file, and the line if
    /// known.
    pub fn read(path: &Path, registry: &Registry) -> Result<Self, RecordedError> {
        reading::read(path, registry, false, &mut drop)
    }

    /// As [`Self::read`], except that damaged records are left out and named in `damage`.
    ///
    /// # Errors
    /// When too little is left to read.
    pub fn read_damaged(path: &Path, registry: &Registry) -> Result<Self, RecordedError> {
        reading::read(path, registry, true, &mut drop)
    }

    /// As [`Self::read`], or as [`Self::read_damaged`] with `force`. Each line of `milestones.jsonl` that is read is passed to `each`, in
    /// the order of the file.
    ///
    /// # Errors
    /// As those of the two.
    pub fn read_lines(
        path: &Path,
        registry: &Registry,
        force: bool,
        each: &mut dyn FnMut(Line),
    ) -> Result<Self, RecordedError> {
        reading::read(path, registry, force, each)
    }

    /// The run's name: `<experiment>/<run>`.
    pub fn name(&self) -> String {
        name_of(&self.path)
    }

    /// The run's last step; None while it is not over.
    pub fn end(&self) -> Option<u64> {
        self.ended.as_ref().map(|ended| ended.steps)
    }

    /// The settings as dotted keys with values. Of the hooks' settings, only those that define how the gap is measured.
    pub fn settings(&self) -> Vec<(String, String)> {
        let mut settings = self.experiment.clone();
        if let Some(toml::Value::Table(hooks)) = settings.get_mut("hooks") {
            hooks.retain(|name, _| self.gap_hook().is_some_and(|hook| hook.name == *name));
            for (_, hook) in hooks.iter_mut() {
                if let toml::Value::Table(hook) = hook {
                    hook.retain(|key, _| !COMMON.contains(&key));
                }
            }
        }
        dotted(&settings)
    }

    /// All settings as dotted keys with values.
    pub fn all_settings(&self) -> Vec<(String, String)> {
        dotted(&self.experiment)
    }

    /// The first hook of a kind.
    pub fn hook_of(&self, kind: &str) -> Option<&RecordedHook> {
        self.hooks.iter().find(|hook| hook.kind == kind)
    }

    /// The hook that measures the gap of n_matches.
    pub fn gap_hook(&self) -> Option<&RecordedHook> {
        self.hook_of(GAP)
    }

    /// The name of the column of n_matches, reported by the hook that measures its gap.
    pub fn n_matches(&self) -> String {
        let prefix = self.gap_hook().map_or("", |hook| &hook.prefix);
        format!("{prefix}n_matches")
    }

    /// The rows of the tables of start and end, hook by hook: those that were measured, and those of a hook that never reported.
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

    /// The name that a hook's tables give a tag.
    pub fn row_name(&self, tag: &str) -> Option<&str> {
        let hooks = self.hooks.iter();
        let mut rows = hooks.flat_map(|hook| hook.shows.rows.iter().chain(&hook.shows.names));
        let row = rows.find(|row| row.tag == tag && row.cells != Cells::Interval)?;
        Some(row.name.trim_start())
    }

    /// The contrast with this name.
    pub fn contrast(&self, name: &str) -> Option<&RecordedContrast> {
        let mut contrasts = self.contrasts.iter();
        contrasts.find(|contrast| contrast.names.name == name)
    }

    /// The name of the text when it is the built-in sample, else None.
    pub fn builtin_sample(&self) -> Option<String> {
        let data = self.experiment.get("data");
        let source = data.and_then(|data| data.get("source")?.as_str());
        let source = match source {
            Some(name) => sources::named(name).unwrap_or(&sources::sample::SOURCE),
            None => sources::usual(),
        };
        let is_sample = self.manifest.facts()["data"]["origin"] == "builtin-sample";
        is_sample.then(|| source.stand_in())
    }

    /// The run's seed.
    pub fn seed(&self) -> u64 {
        let seed = self
            .experiment
            .get("seed")
            .and_then(toml::Value::as_integer);
        seed.map_or(1, |seed| seed as u64)
    }

    /// The observations of a column in a contrast, at each step at which it was measured.
    pub fn observations(
        &self,
        contrast: &RecordedContrast,
        column: &str,
    ) -> BTreeMap<u64, Vec<Observation>> {
        let steps = self.columns.get(column).into_iter().flatten();
        let observed = steps
            .filter_map(|(&step, values)| Some((step, observations(&contrast.units, values)?)));
        observed.collect()
    }
}

/// The name of the run at a path: `<experiment>/<run>`.
pub fn name_of(run: &Path) -> String {
    let part = |path: Option<&Path>| {
        let name = path.and_then(Path::file_name).unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let absolute = std::path::absolute(run).unwrap_or(run.to_owned());
    format!("{}/{}", part(absolute.parent()), part(Some(&absolute)))
}

/// The kind of hook that measures the gap.
pub(super) const GAP: &str = "match-disparity";

/// All values of a table, with dotted keys.
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
