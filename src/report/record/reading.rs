//! Reads a run's files and checks them against their recorded checksums.

use std::path::{Path, PathBuf};

use super::columns::counts_batches;
use super::{
    RecordedError, RecordedFile, RecordedHook, RecordedRun, broken, bytes_of, malformed, text_of,
};
use crate::experiment::contrast_names;
use crate::hook::Kind;
use crate::record::folder::replayed;
use crate::record::layout::{MANIFEST, MILESTONES, OUTCOME};
use crate::record::milestones::{self, Line};
use crate::record::{
    Changed, Ended, HookFailure, Manifest, ManifestError, Stop, columns, experiment,
};
use crate::registry::Registry;

/// A run that is being read.
pub(super) struct Reader<'a> {
    pub run: RecordedRun,
    /// Is called with each line of `milestones.jsonl` that is read.
    each: &'a mut dyn FnMut(Line),
    /// Whether damaged records are left out, rather than refused.
    force: bool,
    /// The files of values per prompt that the lines name.
    pub files: Vec<RecordedFile>,
}

pub(super) fn read(
    path: &Path,
    registry: &Registry,
    force: bool,
    each: &mut dyn FnMut(Line),
) -> Result<RecordedRun, RecordedError> {
    let mut reader = Reader {
        run: RecordedRun {
            path: path.to_owned(),
            ..RecordedRun::default()
        },
        each,
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
                section: kind.section,
                prefix,
            }
        })
        .collect::<Vec<_>>()
    };
    registry.kinds().flat_map(of_kind).collect()
}

impl Reader<'_> {
    /// Returns the error, or records it and goes on when reading is forced.
    pub fn damaged(&mut self, error: RecordedError) -> Result<(), RecordedError> {
        if !self.force {
            return Err(error);
        }
        let said = error.to_string();
        let said = said.replace("; --force reads the run all the same", "");
        self.run.damage.push(said);
        Ok(())
    }

    /// Compares the bytes of a file with its checksum.
    pub fn compare(
        &mut self,
        path: &Path,
        bytes: &[u8],
        expected: &str,
    ) -> Result<(), RecordedError> {
        match Changed::check(bytes, expected) {
            Ok(()) => Ok(()),
            Err(changed) => self.changed(path, changed),
        }
    }

    fn changed(&mut self, path: &Path, changed: impl ToString) -> Result<(), RecordedError> {
        self.damaged(RecordedError::Changed {
            path: path.to_owned(),
            message: changed.to_string(),
        })
    }

    fn ended(&mut self) -> Result<(), RecordedError> {
        match Ended::read(&self.run.path) {
            Ok(Some(ended)) => self.run.ended = Some(ended),
            // Replays of older versions have no outcome of their own.
            Ok(None) => {
                let of = replayed(&self.run.path);
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

    fn lines(&mut self) -> Result<(), RecordedError> {
        let path = self.run.path.join(MILESTONES);
        let bytes = bytes_of(&path)?;
        // The last line is incomplete when the run is still writing or was killed.
        let torn = milestones::is_torn(&bytes) && self.run.ended.is_none();
        let mut lines = milestones::lines(&bytes).enumerate().peekable();
        let mut named = false;
        while let Some((index, line)) = lines.next() {
            match line {
                Ok(line) => {
                    if let Some(name) = line.stray_file() {
                        let message = format!("`{name}` is no file below templates/");
                        self.damaged(broken(&path, index + 1, &message))?;
                        continue;
                    }
                    named |= self.line(&line);
                    (self.each)(line);
                }
                Err(_) if torn && lines.peek().is_none() => break,
                Err(error) => self.damaged(malformed(&path, error))?,
            }
        }
        for values in self.run.scalars.values_mut() {
            values.sort_by_key(|(step, _)| *step);
        }
        if named {
            // Files without a checksum belong to steps that were discarded by a resume.
            self.files.retain(|file| file.sha256.is_some());
        } else if !self.files.is_empty() {
            self.run.unchecked.push("templates/");
        }
        self.check_lines(&path, &bytes)
    }

    /// Adds the content of a line. Returns whether the line names its files.
    fn line(&mut self, line: &Line) -> bool {
        let run = &mut self.run;
        let by_batch = counts_batches(&line.event);
        for (tag, value) in line.scalars.iter() {
            if by_batch {
                run.by_batch.insert(tag.to_owned());
            }
            run.reporters.insert(tag.to_owned(), line.source.clone());
            let points = run.scalars.entry(tag.to_owned()).or_default();
            points.push((line.step, *value));
        }
        let message = line.texts.get(&format!("hook/{}/error", line.source));
        if let Some(message) = message {
            run.failures.insert(HookFailure {
                name: line.source.clone(),
                step: line.step,
                message: message.clone(),
            });
        }
        let file = |path: PathBuf, sha256: Option<String>| RecordedFile {
            step: line.step,
            event: line.event.clone(),
            hook: line.source.clone(),
            path,
            sha256,
        };
        match &line.files {
            Some(files) => {
                let files = files.iter();
                let files = files.map(|(name, sum)| file(run.path.join(name), Some(sum.clone())));
                self.files.extend(files);
            }
            // Older versions do not list files; the name follows from step and hook.
            None if !by_batch => {
                let path = run.path.join(columns::name(line.step, &line.source));
                if path.is_file() {
                    self.files.push(file(path, None));
                }
            }
            None => {}
        }
        line.files.is_some()
    }

    /// Compares `milestones.jsonl` with the length and checksum in the run's outcome.
    fn check_lines(&mut self, path: &Path, bytes: &[u8]) -> Result<(), RecordedError> {
        let Some(ended) = self.run.ended.clone() else {
            return Ok(());
        };
        let Some(end) = &ended.milestones else {
            self.run.unchecked.push(MILESTONES);
            return Ok(());
        };
        match Changed::check_end(bytes, end) {
            Ok(()) => {}
            Err(changed @ Changed::Length { .. }) => return self.changed(path, changed),
            Err(changed @ Changed::Content { .. }) => self.changed(path, changed)?,
        }
        // A changed number of steps would place the end of the run wrongly.
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
            return self.changed(&self.run.path.join(OUTCOME), message);
        }
        Ok(())
    }

    /// Reads the manifest and the experiment, and checks the experiment against the manifest.
    fn made_of(&mut self) -> Result<(), RecordedError> {
        let mut own = true;
        let mut manifest = Manifest::read(&self.run.path);
        if let (Err(ManifestError::Missing(_)), Some(of)) = (&manifest, replayed(&self.run.path)) {
            // Replays of older versions have no manifest of their own.
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
        let path = experiment::path(&self.run.path);
        let text = text_of(&path)?;
        let checked = own && self.run.manifest.has_checksums();
        if !checked && self.run.damage.is_empty() {
            self.run.unchecked.push(MANIFEST);
        }
        if checked && !self.run.manifest.has_had(text.as_bytes()) {
            let message = "it was changed after the run began (manifest.json has another checksum)";
            self.changed(&path, message)?;
        }
        self.run.experiment = experiment::parse(&text).map_err(|error| malformed(&path, error))?;
        Ok(())
    }
}
