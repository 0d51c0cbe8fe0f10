//! `milepost sweep`: one experiment with many seeds and settings, a process each.
//!
//! A way to run many runs, [`processes`] or [`slurm`], takes a [`Sweep`] and the runs that wait, and gives [`Work`](runs::Work).
//! [`engine`] names them.

mod attribution;
mod engine;
mod grid;
mod heat_map;
mod mean;
mod pooling;
mod printing;
mod processes;
mod runs;
mod slurm;
mod tally;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;

pub(super) use self::engine::Engine;
use self::engine::Kind;
use self::grid::cells;
pub(super) use self::grid::{Cell, refuse_twins};
use self::runs::Failed;
pub(super) use self::runs::Sweep;
pub(super) use self::slurm::SlurmError;
use super::Selection;
use super::experiments::{Found, find};
use super::finetune::{STOPPING, interrupt_flag};
use super::terminal::{remark, say};
use crate::diagnostic::Diagnostic;
use crate::record::{Ended, HookFailure, RecordError, State, Stop, lock, name};
use crate::registry::Registry;

/// Every combination of the seeds and of the values of each --grid is a run of its own, in runs/<experiment>/<name>/<settings>, started by one
/// `milepost finetune` command with nothing shared but that directory. A sweep that is started again leaves finished runs alone, goes on
/// with those that were killed from their newest checkpoint, and runs what is missing. A run that failed by an error that would come again
/// is listed, and not begun again.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub selection: Selection,
    /// Training seeds.
    #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
    pub seeds: Vec<u64>,
    /// A setting and its values, as in --grid train.lr=1e-5,5e-5; may be given several times.
    #[arg(long, value_name = "KEY=VALUE,VALUE ...")]
    pub grid: Vec<String>,
    #[command(flatten)]
    pub engine: Engine,
    /// Folder that runs are written under.
    #[arg(long, default_value = "runs", value_name = "FOLDER")]
    pub runs: PathBuf,
    /// Name of the sweep.
    #[arg(long, default_value = "sweep")]
    pub name: String,
    /// Print the commands of the runs that are missing, one a line, and run nothing: for any scheduler. With --engine slurm, print the script
    /// for sbatch.
    #[arg(long)]
    pub print: bool,
    /// Go on, and pool, although the runs' inputs are not what they were; pooled.json and the report say so.
    #[arg(long)]
    pub force: bool,
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> anyhow::Result<u8> {
    arguments.engine.check()?;
    name::check("--name", &arguments.name)?;
    let cells = cells(arguments)?;
    let stop = stop_flag(arguments.engine.kind)?;
    carry_out(arguments, &cells, &stop, &|sweep| {
        pooling::summarise(sweep, registry)
    })
}

/// The folder of a sweep.
pub(super) fn folder(arguments: &Arguments) -> Result<PathBuf, Diagnostic> {
    let experiment = find(&arguments.selection.experiment)?;
    let runs = arguments.runs.join(experiment.stem());
    Ok(runs.join(&arguments.name))
}

/// A flag that Ctrl-C sets: it ends what the sweep does. Processes then save and end, jobs in a queue go on.
pub(super) fn stop_flag(engine: Kind) -> anyhow::Result<Arc<AtomicBool>> {
    match engine {
        Kind::Processes => interrupt_flag(STOPPING, || {
            "the runs under way save and end by themselves".to_owned()
        }),
        Kind::Slurm => interrupt_flag(slurm::LEAVING, || "the jobs go on".to_owned()),
    }
}

