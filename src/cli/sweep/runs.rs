//! The runs of a sweep, as every way to run them sees them.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Arguments;
use super::grid::Cell;
use crate::record::{Ended, State, experiment};

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
    /// What kept the others from being run.
    pub error: Option<anyhow::Error>,
    /// What becomes of the runs that are not over, where Ctrl-C ended the work.
    pub interrupted: Option<String>,
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
        State::of(&self.run(cell))
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

    /// The command that begins a run or goes on with it, as far as it is now.
    pub fn command(&self, cell: &Cell) -> Command {
        let mut command = self.finetune();
        match self.state(cell) {
            State::Begun => {
                command.arg("--resume").arg(self.name(cell));
            }
            State::Missing | State::Done | State::Failed => self.begin(&mut command, cell),
        }
        self.end(&mut command);
        command
    }

    /// The command of a run however far it is, for a scheduler that starts it later, and perhaps again.
    pub fn command_at_any_time(&self, cell: &Cell) -> Command {
        let mut command = self.finetune();
        self.begin(&mut command, cell);
        command.arg("--or-resume");
        self.end(&mut command);
        command
    }

    /// A run's name, seen from the folder of its experiment.
    fn name(&self, cell: &Cell) -> String {
        format!("{}/{}", self.arguments.name, cell.name)
    }

    /// What all commands begin with.
    fn finetune(&self) -> Command {
        let program = std::env::current_exe().unwrap_or_else(|_| "milepost".into());
        let mut command = Command::new(program);
        command.args(["finetune", &self.arguments.selection.experiment, "--runs"]);
        command.arg(&self.arguments.runs);
        command
    }

    /// The options of a run that begins.
    fn begin(&self, command: &mut Command, cell: &Cell) {
        let selection = &self.arguments.selection;
        command.arg("--name").arg(self.name(cell));
        let own = cell.overrides.join(" ");
        for text in selection.overrides.iter().chain([&own]) {
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

    /// What all commands end with.
    fn end(&self, command: &mut Command) {
        if self.arguments.force {
            command.arg("--force");
        }
        let places = &self.arguments.selection.places;
        for (option, folder) in [("--data", &places.data), ("--cache", &places.cache)] {
            if let Some(folder) = folder {
                command.arg(option).arg(folder);
            }
        }
        if places.offline {
            command.arg("--offline");
        }
    }
}
