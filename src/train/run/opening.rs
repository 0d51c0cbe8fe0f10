//! The first writes of a run, or its return to the point where it was killed.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::at_hand::AtHand;
use super::{Begin, Run};
use crate::clock::Epoch;
use crate::hook::{Shows, StepTimes};
use crate::model::Network;
use crate::record::{RunDirectory, experiment, pairs, treatments};
use crate::tensorboard::{Entry, HparamValue};
use crate::train::dispatcher::Dispatcher;
use crate::train::learners::Trained;
use crate::train::outcome::RunError;
use crate::train::recorder::Recorder;
use crate::train::resume;
use crate::train::saver::Saver;
use crate::train::{Plan, Reporter, charts};

impl<'a> Run<'a> {
    /// Opens a run. Everything is read and checked before the first write into the run's folder.
    pub(super) fn open(
        plan: Plan,
        mut models: Box<dyn Trained>,
        begin: Begin,
        reporter: &'a mut dyn Reporter,
        interrupt: &'a AtomicBool,
    ) -> Result<Self, RunError> {
        let directory = match begin {
            Begin::Anew => RunDirectory::create(&plan.directory)?,
            Begin::Resume | Begin::Extend => RunDirectory::existing(&plan.directory)?,
        };
        let shows: Vec<Shows> = plan.hooks.iter().map(|hook| hook.shows.clone()).collect();
        let trained = plan.training.models.iter();
        let weights = trained
            .map(|role| bytes_of_weights(plan.pair.get(*role)))
            .sum();
        let mut dispatcher = Dispatcher::new(
            plan.hooks,
            plan.scene.clone(),
            || plan.pair.snapshot(),
            plan.extent.clone(),
            plan.queue,
            weights,
        )?
        .watched_by(reporter.watch())
        .with_interventions(plan.interventions);
        let start = match begin {
            Begin::Anew => resume::Start::default(),
            Begin::Resume | Begin::Extend => {
                resume::find(&directory, &mut *models, &mut |line| reporter.say(line))?
            }
        };
        let mut progress = start.progress.clone();
        let extent = plan.extent.with_jumps(progress.in_force.jumps.clone());
        progress.clock = extent.restored(progress.clock);
        progress.begun |= progress.clock.step.0 > 0;
        if begin == Begin::Extend {
            let (done, steps) = (progress.clock.step.0, extent.steps());
            if start.checkpoint.is_none() || done >= steps {
                return Err(RunError::NothingToExtend { done, steps });
            }
            progress.stopping = None;
        }
        let (step, requests) = (
            progress.clock.step.0,
            std::mem::take(&mut progress.requests),
        );
        let hooks = std::mem::take(&mut progress.hooks);
        let values = std::mem::take(&mut progress.values);
        dispatcher.restore(step, requests, values, hooks, reporter)?;
        let interventions = std::mem::take(&mut progress.interventions);
        dispatcher.interveners.restore(interventions)?;
        // The records are cut back before the experiment may change. A new run writes its experiment before it records: with that file it
        // has begun.
        let back = match begin {
            Begin::Anew => None,
            Begin::Resume | Begin::Extend => Some(start.go_back(&directory)?),
        };
        plan.manifest.write(&directory)?;
        experiment::write(&directory, &plan.resolved)?;
        let mut recorder = match back {
            Some(recorder) => recorder,
            None => Recorder::create(directory.path())?,
        };
        pairs::write(&directory, &plan.scene.templates)?;
        treatments::write(&directory, &plan.treatments)?;
        match &start.checkpoint {
            Some(path) => reporter.say(&format!("resumed from {}", path.display())),
            None => {
                describe(
                    &mut recorder,
                    plan.hparams,
                    &shows,
                    &plan.resolved,
                    &plan.origin,
                )?;
            }
        }
        let mut run = Self {
            seed: plan.seed,
            extent,
            at_hand: AtHand::new(
                plan.blocks,
                plan.scene.held_out.clone(),
                plan.training.models.clone(),
            ),
            training: plan.training,
            models,
            order: (Epoch(0), Vec::new()),
            times: StepTimes::default(),
            scene: plan.scene,
            assistant_tokenizer: plan.assistant_tokenizer,
            before: progress.clock.clone(),
            started: (Instant::now(), progress.clock.elapsed),
            saved_at: start.checkpoint.is_some().then_some(step),
            save_asked: false,
            evaluation_is_news: false,
            epochs_ended: progress.clock.epoch,
            progress,
            dispatcher,
            recorder,
            directory: Arc::new(directory),
            saver: Saver::default(),
            reporter,
            interrupt,
        };
        run.measure_out();
        run.freeze();
        Ok(run)
    }
}

/// The bytes that the weights of a model take that change in training.
fn bytes_of_weights(model: &Network) -> u64 {
    let trained = model.trained_parameters().into_iter();
    let count: usize = trained.map(|(_, values)| values.dims()[0]).sum();
    (count * size_of::<f32>()) as u64
}

/// Sends what TensorBoard shows of a run besides its curves.
fn describe(
    recorder: &mut Recorder,
    hparams: Vec<(String, HparamValue)>,
    shows: &[Shows],
    resolved: &str,
    origin: &str,
) -> Result<(), RunError> {
    let metrics = shows.iter().flat_map(|shows| shows.metrics.clone());
    recorder.send(Entry::Hparams {
        hparams,
        metrics: metrics.collect(),
    })?;
    recorder.send(Entry::Layout(charts::layout(shows)))?;
    for (tag, markdown) in [
        ("run/experiment", format!("```toml\n{resolved}\n```")),
        ("run/data", origin.to_owned()),
    ] {
        recorder.send(Entry::Text {
            tag: tag.to_owned(),
            step: 0,
            wall: std::time::SystemTime::now(),
            markdown,
        })?;
    }
    Ok(())
}
