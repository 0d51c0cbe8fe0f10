//! Waits for the tasks of array jobs and says what becomes of the runs. It looks only at the queue and at the runs' folders, so that one
//! command may end and another go on from there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::counted;
use super::ending::Ending;
use super::error::SlurmError;
use super::job::{self, Job};
use super::patience::Patience;
use super::queue::{self, Stage, Task};
use crate::cli::sweep::grid::Cell;
use crate::cli::sweep::runs::{Sweep, Work};
use crate::cli::sweep::tally::Tally;
use crate::cli::terminal::{remark, say};
use crate::record::State;

/// A run that is a task of an array job.
pub(super) struct Run {
    pub cell: Cell,
    pub job: Job,
    pub index: usize,
    /// Whether it was seen to run.
    pub running: bool,
    /// Since when the queue says that it is over, while its folder does not.
    over: Option<Instant>,
}

impl Run {
    pub fn new(cell: Cell, job: Job, index: usize, stage: Stage) -> Self {
        Self {
            cell,
            job,
            index,
            running: stage == Stage::Running,
            over: None,
        }
    }
}

/// The longest time between two looks at the queue.
const SELDOM: Duration = Duration::from_secs(30);
/// The shortest.
const OFTEN: Duration = Duration::from_secs(2);

/// What the queue says of the tasks of all jobs.
type Tasks = BTreeMap<Job, BTreeMap<usize, Task>>;

/// Waits until all runs are over, until none of those that are left can ever begin, or until `stop` is set.
///
/// # Errors
/// When squeue is no longer there.
pub(super) fn watch(sweep: &Sweep, runs: Vec<Run>, stop: &AtomicBool) -> Result<Work, SlurmError> {
    let mut watch = Watch {
        sweep,
        tally: Tally::new(runs.len()),
        runs,
        patience: Patience::new(),
        work: Work::default(),
    };
    let (mut pause, mut silent) = (OFTEN, false);
    while !watch.runs.is_empty() && !stop.load(Ordering::Relaxed) {
        match look(&watch.runs) {
            Ok(tasks) => {
                silent = false;
                let moved = watch.follow(&tasks);
                if let Some(never) = watch.never(&tasks) {
                    watch.work.error = Some(never.into());
                    return Ok(watch.work);
                }
                pause = match moved {
                    Moved::Something => OFTEN,
                    Moved::Nothing => pause.mul_f64(1.25).min(SELDOM),
                };
            }
            Err(SlurmError::Silent { words }) => {
                if !silent {
                    remark!(
                        "squeue does not answer ({words}); the jobs go on, and it is asked again"
                    );
                }
                (silent, pause) = (true, SELDOM);
            }
            Err(error) => return Err(error),
        }
        if !watch.runs.is_empty() {
            sleep(pause, stop);
        }
    }
    if stop.load(Ordering::Relaxed) {
        watch.work.interrupted = Some(goes_on(&watch.runs));
    }
    Ok(watch.work)
}

/// What the queue says of the tasks of all jobs of runs.
fn look(runs: &[Run]) -> Result<Tasks, SlurmError> {
    let jobs = jobs(runs).into_iter();
    jobs.map(|job| queue::tasks(&job).map(|tasks| (job, tasks)))
        .collect()
}

/// What is said of a run's task.
fn task_of<'a>(run: &Run, tasks: &'a Tasks) -> Option<&'a Task> {
    tasks.get(&run.job)?.get(&run.index)
}

/// The runs that are waited for.
struct Watch<'a> {
    sweep: &'a Sweep<'a>,
    runs: Vec<Run>,
    tally: Tally,
    patience: Patience,
    work: Work,
}

/// Whether anything has changed from one look to the next.
enum Moved {
    Something,
    Nothing,
}

