//! The way of a run's files back into memory, checked against the checksums that the run has left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{RecordedError, RecordedHook, RecordedRun, broken, bytes_of, text_of};
use crate::checksum::sha256;
use crate::event::Event;
use crate::experiment::contrast_names;
use crate::hook::{Kind, Registry};
use crate::manifest::{Manifest, ManifestError};
use crate::train::{Ended, HookFailure, MILESTONES, OUTCOME, Stop};

/// A run that is being read.
pub(super) struct Reader {
    pub run: RecordedRun,
    /// Whether what is damaged is left out, and not refused.
    force: bool,
    /// The files of values per template: step, hook, name below the run's folder, checksum if there is one.
    pub files: Vec<TemplateFile>,
}

/// A file of values per template that a line of `milestones.jsonl` belongs to.
pub(super) struct TemplateFile {
    pub step: u64,
    pub hook: String,
    pub path: PathBuf,
    pub sha256: Option<String>,
}

/// A line of `milestones.jsonl`.
#[derive(Deserialize)]
struct Line {
    step: u64,
    #[serde(default)]
    event: String,
    #[serde(default)]
    source: String,
    scalars: BTreeMap<String, Option<f64>>,
    #[serde(default)]
    texts: Map<String, Value>,
    /// Files of values per template that belong to the line, with their checksums.
    files: Option<BTreeMap<String, String>>,
}

impl Line {
    /// A file that lies elsewhere than in the run's folder of values per template.
    fn stray_file(&self) -> Option<&String> {
        let names = self.files.iter().flat_map(|files| files.keys());
        let mut names = names.filter(|name| {
            let inside = name.strip_prefix("templates/");
            inside.is_none_or(|rest| rest.contains(['/', '\\']) || rest.is_empty())
        });
        names.next()
    }
}

pub(super) fn read(
    path: &Path,
    registry: &Registry,
    force: bool,
) -> Result<RecordedRun, RecordedError> {
    let mut reader = Reader {
        run: RecordedRun {
            path: path.to_owned(),
            ..RecordedRun::default()
        },
        force,
        files: Vec::new(),
    };
    reader.ended()?;
    reader.lines()?;
    reader.made_of()?;
    reader.run.hooks = hooks(&reader.run.experiment, registry);
    reader.pairs()?;
    reader.columns()?;
    Ok(reader.run)
}

/// The hooks of an experiment whose kinds are known, in the order of the kinds.
fn hooks(experiment: &toml::Table, registry: &Registry) -> Vec<RecordedHook> {
    let entries = experiment.get("hooks").and_then(toml::Value::as_table);
    let contrasts = contrast_names(experiment);
    let of_kind = |kind: &Kind| {
        let shows = kind.shows.of_contrasts(&contrasts);
        let entries = entries.into_iter().flatten();
        let own = entries.filter(|(_, hook)| {
            let named = hook.get("kind").and_then(toml::Value::as_str);
            named.is_some_and(|name| kind.is_called(name))
        });
        own.map(|(hook, _)| {
            let prefix = kind.tag_prefix(hook);
            let mut shows = shows.below(&prefix);
            let heading = || (hook.clone(), kind.about.to_owned());
            shows.heading.get_or_insert_with(heading);
            RecordedHook {
                name: hook.clone(),
                kind: kind.name.to_owned(),
                shows,
                prefix,
            }
        })
        .collect::<Vec<_>>()
    };
    registry.kinds().flat_map(of_kind).collect()
}

impl Reader {
    /// Refuses what is damaged, or names it and goes on.
    pub fn damaged(&mut self, error: RecordedError) -> Result<(), RecordedError> {
        if !self.force {
            return Err(error);
        }
        let said = error.to_string();
        let said = said.replace("; --force reads the run all the same", "");
        self.run.damage.push(said);
        Ok(())
    }

    /// Compares a file with its checksum.
    pub fn compare(
        &mut self,
        path: &Path,
        bytes: &[u8],
        expected: &str,
    ) -> Result<(), RecordedError> {
        let found = sha256(bytes);
        if found == expected {
            return Ok(());
        }
        let message =
            format!("it was changed after it was written: its sha256 is {found}, not {expected}");
        self.damaged(RecordedError::Changed {
            path: path.to_owned(),
            message,
        })
    }

    fn ended(&mut self) -> Result<(), RecordedError> {
        match Ended::read(&self.run.path) {
            Ok(Some(ended)) => self.run.ended = Some(ended),
            // A replay of an older version has no end of its own.
            Ok(None) => {
                let of = self.replayed();
                self.run.ended = of.and_then(|run| Ended::read(run).ok().flatten());
                if let Some(ended) = &mut self.run.ended {
                    ended.milestones = None;
                }
            }
            Err(error) => self.damaged(RecordedError::Ended(error))?,
        }
        if let Some(ended) = &self.run.ended {
            self.run.failures.extend(ended.hooks.iter().cloned());
        }
        Ok(())
    }

    /// The run that this is a replay of, if it is one.
    fn replayed(&self) -> Option<&Path> {
        let folder = self.run.path.parent()?;
        let is_replay = folder.file_name().is_some_and(|name| name == "replay");
        folder.parent().filter(|_| is_replay)
    }

