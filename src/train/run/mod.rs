//! The loop itself.

mod ending;
mod evaluating;
mod opening;
mod saving;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::dispatcher::{Dispatcher, Sinks};
use super::listener::Firing;
use super::outcome::{Outcome, RunError, StopReason};
use super::recorder::{Record, Recorder};
use super::run_directory::RunDirectory;
use super::{Learner, Plan, Reporter, Training};
use crate::cadence::{Cadence, Moment};
use crate::clock::{Clock, Epoch, Extent, Samples, Step, Tokens};
use crate::data::blocks::Blocks;
use crate::data::order::epoch_order;
use crate::event::Event;
use crate::hook::{Evaluation, Milestone, Output, Request, Scene};
use crate::model::{Dropout, Gpt2, Pair, Role};
use crate::random::{Purpose, stream};

/// A run under way.
struct Run<'a> {
    seed: u64,
    extent: Extent,
    training: Training,
    frozen: Pair,
    learners: BTreeMap<Role, Learner>,
    blocks: Blocks,
    scene: Arc<Scene>,
    tokenizer_json: String,
    clock: Clock,
    before: Clock,
    started: Instant,
    losses: BTreeMap<Role, f64>,
    evaluation: Option<Evaluation>,
    evaluated_at: Option<u64>,
    saved_at: Option<u64>,
    evaluate_next: bool,
    dispatcher: Dispatcher,
    recorder: Recorder,
    directory: RunDirectory,
    reporter: &'a mut dyn Reporter,
    interrupt: &'a AtomicBool,
}

/// Runs a plan from its start, or from the newest checkpoint in its directory when `resume` is set.
///
/// Ends early, and well, when a hook asks for it or `interrupt` becomes true: the step is finished, then the end-of-run writes are done.
///
/// # Errors
/// When a loss or gradient is not finite, or the run's files cannot be written. What was recorded before stays readable.
pub fn finetune(
    plan: Plan,
    resume: bool,
    reporter: &mut dyn Reporter,
    interrupt: &AtomicBool,
) -> Result<Outcome, RunError> {
    let mut run = Run::open(plan, resume, reporter, interrupt)?;
    match run.all() {
        Ok(stop) => run.finish(stop),
        Err(error) => {
            run.fail(&error);
            Err(error)
        }
    }
}

