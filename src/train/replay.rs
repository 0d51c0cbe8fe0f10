//! Replays a finished run: calls hooks, which may be other ones than the run's, at its checkpoints. The results go into a TensorBoard run
//! of their own, at the right steps.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::dispatcher::{Dispatcher, Sinks};
use super::listener::Firing;
use super::outcome::{Outcome, RunError, StopReason};
use super::recorder::Recorder;
use super::{Plan, Reporter, charts};
use crate::clock::{Clock, Step};
use crate::event::Event;
use crate::hook::{Live, Milestone, Shows, Watch};
use crate::model::{Network, Pair, Role};
use crate::record::checkpoint::{self, model_folder};
use crate::record::layout::MODELS;
use crate::record::{Ended, RunDirectory, Stop, pairs};
use crate::tensorboard::Entry;

/// A state of the pair on disk.
#[derive(Debug, Clone)]
pub struct Point {
    /// The clock at that state.
    pub clock: Clock,
    /// The directory with `main` and `assistant`, or the one that was trained. None before the first step.
    pub models: Option<PathBuf>,
}

impl Point {
    /// The pair at this state. Trained models are read from disk, others are those of the start.
    ///
    /// # Errors
    /// When weights cannot be read.
    pub fn pair(&self, start: &Pair) -> Result<Pair, RunError> {
        let Some(models) = &self.models else {
            return Ok(start.clone());
        };
        let at = |role: Role| -> Result<Network, RunError> {
            let folder = models.join(model_folder(role));
            if folder.is_dir() {
                Ok(start.get(role).saved_in(&folder)?)
            } else {
                Ok(start.get(role).clone())
            }
        };
        Ok(Pair {
            main: at(Role::Main)?,
            assistant: at(Role::Assistant)?,
        })
    }
}

/// The states of a run that are on disk: the start, every checkpoint, and the end. `models/` is the end only if the run has an outcome.
///
/// # Errors
/// When a checkpoint was changed, or the outcome cannot be read.
pub fn points(run: &Path, plan: &Plan) -> Result<Vec<Point>, RunError> {
    let mut points = vec![Point {
        clock: Clock::default(),
        models: None,
    }];
    for checkpoint in checkpoint::all(run)? {
        let state = checkpoint.verified()?;
        // The start is there already.
        if state.clock.step == Step(0) {
            continue;
        }
        let extent = plan.extent.with_jumps(state.in_force.jumps);
        points.push(Point {
            clock: extent.restored(state.clock),
            models: Some(checkpoint.path),
        });
    }
    let end = run.join(MODELS);
    let done = Ended::read(run)?.filter(|_| end.is_dir());
    let is_new = |steps| points.iter().all(|point| point.clock.step.0 < steps);
    if let Some(ended) = done.filter(|ended| ended.stop != Stop::Failed && is_new(ended.steps)) {
        let extent = plan.extent.with_jumps(ended.jumps);
        points.push(Point {
            clock: extent.clock_after(Step(ended.steps)),
            models: Some(end),
        });
    }
    Ok(points)
}

/// Calls every hook of `plan` at each of `points`, and writes the reports into the plan's directory.
///
/// # Errors
/// When weights cannot be read or files cannot be written.
pub fn replay(
    plan: Plan,
    points: &[Point],
    reporter: &mut dyn Reporter,
    watch: Option<Arc<Watch>>,
) -> Result<Outcome, RunError> {
    let started = Instant::now();
    let directory = RunDirectory::create(&plan.directory)?;
    pairs::write(&directory, &plan.scene.templates)?;
    let mut recorder = Recorder::create(directory.path())?;
    let shows: Vec<Shows> = plan.hooks.iter().map(|hook| hook.shows.clone()).collect();
    recorder.send(Entry::Layout(charts::layout(&shows)))?;
    let start = plan.pair.snapshot();
    let mut hooks = plan.hooks;
    for hook in &mut hooks {
        // There is no training to run beside.
        hook.runs = crate::hook::Runs::Inline;
    }
    let total_steps = plan.extent.steps();
    let mut dispatcher = Dispatcher::new(
        hooks,
        plan.scene,
        || start.clone(),
        plan.extent.clone(),
        1,
        0,
    )?
    .watched_by(watch);
    let mut clock = Clock::default();
    for point in points {
        clock = point.clock.clone();
        let step = clock.step.0;
        let pair = point.pair(&start)?;
        let event = match step {
            0 => Event::RunStart,
            _ => Event::StepEnd,
        };
        let milestone = Milestone {
            event,
            signal: None,
            clock: clock.clone(),
            step,
            total_steps,
            losses: Default::default(),
            learning_rate: plan.training.schedule.rate(step.saturating_sub(1)),
            times: Default::default(),
            evaluation: None,
        };
        reporter.event(event, &milestone);
        let firing = Firing {
            milestone,
            before: &plan.extent.clock_after(Step(step.saturating_sub(1))),
            pair: &|| pair.clone(),
            batch: &|| None,
            live: Live::NONE,
            alone: true,
        };
        let mut sinks = Sinks {
            recorder: &mut recorder,
            reporter,
            directory: &directory,
        };
        dispatcher.fire(firing, &mut sinks)?;
        // Requests to stop, save or evaluate mean nothing here.
        let _ = dispatcher.take_requests();
    }
    recorder.send(Entry::SessionEnd { success: true })?;
    let spans = recorder.close()?;
    let (failures, times) = (dispatcher.failures(), dispatcher.into_times());
    // The time of the replay, not of the training.
    clock.elapsed = started.elapsed();
    Ok(Outcome {
        stop: StopReason::Complete,
        clock,
        spans,
        interventions: Vec::new(),
        failures,
        times,
        // There is no training that hooks could hold up.
        excesses: Vec::new(),
        directory: directory.path().to_owned(),
    })
}
