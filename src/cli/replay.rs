//! `milepost replay`: the checkpoints of a run, seen with other hooks.

use std::path::{Path, PathBuf};

use clap::Args;

use super::plan::{places, read_resolved, read_source};
use super::terminal::{self, remark, say};
use super::{Where, progress, run_name, summary};
use crate::diagnostic::Diagnostic;
use crate::experiment::{parse, resolve_replay};
use crate::hook::Registry;
use crate::train::{RecordError, points, replay};

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
    if directory.exists() {
        let message = "this replay exists already; give another --name";
        return Err(Diagnostic::file(directory.display().to_string(), message).into());
    }
    // It gets its name when it is whole.
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let aside = directory.with_file_name(format!(".unfinished-{name}"));
    // What an earlier try left, if any.
    let _ = std::fs::remove_dir_all(&aside);
    // The paths of a run's experiment are absolute.
    let places = places(&arguments.places, Path::new(""), "replay", &aside);
    let mut downloads = progress::Downloads::default();
    let resolved = resolve_replay(
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
    let (origin, text) = (plan.origin.clone(), plan.resolved.clone());
    let mut reporter = progress::reporter(plan.extent.steps(), progress::Saved::default());
    let outcome = replay(plan, &points, reporter.as_mut(), Some(progress::watch()));
    drop(reporter);
    let mut outcome = outcome?;
    let path = aside.join("experiment.toml");
    super::report::write(&path, &text)?;
    std::fs::rename(&aside, &directory).map_err(|source| RecordError::Io {
        path: directory.clone(),
        source,
    })?;
    outcome.directory = directory.clone();
    crate::report::write_for(&directory)?;
    terminal::out(&summary::table(&outcome, &origin));
    Ok(if outcome.failures.is_empty() { 0 } else { 6 })
}
