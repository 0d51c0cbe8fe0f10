//! A run as it lies on disk, read back: every scalar, the values of every prompt, what it was made of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::experiment::COMMON;
use crate::measure::disparity::PairObservation;

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
    /// The run has not measured what is asked of it.
    #[error("{path}: {message}")]
    Missing {
        /// The run.
        path: PathBuf,
        /// What is missing, and what to do.
        message: String,
    },
}

/// A matched pair of prompts, as rows of the files of values per template.
#[derive(Debug, Clone, Deserialize)]
pub struct RecordedPair {
    /// Row of the female prompt.
    pub female: usize,
    /// Row of the male prompt.
    pub male: usize,
    /// Number of the identity pair.
    pub identity: usize,
    /// Number of the raw template.
    pub template: usize,
    /// The female identity.
    pub woman: String,
    /// The male identity.
    pub man: String,
    /// The raw template.
    pub raw: String,
}

/// A run that is on disk.
#[derive(Debug, Clone)]
pub struct RecordedRun {
    /// Its directory.
    pub path: PathBuf,
    /// `manifest.json`.
    pub manifest: Value,
    /// `experiment.toml`, resolved.
    pub experiment: toml::Table,
    /// Every tag with its steps and values, in the order of steps.
    pub scalars: BTreeMap<String, Vec<(u64, f64)>>,
    /// The matched pairs.
    pub pairs: Vec<RecordedPair>,
    /// Columns of values per template: name, then step, then a value for each prompt.
    pub columns: BTreeMap<String, BTreeMap<u64, Vec<f64>>>,
    /// The prompts.
    pub prompts: Vec<String>,
}

impl RecordedRun {
    /// Reads a run's directory.
    ///
    /// # Errors
    /// When it is not one, or a file in it is damaged; with the file and the line.
    pub fn read(path: &Path) -> Result<Self, RecordedError> {
        let mut run = Self {
            path: path.to_owned(),
            manifest: Value::Null,
            experiment: toml::Table::new(),
            scalars: BTreeMap::new(),
            pairs: Vec::new(),
            columns: BTreeMap::new(),
            prompts: Vec::new(),
        };
        run.read_lines()?;
        // A replay has no manifest of its own.
        for folder in [Some(path), path.ancestors().nth(2)].into_iter().flatten() {
            let manifest = folder.join("manifest.json");
            if manifest.is_file() {
                run.manifest = serde_json::from_str(&text(&manifest)?)
                    .map_err(|error| broken(&manifest, error.line(), &error))?;
                break;
            }
        }
        let experiment = path.join("experiment.toml");
        run.experiment = toml::from_str(&text(&experiment)?)
            .map_err(|error| broken(&experiment, 1, &error.message()))?;
        run.read_pairs()?;
        run.read_columns()?;
        Ok(run)
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
        let mut rows = Vec::new();
        flatten("", &toml::Value::Table(settings), &mut rows);
        rows
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
        self.manifest["data"]["origin"] == "builtin-sample"
    }

    /// The run's seed.
    pub fn seed(&self) -> u64 {
        let seed = self
            .experiment
            .get("seed")
            .and_then(toml::Value::as_integer);
        seed.map_or(1, |seed| seed as u64)
    }

    /// First and last step and value of a tag.
    pub fn span(&self, tag: &str) -> Option<[(u64, f64); 2]> {
        let values = self.scalars.get(tag)?;
        Some([*values.first()?, *values.last()?])
    }

    /// A column's values on the matched pairs at each step.
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

    fn read_lines(&mut self) -> Result<(), RecordedError> {
        #[derive(Deserialize)]
        struct Line {
            step: u64,
            scalars: BTreeMap<String, Option<f64>>,
        }
        let path = self.path.join("milestones.jsonl");
        let lines = text(&path)?;
        let whole = lines.ends_with('\n');
        let count = lines.lines().count();
        for (index, line) in lines.lines().enumerate() {
            let parsed: Line = match serde_json::from_str(line) {
                Ok(parsed) => parsed,
                // The last line of a run that is being written, or was killed.
                Err(_) if index + 1 == count && !whole => break,
                Err(error) => return Err(broken(&path, index + 1, &error)),
            };
            for (tag, value) in parsed.scalars {
                // What is not finite is null there.
                let value = value.unwrap_or(f64::NAN);
                self.scalars
                    .entry(tag)
                    .or_default()
                    .push((parsed.step, value));
            }
        }
        for values in self.scalars.values_mut() {
            values.sort_by_key(|(step, _)| *step);
        }
        Ok(())
    }

