//! The runs of a sweep as one array job of a Slurm cluster, a task a run.
//!
//! Nothing of ours runs between two commands. `slurm.json` in the sweep's folder says which run is which task ([`ledger`]), squeue how far
//! the task is ([`queue`]), and the run's folder how far the run is.

mod ending;
mod error;
mod job;
mod ledger;
mod options;
mod patience;
mod queue;
mod reason;
mod script;
#[cfg(test)]
mod tests;
mod tool;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicBool;

pub(in crate::cli) use self::error::SlurmError;
use self::ledger::{Ledger, Submission};
pub(in crate::cli) use self::options::Options;
use self::queue::Stage;
use self::script::Script;
use self::watch::{Run, watch};
use super::grid::Cell;
use super::runs::{Sweep, Work};
use crate::cli::terminal::{self, say};
use crate::record::{State, name};

/// What the first Ctrl-C says.
pub(super) const LEAVING: &str = "leaving the jobs in the queue";

/// Prints the script of the runs that wait.
///
/// # Errors
/// As [`Script::new`].
pub(super) fn print(sweep: &Sweep, waiting: &VecDeque<Cell>) -> anyhow::Result<()> {
    let cells: Vec<Cell> = waiting.iter().cloned().collect();
    if !cells.is_empty() {
        let script = Script::new(sweep, &cells, &title(sweep))?;
        terminal::out(&script.text);
    }
    Ok(())
}

/// Waits for the runs that are in the queue already, submits the others as one array job, and waits for all of them or until `stop` is set.
///
/// # Errors
/// When Slurm is not there, does not answer, does not take the runs, or can never begin them; when `slurm.json` cannot be read or written.
pub(super) fn work(
    sweep: &Sweep,
    waiting: VecDeque<Cell>,
    stop: &AtomicBool,
) -> anyhow::Result<Work> {
    if waiting.is_empty() {
        return Ok(Work::default());
    }
    let mut ledger = Ledger::read(sweep.folder)?;
    find_lost(&mut ledger)?;
    let mut waiting: BTreeMap<String, Cell> = by_name(waiting);
    let mut runs = attach(&mut ledger, &mut waiting)?;
    ledger.write()?;
    // A task may have ended while the queue was asked.
    waiting.retain(|_, cell| matches!(sweep.state(cell), State::Missing | State::Begun));
    if !waiting.is_empty() {
        let cells = sweep.cells.iter();
        let cells = cells.filter(|cell| waiting.contains_key(&cell.name));
        runs.extend(submit(sweep, &mut ledger, cells.cloned().collect())?);
    }
    Ok(watch(sweep, runs, stop)?)
}

fn by_name(cells: VecDeque<Cell>) -> BTreeMap<String, Cell> {
    let cells = cells.into_iter();
    cells.map(|cell| (cell.name.clone(), cell)).collect()
}

/// Finds jobs whose number was not written down because the command ended while sbatch was at work.
fn find_lost(ledger: &mut Ledger) -> Result<(), SlurmError> {
    let mut all = ledger.submissions.iter_mut();
    while let Some(submission) = all.find(|one| one.job.is_none()) {
        submission.job = queue::named(&submission.name)?;
    }
    ledger.submissions.retain(|one| one.job.is_some());
    Ok(())
}

/// Takes those out of `waiting` that the queue has, and keeps only jobs in the ledger that are in the queue.
fn attach(
    ledger: &mut Ledger,
    waiting: &mut BTreeMap<String, Cell>,
) -> Result<Vec<Run>, SlurmError> {
    let mut runs = Vec::new();
    let mut kept = Vec::new();
    for submission in std::mem::take(&mut ledger.submissions) {
        let Some(job) = submission.job.clone() else {
            continue;
        };
        let mut tasks = queue::tasks(&job)?;
        tasks.retain(|_, task| task.stage() != Stage::Over);
        let (mut all, mut running) = (0, 0);
        for (index, name) in submission.runs.iter().enumerate() {
            if let Some(task) = tasks.get(&index)
                && let Some(cell) = waiting.remove(name)
            {
                all += 1;
                running += usize::from(task.stage() == Stage::Running);
                runs.push(Run::new(cell, job.clone(), index, task.stage()));
            }
        }
        if all > 0 {
            let all = counted(all);
            say!("job {job} has {all} already, {running} of them under way");
        }
        if !tasks.is_empty() {
            kept.push(submission);
        }
    }
    ledger.submissions = kept;
    Ok(runs)
}

/// Submits runs as one array job. It stands in the ledger before sbatch is called, so that none can be lost.
fn submit(sweep: &Sweep, ledger: &mut Ledger, cells: Vec<Cell>) -> anyhow::Result<Vec<Run>> {
    let name = format!("{}-{}-{}", title(sweep), name::now(), std::process::id());
    let script = Script::new(sweep, &cells, &name)?;
    ledger.submissions.push(Submission {
        name,
        job: None,
        runs: cells.iter().map(|cell| cell.name.clone()).collect(),
    });
    ledger.write()?;
    let job = match job::submit(&script) {
        Ok(job) => job,
        Err(error) => {
            // A refused one stays, since sbatch may have given up waiting for an answer; the next command asks the queue for its name.
            if !matches!(error, SlurmError::Refused { .. }) {
                ledger.submissions.pop();
                ledger.write()?;
            }
            return Err(error.into());
        }
    };
    if let Some(submission) = ledger.submissions.last_mut() {
        submission.job = Some(job.clone());
    }
    ledger.write()?;
    say!("job {job} submitted: {}", counted(cells.len()));
    let runs = cells.into_iter().enumerate();
    Ok(runs
        .map(|(index, cell)| Run::new(cell, job.clone(), index, Stage::Waiting))
        .collect())
}

/// A number of runs, in words.
fn counted(runs: usize) -> String {
    match runs {
        1 => "1 run".to_owned(),
        runs => format!("{runs} runs"),
    }
}

/// What a job of the sweep is called, in letters that squeue takes in a list of names.
fn title(sweep: &Sweep) -> String {
    let letter = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name = sweep.arguments.name.chars();
    let name: String = name.map(|c| if letter(c) { c } else { '-' }).collect();
    format!("milepost-{name}")
}
