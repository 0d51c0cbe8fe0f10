//! What squeue says of the tasks of an array job.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::SlurmError;
use super::job::Job;
use super::tool;

/// A task as the queue sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    /// Slurm's word for how far it is, such as `PENDING`.
    pub state: String,
    /// How its program ended, once it has.
    pub exit: Option<Exit>,
    /// How long it has run.
    pub time: Option<Duration>,
    /// Why it waits, such as `Resources`.
    pub reason: String,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// With a code.
    Code(u8),
    /// By a signal.
    Signal(u8),
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It will be started, for the first time or again.
    Waiting,
    /// It runs.
    Running,
    /// Its program has ended, and Slurm cleans up or starts it again.
    Ending,
    /// It is over.
    Over,
}

impl Task {
    /// How far it is. Words of Slurm that are not known here count as running, so that no run is begun twice.
    pub fn stage(&self) -> Stage {
        match self.state.as_str() {
            "PENDING" | "CONFIGURING" | "REQUEUED" | "REQUEUE_FED" | "REQUEUE_HOLD"
            | "RESV_DEL_HOLD" | "SPECIAL_EXIT" => Stage::Waiting,
            "COMPLETING" | "STAGE_OUT" | "SIGNALING" => Stage::Ending,
            "BOOT_FAIL" | "CANCELLED" | "COMPLETED" | "DEADLINE" | "FAILED" | "LAUNCH_FAILED"
            | "NODE_FAIL" | "OUT_OF_MEMORY" | "PREEMPTED" | "RECONFIG_FAIL" | "TIMEOUT" => {
                Stage::Over
            }
            _ => Stage::Running,
        }
    }
}

/// The fields that squeue is asked for. The widths keep them apart; the reason comes last, since it may have spaces.
const FIELDS: &str = "ArrayJobID:20,ArrayTaskID:20,State:20,exit_code:20,TimeUsed:20,Reason:200";

/// Asks for all tasks of a job, those included that ended a short while ago. Tasks that the queue has forgotten are missing.
///
/// # Errors
/// When squeue is not there or does not answer.
pub(super) fn tasks(job: &Job) -> Result<BTreeMap<usize, Task>, SlurmError> {
    let mut tasks = BTreeMap::new();
    for (id, index, task) in ask(format!("--jobs={job}"), job.clusters())? {
        if id == job.id {
            tasks.insert(index, task);
        }
    }
    Ok(tasks)
}

/// The array job of a name, if the queue has one.
///
/// # Errors
/// When squeue is not there or does not answer.
pub(super) fn named(name: &str) -> Result<Option<Job>, SlurmError> {
    let mut found = ask(format!("--name={name}"), None)?.into_iter();
    Ok(found.next().map(|(id, _, _)| Job { id, cluster: None }))
}

/// Asks squeue. A job that it does not know has no tasks.
fn ask(which: String, clusters: Option<String>) -> Result<Vec<(String, usize, Task)>, SlurmError> {
    let fixed = ["--noheader", "--array", "--states=all"].map(str::to_owned);
    let format = format!("--Format={FIELDS}");
    let arguments: Vec<String> = fixed
        .into_iter()
        .chain([format, which])
        .chain(clusters)
        .collect();
    let output = tool::call("squeue", &arguments, "")?;
    if output.status.success() {
        return Ok(parse(&String::from_utf8_lossy(&output.stdout)));
    }
    let words = tool::complaint(&output);
    if words.contains("Invalid job id") {
        return Ok(Vec::new());
    }
    Err(SlurmError::Silent { words })
}

/// Reads what squeue prints: for each task the number of its job, its index, and what it does. Other lines are left out.
pub(super) fn parse(printed: &str) -> Vec<(String, usize, Task)> {
    let lines = printed.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let id = words.next()?.to_owned();
        let index = words.next()?.parse().ok()?;
        let state = words.next()?.to_owned();
        let exit = exit(words.next()?)?;
        let time = time(words.next()?);
        let reason = words.collect::<Vec<_>>().join(" ");
        let task = Task {
            exit,
            time,
            reason,
            state,
        };
        Some((id, index, task))
    });
    lines.collect()
}

/// Reads how a program ended: what the system's `wait` gives, as squeue prints it, or `code:signal`, as other programs of Slurm do. None
/// where it is no number, and `Some(None)` where it ended well or not at all.
fn exit(word: &str) -> Option<Option<Exit>> {
    let (code, signal) = match word.split_once(':') {
        Some((code, signal)) => (code.parse().ok()?, signal.parse().ok()?),
        None => {
            let status: u32 = word.parse().ok()?;
            ((status >> 8) as u8, (status & 0x7f) as u8)
        }
    };
    Some(match (code, signal) {
        (0, 0) => None,
        (code, 0) => Some(Exit::Code(code)),
        (_, signal) => Some(Exit::Signal(signal)),
    })
}

/// Reads a time such as `0:05`, `1:02:03` or `2-01:02:03`.
fn time(word: &str) -> Option<Duration> {
    let (days, clock) = match word.split_once('-') {
        Some((days, clock)) => (days.parse::<u64>().ok()?, clock),
        None => (0, word),
    };
    let parts: Vec<u64> = clock
        .split(':')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    if !(2..=3).contains(&parts.len()) {
        return None;
    }
    let seconds = parts
        .iter()
        .try_fold(0u64, |sum, part| sum.checked_mul(60)?.checked_add(*part))?;
    let seconds = days.checked_mul(86_400)?.checked_add(seconds)?;
    Some(Duration::from_secs(seconds))
}
