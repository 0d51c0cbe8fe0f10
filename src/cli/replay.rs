//! `milepost replay`: the checkpoints of a run, seen with other hooks.

use std::path::{Path, PathBuf};

use clap::Args;

use super::plan::{places, read_resolved, read_source};
use super::terminal::{self, remark, say};
use super::{Where, going_on, progress, run_name, summary};
use crate::checksum::Sum;
use crate::diagnostic::Diagnostic;
use crate::experiment::{parse, resolve_replay};
use crate::hook::Registry;
use crate::manifest::Manifest;
use crate::report::RecordedRun;
use crate::train::{Ended, MILESTONES, OUTCOME, Outcome, RecordError, Stop, lock, points, replay};

#[derive(Args)]
pub(super) struct Arguments {
    /// The directory of a run, such as runs/ag_news/2026-11-23T19-52-07.
    run: PathBuf,
    /// A TOML file with [hooks]; their `at` does not matter, every hook sees every checkpoint [default: the run's own hooks].
    #[arg(long, value_name = "FILE")]
    hooks: Option<PathBuf>,
    /// Name of the replay, under RUN/replay [default: the time it starts].
    #[arg(long)]
    name: Option<String>,
    /// Measure although the run's inputs are not what they were; the replay's manifest and its report say so.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    places: Where,
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> anyhow::Result<u8> {
    let written = read_resolved(&arguments.run)?;
    let hooks = match &arguments.hooks {
        Some(path) => Some((
            parse(read_source(path)?, &[])?,
            path.parent().unwrap_or(Path::new("")),
        )),
        None => None,
    };
    if let Some(name) = &arguments.name {
        run_name::check("--name", name)?;
    }
    let folder = arguments.run.join("replay");
    let directory = match &arguments.name {
        Some(name) => folder.join(name),
        None => run_name::fresh(&folder),
    };
    refuse_taken(&directory)?;
    // It gets its name when it is whole.
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let aside = directory.with_file_name(format!(".unfinished-{name}"));
    // The paths of a run's experiment are absolute.
    let places = places(&arguments.places, Path::new(""), "replay", &aside);
    let mut downloads = progress::Downloads::default();
    let mut resolved = resolve_replay(
        &written,
        hooks.as_ref().map(|(written, base)| (written, *base)),
        registry,
        &places,
        &mut |name, done, total| {
            downloads.report(name, done, total);
        },
    )?;
    for note in &resolved.notes {
        remark!("note: {note}");
    }
    let other_hooks = arguments.hooks.is_some();
    going_on::replay(
        &arguments.run,
        &mut resolved.plan,
        other_hooks,
        arguments.force,
    )?;
    let plan = resolved.plan;
    if plan.hooks.is_empty() {
        let message = "no hook is left that could measure checkpoints; name some by --hooks";
        return Err(Diagnostic::file(arguments.run.display().to_string(), message).into());
    }
    let points = points(&arguments.run, &plan)?;
    let steps: Vec<String> = points
        .iter()
        .map(|point| point.clock.step.to_string())
        .collect();
    say!(
        "measuring steps {} of {}",
        steps.join(", "),
        arguments.run.display()
    );
    if points.len() == 1 {
        say!("the run has saved nothing: give its experiment a `train.save`");
    }
    let origin = plan.origin.clone();
    let beside = [
        ("experiment.toml", plan.resolved.clone()),
        (
            "manifest.json",
            Manifest::sealed(plan.manifest.clone()).text(),
        ),
    ];
    clear(&aside)?;
    refuse_taken(&directory)?;
    let mut reporter = progress::reporter(plan.extent.steps());
    let outcome = replay(plan, &points, reporter.as_mut(), Some(progress::watch()));
    drop(reporter);
    let mut outcome = outcome?;
    for (name, text) in beside {
        super::report::write(&aside.join(name), &text)?;
    }
    if let Some(ended) = ended(&arguments.run, &aside, &outcome)? {
        let text = String::from_utf8_lossy(&ended.bytes()).into_owned();
        super::report::write(&aside.join(OUTCOME), &text)?;
    }
    std::fs::rename(&aside, &directory).map_err(|source| RecordError::Io {
        path: directory.clone(),
        source,
    })?;
    outcome.directory = directory.clone();
    let recorded = RecordedRun::read(&directory, registry);
    terminal::out(&summary::table(&outcome, &origin, recorded.as_ref().ok()));
    crate::report::write_for(&recorded?)?;
    Ok(if outcome.failures.is_empty() { 0 } else { 6 })
}

fn refuse_taken(directory: &Path) -> Result<(), Diagnostic> {
    if directory.exists() {
        let message = "this replay exists already; give another --name";
        return Err(Diagnostic::file(directory.display().to_string(), message));
    }
    Ok(())
}

/// Removes what an earlier try left, unless another process is at work in it.
fn clear(aside: &Path) -> Result<(), RecordError> {
    let failed = |source| RecordError::Io {
        path: aside.to_owned(),
        source,
    };
    std::fs::create_dir_all(aside).map_err(failed)?;
    let _lock = lock(aside)?;
    for entry in std::fs::read_dir(aside).map_err(failed)?.flatten() {
        let path = entry.path();
        let removed = match path.is_dir() {
            true => std::fs::remove_dir_all(&path),
            // The lock must stay the one that others look at.
            false if entry.file_name() == ".lock" => Ok(()),
            false => std::fs::remove_file(&path),
        };
        removed.map_err(failed)?;
    }
    Ok(())
}

/// The end of a replay: that of the run, with what the replay itself has written. None where the run has no end.
fn ended(run: &Path, aside: &Path, outcome: &Outcome) -> anyhow::Result<Option<Ended>> {
    let Some(of_run) = Ended::read(run)? else {
        return Ok(None);
    };
    let hooks = outcome.failures.clone();
    let stop = match of_run.stop {
        // Whether a hook spoke is another question here.
        Stop::Complete | Stop::Incomplete if hooks.is_empty() => Stop::Complete,
        Stop::Complete | Stop::Incomplete => Stop::Incomplete,
        other => other,
    };
    let path = aside.join(MILESTONES);
    let sum = Sum::of_file(&path).map_err(|source| RecordError::Io { path, source })?;
    let reason = match stop {
        Stop::Complete => None,
        Stop::Incomplete => Some("a hook that was due did not speak".to_owned()),
        _ => of_run.reason,
    };
    Ok(Some(Ended {
        stop,
        reason,
        steps: of_run.steps,
        milestones: Some(sum.end()),
        hooks,
    }))
}