/// Runs those of `cells` that are missing, until `stop` is set, and lets `summarise` say what all of them say together. Returns the exit code.
pub(super) fn carry_out(
    arguments: &Arguments,
    cells: &[Cell],
    stop: &AtomicBool,
    summarise: &dyn Fn(&Sweep) -> anyhow::Result<()>,
) -> anyhow::Result<u8> {
    let experiment = find(&arguments.selection.experiment)?;
    let folder = folder(arguments)?;
    begin(arguments, &experiment, &folder)?;
    let sweep = Sweep {
        arguments,
        folder: &folder,
        cells,
    };
    let states: Vec<State> = cells.iter().map(|cell| sweep.state(cell)).collect();
    let missing = cells.iter().zip(&states);
    let missing = missing.filter(|(_, state)| matches!(state, State::Missing | State::Begun));
    let waiting: VecDeque<Cell> = missing.map(|(cell, _)| cell.clone()).collect();
    if arguments.print {
        match arguments.engine.kind {
            Kind::Processes => printing::print(&sweep, &waiting),
            Kind::Slurm => slurm::print(&sweep, &waiting)?,
        }
        return Ok(0);
    }
    let _lock = lock(&folder)?;
    let failed_before = states
        .iter()
        .filter(|state| **state == State::Failed)
        .count();
    say!(
        "{} runs in {}: {} done, {}{} to do, {}",
        cells.len(),
        folder.display(),
        cells.len() - waiting.len() - failed_before,
        match failed_before {
            0 => String::new(),
            count => format!("{count} failed, "),
        },
        waiting.len(),
        arguments.engine.at_a_time()
    );
    let before = cells.iter().zip(&states);
    let before = before.filter(|(_, state)| **state == State::Failed);
    let mut failed: Vec<Failed> = before.map(|(cell, _)| sweep.failed_before(cell)).collect();
    let work = match arguments.engine.kind {
        Kind::Processes => processes::work(&sweep, waiting, stop)?,
        Kind::Slurm => slurm::work(&sweep, waiting, stop)?,
    };
    failed.extend(work.failed);
    let summarised = summarise(&sweep);
    for failure in &failed {
        remark!("run {} failed: {}", failure.cell, failure.why);
        remark!("  all it said: {}", failure.log.display());
    }
    if let Some(what_now) = work.interrupted {
        say!("stopped by Ctrl-C; {what_now}");
        return Ok(130);
    }
    summarised?;
    if let Some(error) = work.error {
        return Err(error);
    }
    let silent = silent_hooks(&folder, cells);
    for said in &silent {
        remark!("{said}");
    }
    let hooks_failed = work.hooks_failed || !silent.is_empty();
    Ok(exit_code(&failed, hooks_failed))
}

/// The hooks that failed in runs that are over, in words.
fn silent_hooks(folder: &Path, cells: &[Cell]) -> Vec<String> {
    let ended = cells.iter().filter_map(|cell| {
        let ended = Ended::read(&folder.join(&cell.name)).ok()??;
        Some((cell, ended))
    });
    let said = ended.flat_map(|(cell, ended)| {
        let failures = ended.hooks.iter().map(|failure| {
            let HookFailure {
                name,
                step,
                message,
            } = failure;
            format!(
                "run {}: hook `{name}` failed at step {step}: {message}",
                cell.name
            )
        });
        let mut said: Vec<String> = failures.collect();
        if ended.stop == Stop::Incomplete && said.is_empty() {
            said.push(format!(
                "run {}: a hook that was due did not report",
                cell.name
            ));
        }
        said
    });
    said.collect()
}

/// That of all runs that failed if they have one in common, else 4; 6 if none failed but a hook did.
fn exit_code(failed: &[Failed], hooks_failed: bool) -> u8 {
    let Some(first) = failed.first() else {
        return if hooks_failed { 6 } else { 0 };
    };
    let common = failed.iter().all(|failure| failure.code == first.code);
    first.code.filter(|_| common).unwrap_or(4)
}

/// Keeps what the sweep is of beside its runs; another experiment under the same name would be pooled with the runs of this one.
fn begin(arguments: &Arguments, experiment: &Found, folder: &Path) -> anyhow::Result<()> {
    let text = experiment.source()?.text;
    let selection = &arguments.selection;
    let device = selection.device.clone().unwrap_or_default();
    let now = format!(
        "# --set {:?} --device {device:?} --no-hooks {}\n{text}",
        selection.overrides, selection.no_hooks
    );
    let path = folder.join("sweep.toml");
    match std::fs::read_to_string(&path) {
        Ok(then) if then == now => return Ok(()),
        Ok(_) => {
            let message = "this sweep was begun with another experiment or other --set; give it another --name, or remove its folder";
            return Err(Diagnostic::file(folder.display().to_string(), message).into());
        }
        Err(_) => {}
    }
    std::fs::create_dir_all(folder).map_err(|source| RecordError::Io {
        path: folder.to_owned(),
        source,
    })?;
    super::report::write(&path, &now)?;
    Ok(())
}
