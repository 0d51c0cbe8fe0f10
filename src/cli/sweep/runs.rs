//! The runs of a sweep, as every way to run them sees them.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Arguments;
use super::grid::Cell;
use crate::record::{Ended, Stop, experiment};

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum State {
    /// Nothing is there yet.
    Missing,
    /// It was killed or stopped, or is under way.
    Begun,
    /// It is over.
    Done,
    /// It ended by an error that would come again.
    Failed,
}

/// A run that failed.
pub(in crate::cli) struct Failed {
    pub cell: String,
    /// Its exit code; none where a signal ended it.
    pub code: Option<u8>,
    pub why: String,
    pub log: PathBuf,
}

/// What became of the runs.
#[derive(Default)]
pub(super) struct Work {
    /// Those that failed.
    pub failed: Vec<Failed>,
    /// Whether a hook failed in one that is whole.
    pub hooks_failed: bool,
}

/// A sweep.
pub(in crate::cli) struct Sweep<'a> {
    /// How it was called.
    pub arguments: &'a Arguments,
    /// Its folder.
    pub folder: &'a Path,
    /// All of its runs.
    pub cells: &'a [Cell],
}

impl Sweep<'_> {
    /// The folder of a run.
    pub fn run(&self, cell: &Cell) -> PathBuf {
        self.folder.join(&cell.name)
    }

    /// How far a run is.
    pub fn state(&self, cell: &Cell) -> State {
        let run = self.run(cell);
        let begun = experiment::is_there(&run);
        match Ended::read(&run).map(|ended| ended.map(|ended| ended.stop)) {
            Ok(Some(Stop::Failed)) => State::Failed,
            Ok(Some(Stop::Complete | Stop::Incomplete | Stop::Requested)) => State::Done,
            // With less than that on disk there is nothing to go on from.
            Ok(Some(Stop::Interrupted) | None) | Err(_) if begun => State::Begun,
            Ok(Some(Stop::Interrupted) | None) | Err(_) => State::Missing,
        }
    }

    /// The file that holds all that a run says.
    pub fn log(&self, cell: &Cell) -> PathBuf {
        self.folder.join(format!("{}.log", cell.name))
    }

    /// A run that failed in an earlier call, by an error that would come again.
    pub fn failed_before(&self, cell: &Cell) -> Failed {
        let run = self.run(cell);
        let ended = Ended::read(&run).ok().flatten();
        let reason = ended.and_then(|ended| ended.reason);
        let reason = reason.unwrap_or("its outcome.json says so".to_owned());
        let why = format!(
            "{reason}\n  it would fail again; to try it anew remove {}",
            run.display()
        );
        Failed {
            cell: cell.name.clone(),
            code: Some(4),
            why,
            log: self.log(cell),
        }
    }

    /// A run of the sweep that has begun, for others to be compared with.
    fn another(&self, cell: &Cell) -> Option<PathBuf> {
        let others = self.cells.iter().filter(|other| other.name != cell.name);
        let mut others = others.map(|other| self.run(other));
        // The experiment is written last.
        others.find(|run| experiment::is_there(run))
    }

    /// The command of one run.
    pub fn command(&self, cell: &Cell) -> Command {
        let arguments = self.arguments;
        let program = std::env::current_exe().unwrap_or_else(|_| "milepost".into());
        let mut command = Command::new(program);
        let selection = &arguments.selection;
        command.args(["finetune", &selection.experiment, "--runs"]);
        command.arg(&arguments.runs);
        let name = format!("{}/{}", arguments.name, cell.name);
        match self.state(cell) {
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
                if let Some(other) = self.another(cell) {
                    command.arg("--beside").arg(other);
                }
            }
        }
        if arguments.force {
            command.arg("--force");
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
}
