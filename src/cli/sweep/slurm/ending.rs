//! How a run ended, by its folder and by its task.

use super::queue::{Exit, Task};
use super::script::begins_at;
use super::watch::Run;
use crate::cli::sweep::runs::{Failed, Sweep};
use crate::cli::sweep::tally::complaint;
use crate::record::{Ended, State, Stop};

/// How a run ended.
pub(super) struct Ending {
    /// In words.
    pub how: String,
    /// Whether a hook failed in a run that is whole.
    pub hooks_failed: bool,
    /// Why, for a run that is not.
    pub failed: Option<Failed>,
}

impl Ending {
    /// How a run ended whose folder has this state. `task` is what the queue still knows of it.
    pub fn of(sweep: &Sweep, run: &Run, task: Option<&Task>, state: State) -> Self {
        let ended = Ended::read(&sweep.run(&run.cell)).ok().flatten();
        if state == State::Done {
            let hooks_failed = ended.is_some_and(|ended| ended.hooks_failed());
            let how = if hooks_failed {
                "done, but a hook failed"
            } else {
                "done"
            };
            return Self {
                how: how.to_owned(),
                hooks_failed,
                failed: None,
            };
        }
        let log = sweep.log(&run.cell);
        let code = code(task, state);
        let (how, why) = match code {
            Some(code) => {
                let from = begins_at(&log, &run.job.id, run.index);
                (format!("FAILED with {code}"), complaint(&log, from))
            }
            None => {
                let saved = ended.is_some_and(|ended| ended.stop == Stop::Interrupted);
                let how = if saved {
                    "stopped and saved"
                } else {
                    "FAILED: it was ended"
                };
                let why = format!("{}; the same command goes on with it", cause(task));
                (how.to_owned(), why)
            }
        };
        Self {
            how,
            hooks_failed: false,
            failed: Some(Failed {
                cell: run.cell.name.clone(),
                code,
                why,
                log,
            }),
        }
    }
}

/// The exit code of a run that failed. None where it was ended, or asked to stop.
fn code(task: Option<&Task>, state: State) -> Option<u8> {
    match task.and_then(|task| task.exit) {
        _ if state == State::Failed => Some(4),
        Some(Exit::Code(130)) => None,
        Some(Exit::Code(code)) => Some(code),
        Some(Exit::Signal(_)) | None => None,
    }
}

/// Why a task ended before its run was over, in words.
fn cause(task: Option<&Task>) -> String {
    let Some(task) = task else {
        return "the queue no longer knows its task".to_owned();
    };
    let words = match task.state.as_str() {
        "CANCELLED" => "its task was cancelled",
        "TIMEOUT" | "DEADLINE" => "its time was over (--time gives more)",
        "PREEMPTED" => "its task made room for another job",
        "NODE_FAIL" | "BOOT_FAIL" => "its node failed",
        "OUT_OF_MEMORY" => "it needed more memory than its task had (--mem gives more)",
        "COMPLETED" => {
            "its task ended well, but its outcome is not to be seen here: does this machine share the folder with the nodes?"
        }
        _ => match task.exit {
            Some(Exit::Code(130)) => {
                "it was asked to stop: its time was nearly over (--time gives more), or its task was preempted"
            }
            Some(Exit::Signal(_)) => "it was killed",
            Some(Exit::Code(_)) | None => "its task ended",
        },
    };
    format!("{words} ({})", task.state)
}
