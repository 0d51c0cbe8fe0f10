//! Reads a run that is over, and refuses one whose documents' influence cannot be estimated.

use std::path::{Path, PathBuf};

use super::Arguments;
use crate::checksum::sha256;
use crate::cli::terminal::{remark, say};
use crate::cli::{going_on, plan, progress};
use crate::clock::Extent;
use crate::diagnostic::Diagnostic;
use crate::experiment::{Written, parse, resolve_replay};
use crate::influence::summary::Documents;
use crate::influence::{Recorded, Seen, predictions};
use crate::model::{Precision, Role};
use crate::record::layout::{MANIFEST, OUTCOME};
use crate::record::manifest::Manifest;
use crate::record::{Ended, RecordError, Stop, checkpoint};
use crate::registry::Registry;
use crate::report::RecordedRun;
use crate::train::{Objective, Plan, Point, points};

/// A run that is over.
pub(super) struct Opened {
    /// Its plan, without hooks and interventions.
    pub plan: Plan,
    /// Its experiment as recorded.
    pub written: Written,
    /// Its states on disk.
    pub points: Vec<Point>,
    /// The steps of the checkpoints whose gradients are used.
    pub checkpoints: Vec<u64>,
    /// What it saw.
    pub seen: Seen,
    /// SHA-256 of its manifest, outcome and checkpoints.
    pub sha256: String,
    /// What is to be known of the estimate.
    pub notes: Vec<String>,
    /// Whether it measures n_matches by a hook.
    pub counts_matches: bool,
    /// The settings that it was extended by on the way.
    pub extended: Vec<String>,
}

/// Kinds of interventions that change the loss or what is trained, step by step.
const NOT_ACCOUNTED_FOR: [(&str, &str); 2] = [
    ("data-weight", "weighs documents"),
    ("freeze", "freezes parameters"),
];
/// The kind of hook that measures n_matches of groups, and its former name.
const OF_MATCHES: [&str; 2] = ["match-disparity", "gender-disparity"];

pub(super) fn open(arguments: &Arguments, registry: &Registry) -> anyhow::Result<Opened> {
    let run = &arguments.run;
    let written = plan::read_resolved(run)?;
    let settings: toml::Table = toml::from_str(&written.source.text)?;
    refuse_interventions(&settings, run)?;
    let ended = ended(run)?;
    let bare = parse(
        written.source.clone(),
        &["hooks={}".parse()?, "interventions={}".parse()?],
    )?;
    let places = plan::places(&arguments.places, Path::new(""), run);
    let mut downloads = progress::Downloads::default();
    let resolved = resolve_replay(&bare, None, registry, &places, &mut |name, done, total| {
        downloads.report(name, done, total);
    })?;
    for note in &resolved.notes {
        remark!("note: {note}");
    }
    let mut plan = resolved.plan;
    refuse_training(&plan, run)?;
    going_on::replay(run, &mut plan, true, arguments.force)?;
    let mut notes: Vec<String> = (plan.manifest.forced().iter())
        .flat_map(|forced| &forced.because)
        .map(|because| format!("forced: {because}"))
        .collect();
    let points = points(run, &plan)?;
    let checkpoints = checkpoints(arguments, &points, ended.steps)?;
    let recorded = if arguments.force {
        RecordedRun::read_damaged(run, registry)?
    } else {
        RecordedRun::read(run, registry)?
    };
    let extent = plan.extent.with_jumps(ended.jumps.clone());
    let seen = seen(&plan, &extent, &recorded, &ended)?;
    notes.extend(left_out(&plan, &seen));
    for note in &notes {
        remark!("note: {note}");
    }
    let steps: Vec<String> = checkpoints.iter().map(u64::to_string).collect();
    say!(
        "{}: gradients at the start and at step {} of {}",
        run.display(),
        steps.join(", "),
        ended.steps
    );
    Ok(Opened {
        sha256: state(run, &points)?,
        counts_matches: counts_matches(&settings),
        extended: Manifest::read(run)
            .map(|manifest| manifest.extended())
            .unwrap_or_default(),
        plan,
        written,
        points,
        checkpoints,
        seen,
        notes,
    })
}

