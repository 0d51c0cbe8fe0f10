//! The training loop.

mod at_hand;
mod ending;
mod evaluating;
mod holding;
mod intervening;
mod opening;
mod saving;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use self::at_hand::AtHand;
use super::dispatcher::{Dispatcher, Sinks};
use super::learners::{Learners, Trained, TrainingBatch, Weighing};
use super::listener::Firing;
use super::outcome::{Outcome, RunError, StopReason};
use super::recorder::{Record, Recorder};
use super::saver::Saver;
use super::{Plan, Reporter, Training};
use crate::cadence::{Cadence, Moment};
use crate::clock::{Clock, Epoch, Extent, MicroBatch, Samples, Step, Tokens};
use crate::data::order::{epoch_order, micro_batches};
use crate::data::tokenizer::Tokenizer;
use crate::device::failed::{self, Stopped};
use crate::device::room;
use crate::event::{Axis, Event};
use crate::hook::{Live, Milestone, Output, Pass, Request, Scene, StepTimes};
use crate::model::Role;
use crate::record::RunDirectory;
use crate::record::progress::Progress;

/// A run in progress.
struct Run<'a> {
    seed: u64,
    extent: Extent,
    training: Training,
    models: Box<dyn Trained>,
    at_hand: AtHand,
    /// The order of the blocks in an epoch.
    order: (Epoch, Vec<usize>),
    scene: Arc<Scene>,
    assistant_tokenizer: Tokenizer,
    /// The state on which the rest of the run depends.
    progress: Progress,
    /// The clock at the end of the previous step.
    before: Clock,
    /// How long the parts of the step at hand took, or of the last one.
    times: StepTimes,
    /// When this process began, and the time that the run had taken before that.
    started: (Instant, Duration),
    /// The step after which this process last saved a checkpoint.
    saved_at: Option<u64>,
    /// Whether a hook asked for a checkpoint after this step.
    save_asked: bool,
    /// Whether an evaluation was made that is not recorded yet.
    evaluation_is_news: bool,
    /// The epochs whose end was announced.
    epochs_ended: Epoch,
    dispatcher: Dispatcher,
    recorder: Recorder,
    directory: Arc<RunDirectory>,
    saver: Saver,
    reporter: &'a mut dyn Reporter,
    interrupt: &'a AtomicBool,
}

/// How a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// In a new directory, at step 0.
    Anew,
    /// At the newest checkpoint of its directory that can be used, or at step 0 when nothing was saved.
    Resume,
    /// As `Resume`, for a run that may be over, with settings that extend it.
    Extend,
}

/// Runs a plan.
///
/// The run ends early, without an error, when a hook asks for it or `interrupt` becomes true: the step is finished, and then the writes at
/// the end of a run are made.
///
/// # Errors
/// When a loss, gradient or weight is not finite, when no checkpoint can be used, when there is nothing to extend, or when the run's files
/// cannot be written. What was recorded before stays readable.
pub fn finetune(
    plan: Plan,
    begin: Begin,
    reporter: &mut dyn Reporter,
    interrupt: &AtomicBool,
) -> Result<Outcome, RunError> {
    let models = Learners::new(plan.seed, plan.pair.clone(), &plan.training);
    train(plan, Box::new(models), begin, reporter, interrupt)
}

/// As [`finetune`], for anything that can be trained.
fn train(
    plan: Plan,
    models: Box<dyn Trained>,
    begin: Begin,
    reporter: &mut dyn Reporter,
    interrupt: &AtomicBool,
) -> Result<Outcome, RunError> {
    let mut run = Run::open(plan, models, begin, reporter, interrupt)?;
    let ended = failed::caught(|| run.all());
    let step = run.clock().step.0 + 1;
    let stopped = |stopped| match stopped {
        Stopped::OutOfMemory(error) => RunError::OutOfMemory(error, step),
        Stopped::Failed(error) => RunError::DeviceFailed(error, step),
    };
    match ended.unwrap_or_else(|error| Err(stopped(error))) {
        Ok(stop) => run.finish(stop),
        Err(error) => {
            run.fail(&error);
            Err(error)
        }
    }
}

