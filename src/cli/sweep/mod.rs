//! `milepost sweep`: one experiment with many seeds and settings, a process each.

mod grid;
mod pooling;
mod processes;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;

use anyhow::Context as _;
use clap::Args;

use self::grid::{Cell, cells};
use self::processes::Failure;
use super::finetune::interrupt_flag;
use super::plan::find;
use super::terminal::{remark, say};
use super::{Selection, run_name};
use crate::diagnostic::Diagnostic;
use crate::train::{RecordError, lock};

/// Every combination of the seeds and of the values of each --grid is a run of its own, in runs/<experiment>/<name>/<settings>, started by one
/// `milepost finetune` command with nothing shared but that directory. A sweep that is started again leaves finished runs alone, goes on
/// with those that were killed from their newest checkpoint, and runs what is missing.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Training seeds.
    #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
    seeds: Vec<u64>,
    /// A setting and its values, as in --grid train.lr=1e-5,5e-5; may be given several times.
    #[arg(long, value_name = "KEY=VALUE,VALUE ...")]
    grid: Vec<String>,
    /// Runs at the same time; they share the processor's cores.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
    /// Folder that runs are written under.
    #[arg(long, default_value = "runs", value_name = "FOLDER")]
    runs: PathBuf,
    /// Name of the sweep.
    #[arg(long, default_value = "sweep")]
    name: String,
    /// Print the commands of the runs that are missing, one a line, and run nothing: for a cluster's scheduler.
    #[arg(long)]
    print: bool,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Missing,
    Begun,
    Done,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    run_name::check("--name", &arguments.name)?;
    let experiment = find(&arguments.selection.experiment)?;
    let stem = experiment.file_stem().unwrap_or_default();
    let folder = arguments.runs.join(stem).join(&arguments.name);
    let cells = cells(arguments)?;
    begin(arguments, &experiment, &folder)?;
    let missing = cells
        .iter()
        .filter(|cell| state(&folder.join(&cell.name)) != State::Done);
    let waiting: VecDeque<Cell> = missing.cloned().collect();
    if arguments.print {
        for cell in &waiting {
            say!("{}", shown(&command(arguments, &folder, cell)));
        }
        return Ok(0);
    }
    let _lock = lock(&folder)?;
    say!(
        "{} runs in {}: {} done, {} to do, {} at a time",
        cells.len(),
        folder.display(),
        cells.len() - waiting.len(),
        waiting.len(),
        arguments.jobs
    );
    let stop = interrupt_flag(|| "the runs under way save and end by themselves".to_owned())?;
    let failed = processes::work(arguments, &folder, waiting, &stop)?;
    let interrupted = stop.load(Ordering::Relaxed);
    let summarised = pooling::summarise(&folder, &cells);
    for failure in &failed {
        remark!("run {} failed: {}", failure.cell, failure.why);
        remark!("  all it said: {}", failure.log.display());
    }
    if interrupted {
        say!("stopped by Ctrl-C; the same command goes on");
        return Ok(130);
    }
    summarised?;
    Ok(exit_code(&failed))
}

/// That of all runs that failed if they have one in common, else 4.
fn exit_code(failed: &[Failure]) -> u8 {
    let Some(first) = failed.first() else {
        return 0;
    };
    let common = failed.iter().all(|failure| failure.code == first.code);
    first.code.filter(|_| common).unwrap_or(4)
}

/// Keeps what the sweep is of beside its runs; another experiment under the same name would be pooled with the runs of this one.
fn begin(arguments: &Arguments, experiment: &Path, folder: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(experiment)
        .with_context(|| format!("cannot read {}", experiment.display()))?;
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

fn state(run: &Path) -> State {
    let outcome = std::fs::read_to_string(run.join("outcome.json"));
    let outcome = outcome
        .ok()
        .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    match outcome {
        Some(outcome) if outcome["stop"] != "interrupted" => State::Done,
        // With less than that on disk there is nothing to go on from.
        _ if run.join("experiment.toml").is_file() => State::Begun,
        _ => State::Missing,
    }
}

/// The command of one run.
fn command(arguments: &Arguments, folder: &Path, cell: &Cell) -> Command {
    let program = std::env::current_exe().unwrap_or_else(|_| "milepost".into());
    let mut command = Command::new(program);
    let selection = &arguments.selection;
    command.args(["finetune", &selection.experiment, "--runs"]);
    command.arg(&arguments.runs);
    let name = format!("{}/{}", arguments.name, cell.name);
    match state(&folder.join(&cell.name)) {
        State::Begun => {
            command.args(["--resume", &name]);
        }
        _ => {
            command.args(["--name", &name]);
            for text in selection
                .overrides
                .iter()
                .chain([&cell.overrides.join(" ")])
            {
                command.args(["--set", text]);
            }
            if let Some(device) = &selection.device {
                command.args(["--device", device]);
            }
            if selection.no_hooks {
                command.arg("--no-hooks");
            }
        }
    }
    for (option, folder) in [
        ("--data", &selection.places.data),
        ("--cache", &selection.places.cache),
    ] {
        if let Some(folder) = folder {
            command.arg(option).arg(folder);
        }
    }
    if selection.places.offline {
        command.arg("--offline");
    }
    command
}

/// A command as a shell takes it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted = words.map(|word| {
        let word = word.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:@+".contains(c);
        match word.chars().all(plain) && !word.is_empty() {
            true => word.into_owned(),
            false => format!("'{}'", word.replace('\'', "'\\''")),
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}