    fn read_pairs(&mut self) -> Result<(), RecordedError> {
        let path = self.path.join("templates/pairs.tsv");
        let text = text(&path)?;
        for row in tsv(&text).deserialize::<RecordedPair>() {
            let line = self.pairs.len() + 2;
            self.pairs
                .push(row.map_err(|error| broken(&path, line, &error))?);
        }
        Ok(())
    }

    /// Reads every `templates/step-<step>-<hook>.tsv`.
    fn read_columns(&mut self) -> Result<(), RecordedError> {
        let folder = self.path.join("templates");
        let entries = std::fs::read_dir(&folder).map_err(|source| RecordedError::Io {
            path: folder.clone(),
            source,
        })?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let step = name
                .strip_prefix("step-")
                .and_then(|rest| rest.split_once('-'));
            let Some((step, hook)) = step else {
                continue;
            };
            let (Ok(step), Some(hook)) = (step.parse::<u64>(), hook.strip_suffix(".tsv")) else {
                continue;
            };
            self.read_step(step, hook, &path)?;
        }
        let rows = self.prompts.len();
        let stray = |pair: &RecordedPair| pair.female.max(pair.male) >= rows;
        match self.pairs.iter().position(stray) {
            Some(index) if !self.columns.is_empty() => {
                let message = format!("a row beyond the {rows} prompts");
                Err(broken(&folder.join("pairs.tsv"), index + 2, &message))
            }
            _ => Ok(()),
        }
    }

    fn read_step(&mut self, step: u64, hook: &str, path: &Path) -> Result<(), RecordedError> {
        let text = text(path)?;
        let mut reader = tsv(&text);
        let header = reader.headers().map_err(|error| broken(path, 1, &error))?;
        if header.len() < 4 {
            return Err(broken(path, 1, &"its columns are missing"));
        }
        // After prompt, group and identity. A second hook of a kind has its name before the columns', as before its tags.
        let its_kind = self.experiment.get("hooks").and_then(|hooks| {
            let kind = hooks.get(hook)?.get("kind")?;
            kind.as_str()
        });
        let prefix = match its_kind {
            Some(kind) if kind != hook => format!("{hook}/"),
            _ => String::new(),
        };
        let names = header.iter().skip(3);
        let names: Vec<String> = names.map(|name| format!("{prefix}{name}")).collect();
        let mut values: Vec<Vec<f64>> = vec![Vec::new(); names.len()];
        let mut prompts = Vec::new();
        for (index, row) in reader.records().enumerate() {
            let row = row.map_err(|error| broken(path, index + 2, &error))?;
            prompts.push(row.get(0).unwrap_or_default().to_owned());
            for (cell, values) in row.iter().skip(3).zip(&mut values) {
                let value = cell.parse();
                values.push(
                    value.map_err(|_| {
                        broken(path, index + 2, &format!("`{cell}` is not a number"))
                    })?,
                );
            }
        }
        if !self.prompts.is_empty() && self.prompts.len() != prompts.len() {
            let message = format!(
                "{} prompts, where other files have {}",
                prompts.len(),
                self.prompts.len()
            );
            return Err(broken(path, prompts.len() + 2, &message));
        }
        for (name, values) in names.into_iter().zip(values) {
            self.columns.entry(name).or_default().insert(step, values);
        }
        self.prompts = prompts;
        Ok(())
    }
}

/// The kind of hook that measures the gap.
pub(super) const GAP: &str = "gender-disparity";

/// Whether a hook of an experiment is of a kind.
fn is_kind(hook: &toml::Value, kind: &str) -> bool {
    hook.get("kind").and_then(toml::Value::as_str) == Some(kind)
}

/// Dotted keys with their values.
fn flatten(key: &str, value: &toml::Value, rows: &mut Vec<(String, String)>) {
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                let key = match key.is_empty() {
                    true => name.clone(),
                    false => format!("{key}.{name}"),
                };
                flatten(&key, value, rows);
            }
        }
        toml::Value::String(text) => rows.push((key.to_owned(), text.clone())),
        value => rows.push((key.to_owned(), value.to_string())),
    }
}

fn text(path: &Path) -> Result<String, RecordedError> {
    std::fs::read_to_string(path).map_err(|source| RecordedError::Io {
        path: path.to_owned(),
        source,
    })
}

fn broken(path: &Path, line: usize, error: &dyn std::fmt::Display) -> RecordedError {
    RecordedError::Line {
        path: path.to_owned(),
        line,
        message: format!("not what a run writes ({error})"),
    }
}

fn tsv(text: &str) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new()
        .delimiter(b'\t')
        .quoting(false)
        .from_reader(text.as_bytes())
}