impl Run<'_> {
    fn all(&mut self) -> Result<StopReason, RunError> {
        if self.saved_at.is_some() {
            self.emit(Event::CheckpointLoaded)?;
        }
        if !self.progress.begun {
            self.begin()?;
        }
        loop {
            if let Some(reason) = &self.progress.stopping {
                return Ok(StopReason::Requested(reason.clone()));
            }
            if self.clock().step.0 >= self.extent.steps() {
                return Ok(StopReason::Complete);
            }
            self.next_step()?;
            // A hook's reason to stop is part of the checkpoint, Ctrl-C is not, so that a resume continues after it.
            if self.progress.stopping.is_none() {
                if let Some(stop) = self.hold()? {
                    return Ok(stop);
                }
                if self.interrupt.load(Ordering::Relaxed) {
                    return Ok(StopReason::Interrupted("Ctrl-C".to_owned()));
                }
            }
        }
    }

    /// What comes before the first step.
    fn begin(&mut self) -> Result<(), RunError> {
        self.evaluate_if_due(&[Moment::Start])?;
        self.emit(Event::RunStart)?;
        self.announce_evaluation()?;
        self.intervene(&[Moment::Start])?;
        self.progress.begun = true;
        if self.dispatcher.interveners.may_roll_back() {
            self.save(true)?;
        }
        Ok(())
    }

    fn clock(&self) -> &Clock {
        &self.progress.clock
    }

    /// Does one step with all its events. The state is saved only after that.
    fn next_step(&mut self) -> Result<(), RunError> {
        let next = Step(self.clock().step.0 + 1);
        if self.extent.opens_epoch(next) {
            self.emit(Event::EpochStart)?;
        }
        self.at_hand.passes = self.micro_batches();
        self.step()?;
        self.at_hand.passes.clear();
        let moments = self.moments();
        let went_back = self.intervene(&moments)?;
        if self.clock().epoch > self.epochs_ended {
            self.epochs_ended = self.clock().epoch;
            self.emit(Event::EpochEnd)?;
        }
        if went_back {
            return Ok(());
        }
        self.answer_requests()?;
        self.save_if_due()?;
        self.look_for_checkpoint()?;
        Ok(self.recorder.check_in_place()?)
    }

    /// The micro-batches of the coming step.
    fn micro_batches(&mut self) -> Vec<Pass> {
        let done = self.clock().step.0;
        let epoch = self.extent.epoch_of(Step(done + 1));
        if self.order.0 != epoch || self.order.1.is_empty() {
            let order = epoch_order(self.seed, epoch.0, self.at_hand.blocks.len());
            self.order = (epoch, order);
        }
        let (batch, accumulation) = (self.training.batch, self.training.accumulation);
        let place = self.extent.place(Step(done));
        let in_epoch = (place % self.extent.steps_per_epoch()) as usize;
        let of_step = micro_batches(&self.order.1, batch, accumulation, in_epoch);
        let numbers = self.clock().micro_batch.0..;
        let passes = of_step.zip(numbers).map(|(blocks, number)| Pass {
            micro_batch: Some(MicroBatch(number)),
            blocks: blocks.to_vec(),
        });
        passes.collect()
    }

    fn step(&mut self) -> Result<(), RunError> {
        self.before = self.clock().clone();
        self.times = StepTimes::default();
        self.emit(Event::StepStart)?;
        self.progress.in_force.last_rate_factor = self.progress.in_force.rate_factor;
        let weighings = Role::BOTH.map(|role| {
            let answers = self.training.objectives.get(role).is_of_answers();
            let of_topics = &self.progress.in_force.weights;
            self.at_hand.weighing(of_topics, answers)
        });
        for number in 0..self.at_hand.passes.len() {
            let weighings = weighings.each_ref().map(|weighing| Weighing {
                each: weighing.each.as_ref().map(|each| &each[number][..]),
                step: weighing.all,
            });
            self.micro_batch(number, weighings)?;
        }
        let began = Instant::now();
        let losses = self.models.gather(self.training.clip.is_some());
        // Another device may still have been at the passes.
        self.times.backward += began.elapsed();
        self.refuse_nonfinite("loss", &losses)?;
        self.progress.losses = losses;
        self.emit(Event::GradientsReady)?;
        let began = Instant::now();
        if let Some(limit) = self.training.clip {
            let norms = self.models.gradient_norms();
            self.refuse_nonfinite("gradient norm", &norms)?;
            self.models.clip(&norms, limit);
        }
        self.times.optimiser = began.elapsed();
        self.emit(Event::GradientsClipped)?;
        let (rate, began) = (self.rate(), Instant::now());
        let keep = self.dispatcher.awaits(Event::WeightsUpdated, &self.before);
        self.models.step(rate, keep);
        self.times.optimiser += began.elapsed();
        self.progress.clock.step_done(&self.extent);
        self.record_training(rate)?;
        self.emit(Event::WeightsUpdated)?;
        self.models.forget_update();
        let moments = self.moments();
        self.evaluate_if_due(&moments)?;
        self.announce_evaluation()?;
        self.emit(Event::StepEnd)
    }

    /// Forward and backward pass of the step's micro-batch of this number, with what its predictions weigh for each model.
    fn micro_batch(&mut self, number: usize, weighings: [Weighing; 2]) -> Result<(), RunError> {
        let (began, source) = (Instant::now(), self.at_hand.blocks.clone());
        let blocks = self.at_hand.passes[number].blocks.iter();
        let rows: Vec<&[u32]> = blocks.map(|&index| source.get(index)).collect();
        self.times.fetch += began.elapsed();
        self.emit(Event::BatchReady)?;
        room::allocate(rows.len());
        let (began, index) = (Instant::now(), self.progress.clock.micro_batch);
        self.models.forward(&TrainingBatch {
            rows: &rows,
            weighings,
            index,
        });
        self.times.forward += began.elapsed();
        self.emit(Event::BackwardStart)?;
        let began = Instant::now();
        self.models.backward();
        self.times.backward += began.elapsed();
        let samples = rows.len() as u64;
        let tokens = samples * self.at_hand.blocks.block() as u64;
        let clock = &mut self.progress.clock;
        clock.micro_batch_done(Samples(samples), Tokens(tokens));
        self.emit(Event::MicroBatchEnd)
    }

    /// The learning rate of the current step.
    fn rate(&self) -> f64 {
        let factor = self.progress.in_force.last_rate_factor;
        self.training.schedule.rate(self.before.step.0) * factor
    }

    fn elapsed(&self) -> Duration {
        let (began, before) = self.started;
        before + began.elapsed()
    }

    fn record_training(&mut self, rate: f64) -> Result<(), RunError> {
        self.progress.clock.elapsed = self.elapsed();
        let losses = self.progress.losses.iter();
        let mut scalars: Vec<(String, f64)> = losses
            .map(|(role, loss)| (format!("train/{role}/loss"), *loss))
            .collect();
        scalars.push(("train/lr".to_owned(), rate));
        let scales = self.models.loss_scales().into_iter();
        scalars.extend(scales.map(|(role, scale)| (format!("train/{role}/loss_scale"), scale)));
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
        let step = self.progress.clock.step.0;
        let record = Record {
            event: event.as_str(),
            source,
            step,
            clock: &self.progress.clock,
            output: &output,
            times: &[],
            columns: None,
        };
        self.recorder.record(record)?;
        self.dispatcher.see(step, &output.scalars);
        Ok(())
    }

    /// The moments at the end of the current step: it may also be the end of its epoch and of the run as planned.
    fn moments(&self) -> Vec<Moment> {
        let step = self.clock().step;
        let mut moments = vec![Moment::Step];
        if self.extent.closes_epoch(step) {
            moments.push(Moment::EpochEnd);
        }
        if step.0 == self.extent.steps() {
            moments.push(Moment::End);
        }
        moments
    }

    /// Whether a cadence of the loop's own is due. It was last checked when the run had taken `looked`.
    fn is_due(&self, cadence: &Cadence, looked: Duration, moments: &[Moment]) -> bool {
        let before = Clock {
            elapsed: looked,
            ..self.before.clone()
        };
        let mut moments = moments.iter();
        moments.any(|&moment| cadence.due(moment, &before, self.clock(), &self.extent))
    }

    /// Records the requests of hooks, each to be met at its moment.
    fn answer_requests(&mut self) -> Result<(), RunError> {
        let mut sinks = Sinks {
            recorder: &mut self.recorder,
            reporter: self.reporter,
            directory: &self.directory,
        };
        self.dispatcher.drain(&mut sinks)?;
        for request in self.dispatcher.take_requests() {
            match request {
                Request::Stop(reason) => self.progress.stopping = Some(reason),
                Request::Evaluate => self.progress.evaluate_next = true,
                Request::Save => self.save_asked = true,
            }
        }
        Ok(())
    }

    /// Waits until every background hook has reported.
    fn settle(&mut self) -> Result<(), RunError> {
        let mut sinks = Sinks {
            recorder: &mut self.recorder,
            reporter: self.reporter,
            directory: &self.directory,
        };
        self.dispatcher.settle(&mut sinks)
    }

    fn milestone(&mut self, event: Event) -> Milestone {
        self.progress.clock.elapsed = self.elapsed();
        let clock = self.clock().clone();
        let done = clock.step.0;
        let in_step = event.is_before_update();
        let step = match event.axis() {
            Axis::Steps => done + u64::from(in_step),
            Axis::MicroBatches => clock.micro_batch.0 + u64::from(event != Event::MicroBatchEnd),
            Axis::EvaluationBatches => self.progress.evaluation_batches,
        };
        let last = (done + u64::from(in_step)).saturating_sub(1);
        let factor = self.progress.in_force.last_rate_factor;
        let evaluated = self.progress.evaluated.as_ref();
        let evaluated = evaluated.filter(|one| one.step == done && !in_step);
        Milestone {
            event,
            signal: None,
            clock,
            step,
            total_steps: self.extent.steps(),
            losses: self.progress.losses.clone(),
            learning_rate: self.training.schedule.rate(last) * factor,
            times: self.times,
            evaluation: evaluated.map(|one| one.evaluation.clone()),
        }
    }

    fn emit(&mut self, event: Event) -> Result<(), RunError> {
        let milestone = self.milestone(event);
        let done = milestone.clock.micro_batch;
        self.reporter.event(event, &milestone);
        let gradients = if event.has_gradients() {
            self.models.gradients()
        } else {
            Vec::new()
        };
        let firing = Firing {
            milestone,
            before: &self.before,
            pair: &|| self.models.pair(),
            batch: &|| self.at_hand.batch(event, done),
            live: Live {
                gradients: &gradients,
                optimiser: &|role| self.models.optimiser(role),
                update: &|role| self.models.update(role),
            },
            alone: !self.saver.is_at_work(),
        };
        let mut sinks = Sinks {
            recorder: &mut self.recorder,
            reporter: self.reporter,
            directory: &self.directory,
        };
        self.dispatcher.fire(firing, &mut sinks)
    }

    /// Ends the run when a number of the current step is NaN or infinite. The weights have not changed yet, so the state after the last
    /// good step is saved.
    fn refuse_nonfinite(
        &mut self,
        what: &str,
        values: &BTreeMap<Role, f64>,
    ) -> Result<(), RunError> {
        let Some((role, value)) = values.iter().find(|(_, value)| !value.is_finite()) else {
            return Ok(());
        };
        let (step, rate) = (self.before.step.0 + 1, self.rate());
        self.progress.clock = self.before.clone();
        let saved = self.save_what_is_good()?;
        Err(RunError::NotFinite {
            what: what.to_owned(),
            role: *role,
            value: *value,
            step,
            rate,
            saved,
        })
    }
}
