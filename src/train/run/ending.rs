//! The last writes of a run, whether it ended well or not.

use super::Run;
use crate::cadence::Moment;
use crate::event::Event;
use crate::hook::Output;
use crate::model::Role;
use crate::tensorboard::Entry;
use crate::train::outcome::{Outcome, RunError, StopReason};
use crate::train::recorder::{Record, RecordError};

impl Run<'_> {
    pub(super) fn finish(mut self, stop: StopReason) -> Result<Outcome, RunError> {
        self.before = self.clock.clone();
        if self.evaluated_at != Some(self.clock.step.0) {
            self.evaluation = None;
            self.evaluate_if_due(&[Moment::End])?;
            self.announce_evaluation()?;
        }
        self.emit(Event::RunEnd)?;
        self.settle()?;
        for role in Role::BOTH {
            let model = self.pair().get(role).clone();
            let tokenizer = self.tokenizer_json.clone();
            self.directory
                .publish::<RunError>(&format!("models/{role}"), |folder| {
                    model.save(folder)?;
                    let path = folder.join("tokenizer.json");
                    crate::atomic::write(&path, tokenizer.as_bytes())
                        .map_err(|source| RecordError::Io { path, source }.into())
                })?;
        }
        let interrupted = stop == StopReason::Interrupted;
        let save = self.training.save.as_ref();
        if interrupted || save.is_some_and(|cadence| self.is_due(cadence, &[Moment::End])) {
            self.save(!interrupted)?;
        }
        self.directory
            .write("outcome.json", &stop.described(&self.clock))?;
        // TensorBoard keeps the first status it reads for good, so a run that may be resumed has none yet.
        if !interrupted {
            self.recorder.send(Entry::SessionEnd { success: true })?;
        }
        // With the time that hooks took after the last step.
        self.clock.elapsed = self.started.elapsed();
        let clock = self.clock.clone();
        let spans = self.recorder.close()?;
        let (failures, times) = self.dispatcher.into_account();
        Ok(Outcome {
            stop,
            clock,
            spans,
            failures,
            times,
            directory: self.directory.path().to_owned(),
        })
    }

    /// The last writes of a run that failed, as far as they still can be made; the error that ended it is what matters.
    pub(super) fn fail(mut self, error: &RunError) {
        let _ = self.emit(Event::RunFailed);
        let _ = self.settle();
        let output = Output {
            texts: vec![("run/error".to_owned(), error.to_string())],
            ..Output::default()
        };
        let record = Record {
            event: Event::RunFailed.as_str(),
            source: "train",
            step: self.clock.step.0,
            clock: &self.clock,
            output: &output,
            times: &[],
        };
        let _ = self.recorder.record(record);
        let _ = self.recorder.send(Entry::SessionEnd { success: false });
        let _ = self.recorder.close();
    }
}
