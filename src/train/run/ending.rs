//! The last writes of a run, after success and after an error.

use super::Run;
use crate::cadence::Moment;
use crate::event::Event;
use crate::hook::Output;
use crate::model::Role;
use crate::record::checkpoint::model_folder;
use crate::record::layout::MODELS;
use crate::record::{Ended, Stop};
use crate::tensorboard::Entry;
use crate::train::outcome::{Outcome, RunError, StopReason};
use crate::train::recorder::Record;

impl Run<'_> {
    /// Ends a run without an error. Its state is saved first, so that a resume returns to the moment before the end; the measurements at
    /// the end and the models follow.
    pub(super) fn finish(mut self, stop: StopReason) -> Result<Outcome, RunError> {
        match self.finished(&stop) {
            Ok(ended) => self.close(stop, ended),
            Err(error) => {
                self.fail(&error);
                Err(error)
            }
        }
    }

    fn finished(&mut self, stop: &StopReason) -> Result<Ended, RunError> {
        let step = self.clock().step.0;
        self.before = self.clock().clone();
        let interrupted = matches!(stop, StopReason::Interrupted(_));
        if interrupted {
            if self.saved_at != Some(step) {
                self.save(false)?;
            }
        } else if self.saved_at != Some(step) {
            self.save_if(&[Moment::End])?;
        }
        self.wait_for_checkpoint()?;
        self.refuse_nonfinite_weights()?;
        self.evaluate_if_due(&[Moment::End])?;
        self.announce_evaluation()?;
        self.emit(Event::RunEnd)?;
        self.settle()?;
        self.publish_models()?;
        // TensorBoard keeps the first status that it reads, so a run that may be resumed must not have one yet.
        if !interrupted {
            self.recorder.send(Entry::SessionEnd { success: true })?;
        }
        let hooks = self.dispatcher.failures();
        let (stop, reason) = match stop {
            StopReason::Complete if hooks.is_empty() => (Stop::Complete, None),
            StopReason::Complete => (
                Stop::Incomplete,
                Some("a hook that was due did not report".to_owned()),
            ),
            StopReason::Interrupted(reason) => (Stop::Interrupted, Some(reason.clone())),
            StopReason::Requested(reason) => (Stop::Requested, Some(reason.clone())),
        };
        let ended = Ended {
            stop,
            reason,
            steps: step,
            milestones: Some(self.recorder.sync()?),
            hooks,
            interventions: self.progress.in_force.done.clone(),
            jumps: self.progress.in_force.jumps.clone(),
        };
        ended.write(&self.directory)?;
        Ok(ended)
    }

    fn close(mut self, stop: StopReason, ended: Ended) -> Result<Outcome, RunError> {
        // Includes the time that hooks took after the last step.
        self.progress.clock.elapsed = self.elapsed();
        let spans = self.recorder.close()?;
        let excesses = self.dispatcher.excesses(self.progress.clock.elapsed);
        Ok(Outcome {
            stop,
            clock: self.progress.clock,
            spans,
            interventions: ended.interventions,
            failures: ended.hooks,
            times: self.dispatcher.into_times(),
            excesses,
            directory: self.directory.path().to_owned(),
        })
    }

    /// Writes both models, each with its tokenizer into a folder that transformers can read.
    fn publish_models(&mut self) -> Result<(), RunError> {
        let pair = self.models.pair();
        for role in Role::BOTH {
            let tokenizer = match role {
                Role::Main => &self.scene.tokenizer,
                Role::Assistant => &self.assistant_tokenizer,
            };
            self.directory.publish::<RunError>(
                &format!("{MODELS}/{}", model_folder(role)),
                |folder| {
                    pair.get(role).save(folder)?;
                    Ok(tokenizer.save(folder)?)
                },
            )?;
        }
        Ok(())
    }

    /// The last writes of a failed run. Errors of these writes are ignored, since the error that ended the run is the one to report.
    pub(super) fn fail(mut self, error: &RunError) {
        let _ = self.wait_for_checkpoint();
        let _ = self.emit(Event::RunFailed);
        let _ = self.settle();
        let output = Output {
            texts: vec![("run/error".to_owned(), error.to_string())],
            ..Output::default()
        };
        let record = Record {
            event: Event::RunFailed.as_str(),
            source: "train",
            step: self.progress.clock.step.0,
            clock: &self.progress.clock,
            output: &output,
            times: &[],
            columns: None,
        };
        let _ = self.recorder.record(record);
        let _ = self.recorder.send(Entry::SessionEnd { success: false });
        let lines = self.recorder.sync();
        if let (RunError::NotFinite { .. }, Ok(recorded)) = (error, lines) {
            // The same steps would give the same numbers again.
            let ended = Ended {
                stop: Stop::Failed,
                reason: Some(error.to_string()),
                steps: self.progress.clock.step.0,
                milestones: Some(recorded),
                hooks: self.dispatcher.failures(),
                interventions: self.progress.in_force.done.clone(),
                jumps: self.progress.in_force.jumps.clone(),
            };
            let _ = ended.write(&self.directory);
        }
        let _ = self.recorder.close();
    }
}