impl Watch<'_> {
    /// Says what has become of the runs, and leaves those out that are over.
    fn follow(&mut self, tasks: &Tasks) -> Moved {
        let mut moved = Moved::Nothing;
        for mut run in std::mem::take(&mut self.runs) {
            let task = task_of(&run, tasks);
            match step(self.sweep, &mut run, task) {
                Next::Over(state) => {
                    moved = Moved::Something;
                    let ending = Ending::of(self.sweep, &run, task, state);
                    let after = task.and_then(|task| task.time);
                    self.tally.ended(&run.cell, &ending.how, after);
                    self.work.hooks_failed |= ending.hooks_failed;
                    self.work.failed.extend(ending.failed);
                }
                Next::Moved => {
                    moved = Moved::Something;
                    self.runs.push(run);
                }
                Next::Same => self.runs.push(run),
            }
        }
        moved
    }

    /// That none of the runs that are left can ever begin, if that is so.
    fn never(&mut self, tasks: &Tasks) -> Option<SlurmError> {
        let waiting = self.runs.iter().map(|run| {
            let task = task_of(run, tasks)?;
            (task.stage() == Stage::Waiting).then_some(task.reason.as_str())
        });
        let why = self.patience.look(&waiting.collect::<Vec<_>>())?;
        Some(SlurmError::Never {
            runs: counted(self.runs.len()),
            why,
            cancel: job::cancel(&jobs(&self.runs)),
        })
    }
}

/// What becomes of runs that nobody waits for.
fn goes_on(runs: &[Run]) -> String {
    if runs.is_empty() {
        return "no run is left in the queue".to_owned();
    }
    format!(
        "the queue goes on with {}; `{}` ends that, and the same command waits for it again",
        counted(runs.len()),
        job::cancel(&jobs(runs))
    )
}

/// The jobs of runs, each once.
fn jobs(runs: &[Run]) -> Vec<Job> {
    let mut jobs: Vec<Job> = runs.iter().map(|run| run.job.clone()).collect();
    jobs.sort();
    jobs.dedup();
    jobs
}

/// What has become of a run since the last look.
enum Next {
    Same,
    Moved,
    Over(State),
}

/// Says what a run does by what its task does, and tells whether it is over.
fn step(sweep: &Sweep, run: &mut Run, task: Option<&Task>) -> Next {
    let stage = task.map_or(Stage::Over, Task::stage);
    let was_running = run.running;
    run.running = stage == Stage::Running;
    match stage {
        Stage::Waiting | Stage::Running => {
            run.over = None;
            if run.running == was_running {
                return Next::Same;
            }
            let what = if run.running {
                "begins"
            } else {
                "waits to be started again"
            };
            say!("{} {what} (task {}_{})", run.cell.name, run.job, run.index);
            Next::Moved
        }
        Stage::Ending | Stage::Over => {
            let state = state_anew(sweep, &run.cell);
            if matches!(state, State::Done | State::Failed) {
                return Next::Over(state);
            }
            if stage == Stage::Ending {
                return Next::Same;
            }
            let since = run.over.get_or_insert_with(Instant::now).elapsed();
            let ended_well = task.is_some_and(|task| task.state == "COMPLETED");
            let enough = if ended_well { LATE } else { SOON };
            if since >= enough {
                Next::Over(state)
            } else {
                // It is looked at again soon.
                Next::Moved
            }
        }
    }
}

/// How long a run's outcome may take to be seen here after it was written on a node: network file systems remember for up to a minute what a
/// folder held.
const LATE: Duration = Duration::from_secs(90);
/// How long a task stays over before that is believed: one that was preempted may be put into the queue again.
const SOON: Duration = Duration::from_secs(5);

/// How far a run is, with its folder opened anew, which makes a network file system ask its server.
fn state_anew(sweep: &Sweep, cell: &Cell) -> State {
    let _ = std::fs::read_dir(sweep.run(cell)).map(Iterator::count);
    sweep.state(cell)
}

/// Sleeps, but not on when `stop` is set.
fn sleep(time: Duration, stop: &AtomicBool) {
    let begin = Instant::now();
    while begin.elapsed() < time && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
    }
}
