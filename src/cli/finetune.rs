//! `milepost finetune`: the run itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;

use super::plan::{describe, read, read_resolved};
use super::terminal::{self, remark, say};
use super::{Selection, progress, run_name, summary};
use crate::diagnostic::Diagnostic;
use crate::experiment::resolve;
use crate::hook::Registry;
use crate::train::{RunDirectory, StopReason, finetune};

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Folder that runs are written under.
    #[arg(long, default_value = "runs", value_name = "FOLDER")]
    runs: PathBuf,
    /// Name of this run [default: the time it starts].
    #[arg(long)]
    name: Option<String>,
    /// Go on with a run that was killed or stopped, from its newest checkpoint: the name of the run.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["name", "overrides", "no_hooks", "device"])]
    resume: Option<String>,
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> anyhow::Result<u8> {
    let selection = &arguments.selection;
    let experiment = super::plan::find(&selection.experiment)?;
    let stem = experiment
        .file_stem()
        .map(PathBuf::from)
        .unwrap_or_default();
    let folder = arguments.runs.join(stem);
    for (option, name) in [("--name", &arguments.name), ("--resume", &arguments.resume)] {
        if let Some(name) = name {
            run_name::check(option, name)?;
        }
    }
    let resuming = arguments.resume.as_ref();
    let directory = match resuming.or(arguments.name.as_ref()) {
        Some(name) => folder.join(name),
        None => run_name::fresh(&folder),
    };
    let (written, places) = read(selection, &directory)?;
    let (written, places) = match resuming {
        None => (written, places),
        Some(_) => {
            let mut places = places;
            // Its paths are absolute.
            places.base = PathBuf::new();
            (read_resolved(&directory)?, places)
        }
    };
    if resuming.is_none() && RunDirectory::is_taken(&directory) {
        let message = "this run exists already; give another --name, or go on with it by --resume";
        return Err(Diagnostic::file(directory.display().to_string(), message).into());
    }
    let mut downloads = progress::Downloads::default();
    let resolved = resolve(&written, registry, &places, &mut |name, done, total| {
        downloads.report(name, done, total);
    })?;
    terminal::out(&describe(&resolved, false));
    say!("run       {}\n", directory.display());
    let origin = resolved.plan.origin.clone();
    let interrupt = interrupt_flag()?;
    let mut reporter = progress::reporter(resolved.plan.extent.steps());
    let outcome = finetune(
        resolved.plan,
        resuming.is_some(),
        reporter.as_mut(),
        &interrupt,
    );
    drop(reporter);
    let outcome = outcome?;
    terminal::out(&summary::table(&outcome, &origin));
    crate::report::write_for(&outcome.directory)?;
    if outcome.stop == StopReason::Interrupted {
        // Below the experiment's folder: the runs of a sweep lie in one of their own.
        let name = directory.strip_prefix(&folder).unwrap_or(&directory);
        say!(
            "stopped by Ctrl-C after step {}; go on with --resume {}",
            outcome.clock.step,
            name.display()
        );
        return Ok(130);
    }
    Ok(if outcome.failures.is_empty() { 0 } else { 6 })
}

/// A flag that the first Ctrl-C (or SIGTERM) sets; one that comes a second later or more ends the process. What comes sooner is taken for the
/// same: the system tells the runs of a sweep that was killed once for each of its threads.
pub(super) fn interrupt_flag() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = flag.clone();
    let mut first: Option<Instant> = None;
    ctrlc::set_handler(move || match first {
        None => {
            first = Some(Instant::now());
            set.store(true, Ordering::Relaxed);
            remark!("\nstopping after this step; Ctrl-C again to leave at once without saving");
        }
        Some(first) if first.elapsed() >= Duration::from_secs(1) => std::process::exit(130),
        Some(_) => {}
    })?;
    Ok(flag)
}