impl Opened {
    /// The steps between which gradients are taken: the start, the checkpoints that are used, and the end.
    pub fn steps(&self) -> Vec<u64> {
        let all = self.points.iter().map(|point| point.clock.step.0);
        let last = all.clone().max();
        all.filter(|step| *step == 0 || Some(*step) == last || self.checkpoints.contains(step))
            .collect()
    }

    /// How many predictions of each document's tokens it was trained on.
    pub fn predictions(&self) -> Vec<u64> {
        predictions(&self.plan.blocks, &self.seen)
    }

    /// Its documents.
    ///
    /// # Errors
    /// When the tokenizer cannot decode one.
    pub fn documents(&self, predictions: &[u64]) -> anyhow::Result<Documents> {
        let blocks = &self.plan.blocks;
        let all = 0..blocks.documents();
        let tokenizer = &self.plan.scene.tokenizer;
        let eos = self.plan.scene.eos;
        let texts = all.clone().map(|document| {
            let ids = blocks.document(document);
            tokenizer.decode(ids.strip_suffix(eos.as_slice()).unwrap_or(ids))
        });
        Ok(Documents {
            texts: texts.collect::<Result<_, _>>()?,
            topics: all
                .map(|document| blocks.topic(document).map(str::to_owned))
                .collect(),
            predictions: predictions.to_vec(),
        })
    }
}

/// How the run ended.
fn ended(run: &Path) -> anyhow::Result<Ended> {
    let message = match Ended::read(run)? {
        None => "this run is not over; --resume goes on with it",
        Some(ended) => match ended.stop {
            Stop::Complete | Stop::Incomplete | Stop::Requested => return Ok(ended),
            Stop::Interrupted => "this run was stopped and is not over; --resume goes on with it",
            Stop::Failed => "this run failed: its last state is none that a training came to",
        },
    };
    Err(Diagnostic::file(run.display().to_string(), message).into())
}

/// Refuses interventions that are not accounted for.
fn refuse_interventions(settings: &toml::Table, run: &Path) -> Result<(), Diagnostic> {
    let tables = settings
        .get("interventions")
        .and_then(toml::Value::as_table);
    for (name, table) in tables.into_iter().flatten() {
        let text = |key: &str| table.get(key).and_then(toml::Value::as_str);
        let kind = text("kind").unwrap_or(name);
        let enabled = table.get("enabled").and_then(toml::Value::as_bool);
        let found = NOT_ACCOUNTED_FOR.iter().find(|(other, _)| *other == kind);
        if let Some((_, does)) = found.filter(|_| enabled != Some(false)) {
            let message = format!(
                "`interventions.{name}` {does} in the middle of the training, which an estimate of influence does not account for"
            );
            return Err(Diagnostic::file(run.display().to_string(), message));
        }
    }
    Ok(())
}

/// Refuses a training whose loss is not that of the whole text.
fn refuse_training(plan: &Plan, run: &Path) -> Result<(), Diagnostic> {
    let refused = |message: String| Err(Diagnostic::file(run.display().to_string(), message));
    for &role in &plan.training.models {
        if !matches!(plan.training.objectives.get(role), Objective::Text(_)) {
            return refused(format!(
                "`train.objective.{role}` is not `text`: influence is only estimated for models that are trained on the next token of the text"
            ));
        }
    }
    if plan.training.precision == Precision::F16 {
        return refused("`train.precision` is f16: it skips steps that overflow, which an estimate of influence does not account for".to_owned());
    }
    if plan.blocks.leaves_out() {
        return refused("`data.subset` leaves documents out of the loss: influence is estimated for runs that train on all of their documents".to_owned());
    }
    Ok(())
}