    fn lines(&mut self) -> Result<(), RecordedError> {
        let path = self.run.path.join(MILESTONES);
        let bytes = bytes_of(&path)?;
        let whole = bytes.ends_with(b"\n");
        let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        let mut named = false;
        for (index, line) in lines.iter().enumerate() {
            match serde_json::from_slice::<Line>(line) {
                Ok(line) => {
                    if let Some(name) = line.stray_file() {
                        let message = format!("`{name}` is no file below templates/");
                        self.damaged(broken(&path, index + 1, &message))?;
                        continue;
                    }
                    named |= self.line(line);
                }
                // The last line of a run that is being written, or was killed.
                Err(_) if index + 1 == lines.len() && !whole && self.run.ended.is_none() => break,
                Err(error) => self.damaged(broken(&path, index + 1, &error))?,
            }
        }
        for values in self.run.scalars.values_mut() {
            values.sort_by_key(|(step, _)| *step);
        }
        if named {
            // The others belong to steps that were discarded.
            self.files.retain(|file| file.sha256.is_some());
        } else if !self.files.is_empty() {
            self.run.unchecked.push("templates/");
        }
        self.check_lines(&path, &bytes)
    }

    /// Takes a line over; whether it names its files.
    fn line(&mut self, line: Line) -> bool {
        let run = &mut self.run;
        let by_micro_batch = line.event == Event::MicroBatchEnd.as_str();
        for (tag, value) in line.scalars {
            if by_micro_batch {
                run.by_micro_batch.insert(tag.clone());
            }
            run.reporters.insert(tag.clone(), line.source.clone());
            // What is not finite is null there.
            let value = value.unwrap_or(f64::NAN);
            run.scalars.entry(tag).or_default().push((line.step, value));
        }
        let message = line.texts.get(&format!("hook/{}/error", line.source));
        if let Some(message) = message.and_then(Value::as_str) {
            run.failures.insert(HookFailure {
                name: line.source.clone(),
                step: line.step,
                message: message.to_owned(),
            });
        }
        if by_micro_batch {
            return line.files.is_some();
        }
        match &line.files {
            Some(files) => self
                .files
                .extend(files.iter().map(|(name, sum)| TemplateFile {
                    step: line.step,
                    hook: line.source.clone(),
                    path: run.path.join(name),
                    sha256: Some(sum.clone()),
                })),
            // In older versions the name follows from step and hook.
            None => {
                let name = format!("templates/step-{:08}-{}.tsv", line.step, line.source);
                let path = run.path.join(name);
                if path.is_file() {
                    self.files.push(TemplateFile {
                        step: line.step,
                        hook: line.source,
                        path,
                        sha256: None,
                    });
                }
            }
        }
        line.files.is_some()
    }

    /// Compares `milestones.jsonl` with what the run said of it when it ended.
    fn check_lines(&mut self, path: &Path, bytes: &[u8]) -> Result<(), RecordedError> {
        let Some(ended) = self.run.ended.clone() else {
            return Ok(());
        };
        let Some(end) = &ended.milestones else {
            self.run.unchecked.push("milestones.jsonl");
            return Ok(());
        };
        if bytes.len() as u64 != end.bytes {
            let message = format!(
                "it has {} bytes, but the run ended with {}: it was changed",
                bytes.len(),
                end.bytes
            );
            return self.damaged(RecordedError::Changed {
                path: path.to_owned(),
                message,
            });
        }
        self.compare(path, bytes, &end.sha256)?;
        // A changed step count would put every value of the end elsewhere.
        let trained = self.run.scalars.get("train/lr");
        let last = trained
            .and_then(|points| points.last())
            .map(|point| point.0);
        if let Some(last) = last
            && ended.stop != Stop::Failed
            && last != ended.steps
        {
            let message = format!(
                "{} steps, but milestones.jsonl ends with step {last}: it was changed",
                ended.steps
            );
            return self.damaged(RecordedError::Changed {
                path: self.run.path.join(OUTCOME),
                message,
            });
        }
        Ok(())
    }

    /// Reads the manifest and the experiment, and compares the second with the first.
    fn made_of(&mut self) -> Result<(), RecordedError> {
        let mut own = true;
        let mut manifest = Manifest::read(&self.run.path);
        if let (Err(ManifestError::Missing(_)), Some(of)) = (&manifest, self.replayed()) {
            // Of an older version: it has none of its own.
            own = false;
            manifest = Manifest::read(of);
        }
        match manifest {
            Ok(manifest) => self.run.manifest = manifest,
            Err(error) => {
                own = false;
                self.damaged(error.into())?;
            }
        }
        let path = self.run.path.join("experiment.toml");
        let text = text_of(&path)?;
        let checked = own && self.run.manifest.has_checksums();
        if !checked && self.run.damage.is_empty() {
            self.run.unchecked.push("manifest.json");
        }
        let experiments = self.run.manifest.experiments();
        let found = sha256(text.as_bytes());
        if checked && !experiments.contains(&found) {
            let message = "it was changed after the run began (manifest.json has another checksum)";
            self.damaged(RecordedError::Changed {
                path: path.clone(),
                message: message.to_owned(),
            })?;
        }
        let line = |error: &toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            1 + before.map_or(0, |before| before.matches('\n').count())
        };
        self.run.experiment =
            toml::from_str(&text).map_err(|error| broken(&path, line(&error), &error.message()))?;
        Ok(())
    }
}