impl Run<'_> {
    fn all(&mut self) -> Result<StopReason, RunError> {
        if self.clock.step == Step(0) {
            self.evaluate_if_due(&[Moment::Start])?;
            self.emit(Event::RunStart)?;
            self.announce_evaluation()?;
        }
        while self.clock.step.0 < self.extent.steps() {
            if let Some(stop) = self.epoch()? {
                return Ok(stop);
            }
        }
        Ok(StopReason::Complete)
    }

    /// What is left of the epoch that the clock stands in.
    fn epoch(&mut self) -> Result<Option<StopReason>, RunError> {
        let epoch = self.clock.epoch;
        let order = epoch_order(self.seed, epoch.0, self.blocks.len());
        let micro_batches: Vec<&[usize]> = order.chunks(self.training.batch).collect();
        let steps: Vec<&[&[usize]]> = micro_batches.chunks(self.training.accumulation).collect();
        let done = (self.clock.step.0 - epoch.0 * self.extent.steps_per_epoch()) as usize;
        if done == 0 {
            self.emit(Event::EpochStart)?;
        }
        for micro_batches in &steps[done..] {
            if self.clock.step.0 == self.extent.steps() {
                return Ok(None);
            }
            self.step(micro_batches)?;
            let stop = self.answer_requests()?;
            self.save_if_due()?;
            if self.extent.closes_epoch(self.clock.step) {
                self.clock.epoch_done();
                self.emit(Event::EpochEnd)?;
            }
            if stop.is_some() {
                return Ok(stop);
            }
        }
        Ok(None)
    }

    fn step(&mut self, micro_batches: &[&[usize]]) -> Result<(), RunError> {
        self.before = self.clock.clone();
        self.evaluation = None;
        self.emit(Event::StepStart)?;
        let samples: usize = micro_batches.iter().map(|blocks| blocks.len()).sum();
        let predictions = samples * (self.blocks.block() - 1);
        for blocks in micro_batches {
            self.micro_batch(blocks, predictions)?;
        }
        for (role, learner) in &mut self.learners {
            self.losses.insert(*role, learner.gather());
        }
        self.refuse_nonfinite("loss", self.losses.clone())?;
        self.emit(Event::GradientsReady)?;
        if let Some(limit) = self.training.clip {
            let norms = self.learners.iter();
            let norms = norms.map(|(role, learner)| (*role, learner.gradient_norm()));
            let norms: BTreeMap<Role, f64> = norms.collect();
            self.refuse_nonfinite("gradient norm", norms.clone())?;
            for (role, learner) in &mut self.learners {
                learner.clip(norms[role], limit);
            }
        }
        self.emit(Event::GradientsClipped)?;
        let rate = self.rate();
        for learner in self.learners.values_mut() {
            learner.step(rate);
        }
        self.clock.step_done();
        self.record_training(rate)?;
        let moments = self.moments();
        self.evaluate_if_due(&moments)?;
        self.announce_evaluation()?;
        self.emit(Event::StepEnd)
    }

    fn micro_batch(&mut self, blocks: &[usize], predictions: usize) -> Result<(), RunError> {
        let rows: Vec<&[u32]> = blocks.iter().map(|&index| self.blocks.get(index)).collect();
        for (role, learner) in &mut self.learners {
            let index = *role as u64;
            let rng = stream(self.seed, Purpose::Dropout, index, self.clock.micro_batch.0);
            learner.accumulate(&rows, predictions, Some(&mut Dropout::new(rng)));
        }
        let samples = rows.len() as u64;
        let tokens = samples * self.blocks.block() as u64;
        self.clock
            .micro_batch_done(Samples(samples), Tokens(tokens));
        self.emit(Event::MicroBatchEnd)
    }

    fn rate(&self) -> f64 {
        self.training.schedule.rate(self.before.step.0)
    }

    fn record_training(&mut self, rate: f64) -> Result<(), RunError> {
        self.clock.elapsed = self.started.elapsed();
        let losses = self.losses.iter();
        let mut scalars: Vec<(String, f64)> = losses
            .map(|(role, loss)| (format!("train/{role}/loss"), *loss))
            .collect();
        scalars.push(("train/lr".to_owned(), rate));
        self.record("train", Event::StepEnd, scalars)
    }

    fn record(
        &mut self,
        source: &str,
        event: Event,
        scalars: Vec<(String, f64)>,
    ) -> Result<(), RunError> {
        let output = Output {
            scalars,
            ..Output::default()
        };
        let record = Record {
            event: event.as_str(),
            source,
            step: self.clock.step.0,
            clock: &self.clock,
            output: &output,
            times: &[],
        };
        Ok(self.recorder.record(record)?)
    }

    fn refuse_nonfinite(
        &mut self,
        what: &'static str,
        values: BTreeMap<Role, f64>,
    ) -> Result<(), RunError> {
        let Some((role, value)) = values.into_iter().find(|(_, value)| !value.is_finite()) else {
            return Ok(());
        };
        let (step, rate) = (self.before.step.0 + 1, self.rate());
        // Nothing has moved yet: what is saved is the state after the last good step.
        self.clock = self.before.clone();
        let saved = self.save(false)?.display().to_string();
        Err(RunError::NotFinite {
            what,
            role,
            value,
            step,
            rate,
            saved,
        })
    }

    /// The moments that the end of the step at hand is: perhaps also the end of its epoch and of the run as planned.
    fn moments(&self) -> Vec<Moment> {
        let mut moments = vec![Moment::Step];
        if self.extent.closes_epoch(self.clock.step) {
            moments.push(Moment::EpochEnd);
        }
        if self.clock.step.0 == self.extent.steps() {
            moments.push(Moment::End);
        }
        moments
    }

    fn is_due(&self, cadence: &Cadence, moments: &[Moment]) -> bool {
        moments.iter().any(|&moment| {
            let mut now = self.clock.clone();
            if moment == Moment::EpochEnd {
                // The clock turns to the next epoch only after the step's own events.
                now.epoch = Epoch(self.extent.epoch_of(now.step).0 + 1);
            }
            cadence.due(moment, &self.before, &now, &self.extent)
        })
    }

    fn answer_requests(&mut self) -> Result<Option<StopReason>, RunError> {
        let mut sinks = Sinks {
            recorder: &mut self.recorder,
            reporter: self.reporter,
            directory: &self.directory,
        };
        self.dispatcher.drain(&mut sinks)?;
        let mut stop = None;
        for request in self.dispatcher.take_requests() {
            match request {
                Request::Stop(reason) => stop = Some(StopReason::Requested(reason)),
                Request::Evaluate => self.evaluate_next = true,
                Request::Save => {
                    self.save(false)?;
                    self.emit(Event::CheckpointSaved)?;
                }
            }
        }
        if self.interrupt.load(Ordering::Relaxed) {
            stop = Some(StopReason::Interrupted);
        }
        Ok(stop)
    }

    fn settle(&mut self) -> Result<(), RunError> {
        let mut sinks = Sinks {
            recorder: &mut self.recorder,
            reporter: self.reporter,
            directory: &self.directory,
        };
        self.dispatcher.settle(&mut sinks)
    }

    fn pair(&self) -> Pair {
        pair(&self.frozen, &self.learners)
    }

    fn milestone(&mut self, event: Event) -> Milestone {
        self.clock.elapsed = self.started.elapsed();
        let in_step = matches!(
            event,
            Event::StepStart | Event::GradientsReady | Event::GradientsClipped
        );
        let step = match event {
            Event::MicroBatchEnd => self.clock.micro_batch.0,
            _ => self.clock.step.0 + u64::from(in_step),
        };
        Milestone {
            event,
            clock: self.clock.clone(),
            step,
            total_steps: self.extent.steps(),
            losses: self.losses.clone(),
            learning_rate: self.rate(),
            evaluation: self.evaluation.clone(),
        }
    }

    fn emit(&mut self, event: Event) -> Result<(), RunError> {
        let milestone = self.milestone(event);
        self.reporter.event(event, &milestone);
        let gradients: Vec<_> = match event.has_gradients() {
            true => (self.learners.iter())
                .map(|(role, learner)| (*role, learner.gradients()))
                .collect(),
            false => Vec::new(),
        };
        let firing = Firing {
            milestone,
            before: &self.before,
            pair: &|| pair(&self.frozen, &self.learners).snapshot(),
            gradients: &gradients,
        };
        let mut sinks = Sinks {
            recorder: &mut self.recorder,
            reporter: self.reporter,
            directory: &self.directory,
        };
        self.dispatcher.fire(firing, &mut sinks)
    }
}

/// The pair as it stands: trained models from their learners, the others as they came.
fn pair(frozen: &Pair, learners: &BTreeMap<Role, Learner>) -> Pair {
    let [main, assistant] = Role::BOTH.map(|role| -> Gpt2 {
        match learners.get(&role) {
            Some(learner) => learner.model.clone(),
            None => frozen.get(role).clone(),
        }
    });
    Pair { main, assistant }
}
