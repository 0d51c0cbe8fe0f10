//! `milepost replay`: calls hooks at the checkpoints of a finished run.

use std::path::{Path, PathBuf};

use clap::Args;

use super::experiments::read_source;
use super::plan::{places, read_resolved};
use super::terminal::{self, remark, say};
use super::{Where, going_on, progress, summary};
use crate::checksum::Sum;
use crate::diagnostic::Diagnostic;
use crate::experiment::{parse, resolve_replay};
use crate::record::folder::{clear, unfinished};
use crate::record::layout::{MILESTONES, REPLAYS};
use crate::record::{Ended, RecordError, RunDirectory, Stop, experiment, name};
use crate::registry::Registry;
use crate::report::RecordedRun;
use crate::train::{Outcome, points, replay};

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
    if let Some(given) = &arguments.name {
        name::check("--name", given)?;
    }
    let folder = arguments.run.join(REPLAYS);
    let directory = match &arguments.name {
        Some(name) => folder.join(name),
        None => name::fresh(&folder),
    };
    refuse_taken(&directory)?;
    // The folder gets its final name when everything is written.
    let aside = unfinished(&directory);
    // The paths of a run's experiment are absolute.
    let places = places(&arguments.places, Path::new(""), &aside);
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
    let (manifest, resolved) = (plan.manifest.clone(), plan.resolved.clone());
    clear(&aside)?;
    refuse_taken(&directory)?;
    let mut reporter = progress::reporter(plan.extent.steps(), None);
    let outcome = replay(plan, &points, reporter.as_mut(), Some(progress::watch()));
    drop(reporter);
    let mut outcome = outcome?;
    let written = RunDirectory::existing(&aside)?;
    experiment::write(&written, &resolved)?;
    manifest.write(&written)?;
    if let Some(ended) = ended(&arguments.run, &aside, &outcome)? {
        ended.write(&written)?;
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

/// The outcome of a replay: how the run ended, with the replay's own milestones and failures. None when the run has no outcome.
fn ended(run: &Path, aside: &Path, outcome: &Outcome) -> anyhow::Result<Option<Ended>> {
    let Some(of_run) = Ended::read(run)? else {
        return Ok(None);
    };
    let hooks = outcome.failures.clone();
    let stop = match of_run.stop {
        // Whether every hook reported is decided by the replay's hooks, not by the run's.
        Stop::Complete | Stop::Incomplete if hooks.is_empty() => Stop::Complete,
        Stop::Complete | Stop::Incomplete => Stop::Incomplete,
        other => other,
    };
    let path = aside.join(MILESTONES);
    let sum = Sum::of_file(&path).map_err(|source| RecordError::Io { path, source })?;
    let reason = match stop {
        Stop::Complete => None,
        Stop::Incomplete => Some("a hook that was due did not report".to_owned()),
        _ => of_run.reason,
    };
    Ok(Some(Ended {
        stop,
        reason,
        steps: of_run.steps,
        milestones: Some(sum.end()),
        hooks,
        interventions: of_run.interventions,
        jumps: of_run.jumps,
    }))
}