/// The steps of the checkpoints to use.
fn checkpoints(arguments: &Arguments, points: &[Point], end: u64) -> anyhow::Result<Vec<u64>> {
    let run = arguments.run.display().to_string();
    let has_moments = |point: &&Point| {
        let files = Role::BOTH.map(checkpoint::optimiser_file);
        let folder = point.models.as_ref();
        folder.is_some_and(|folder| files.iter().any(|file| folder.join(file).is_file()))
    };
    let saved: Vec<u64> = points
        .iter()
        .filter(has_moments)
        .map(|point| point.clock.step.0)
        .collect();
    if saved.is_empty() {
        let message = format!(
            "the run has kept no checkpoint between its start and step {end}: set `train.save = \"every 10%\"`, and `train.keep = \"all\"`, since a run keeps only the last two"
        );
        return Err(Diagnostic::file(run, message).into());
    }
    if arguments.checkpoints.is_empty() {
        return Ok(saved);
    }
    let mut wanted = arguments.checkpoints.clone();
    wanted.sort_unstable();
    wanted.dedup();
    if let Some(missing) = wanted.iter().find(|step| !saved.contains(step)) {
        let there: Vec<String> = saved.iter().map(u64::to_string).collect();
        let message = format!(
            "the run has kept no checkpoint of step {missing}; there are {}",
            there.join(", ")
        );
        return Err(Diagnostic::file("--checkpoints", message).into());
    }
    Ok(wanted)
}

fn seen(plan: &Plan, extent: &Extent, run: &RecordedRun, ended: &Ended) -> anyhow::Result<Seen> {
    let points = |tag: &str| run.scalars.get(tag).cloned().unwrap_or_default();
    // A hook with a name of its own has it before the tag.
    let norms = |role: Role| {
        let tag = format!("train/{role}/gradient_norm");
        let tags = run.scalars.keys().filter(|name| name.ends_with(&tag));
        let longest = tags.max_by_key(|name| points(name).len());
        longest.map(|name| points(name)).unwrap_or_default()
    };
    let recorded = Recorded {
        rates: points("train/lr"),
        norms: Role::BOTH.map(norms),
    };
    Seen::new(plan, extent, ended.steps, &recorded)
}

/// What the estimate leaves out, in words.
fn left_out(plan: &Plan, seen: &Seen) -> Vec<String> {
    let mut notes = Vec::new();
    for role in &seen.unknown_clipping {
        notes.push(format!("clipping of the {role} model's gradients is left out: the run has not recorded their norm in every step (`[hooks.gradient-norm]` with `at = \"every step\"` does)"));
    }
    if plan.training.weight_decay.rate > 0.0 {
        notes.push("weight decay is left out: it takes a part of every earlier step's influence away again".to_owned());
    }
    notes
}

fn counts_matches(settings: &toml::Table) -> bool {
    let hooks = settings.get("hooks").and_then(toml::Value::as_table);
    hooks.into_iter().flatten().any(|(name, table)| {
        let kind = table.get("kind").and_then(toml::Value::as_str);
        OF_MATCHES.contains(&kind.unwrap_or(name))
    })
}

/// The checksum of everything that the estimate is made of, besides the inputs that the manifest names.
fn state(run: &Path, points: &[Point]) -> Result<String, RecordError> {
    let folders = points.iter().filter_map(|point| point.models.as_ref());
    let sums = folders.map(|folder| folder.join("SHA256SUMS"));
    let files: Vec<PathBuf> = [run.join(MANIFEST), run.join(OUTCOME)]
        .into_iter()
        .chain(sums.filter(|path| path.is_file()))
        .collect();
    let mut all = String::new();
    for path in files {
        let bytes = std::fs::read(&path);
        let bytes = bytes.map_err(|source| RecordError::Io { path, source })?;
        all += &sha256(&bytes);
    }
    Ok(sha256(all.as_bytes()))
}
