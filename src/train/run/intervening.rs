//! What interventions do to a run, between two steps.

use std::collections::BTreeSet;

use super::Run;
use crate::cadence::Moment;
use crate::clock::{Jump, Step};
use crate::event::Event;
use crate::hook::Output;
use crate::intervention::{Action, Deed, Done, InForce, Rollback};
use crate::model::Role;
use crate::record::checkpoint;
use crate::record::progress::Progress;
use crate::train::outcome::RunError;
use crate::train::recorder::Record;
use crate::train::resume;

impl Run<'_> {
    /// Asks the interventions that are due at one of `moments` and does what they ask for. Returns whether the run has gone back to a
    /// checkpoint.
    pub(super) fn intervene(&mut self, moments: &[Moment]) -> Result<bool, RunError> {
        let milestone = self.milestone(Event::Intervened);
        let in_force = &self.progress.in_force;
        let deeds =
            self.dispatcher
                .ask_interventions(&milestone, &self.before, moments, in_force)?;
        let mut news: Vec<Done> = Vec::new();
        let mut ended_epoch = false;
        for (name, Deed { action, reason }) in deeds {
            if let Action::RollBack {
                pass_over,
                rate_factor,
            } = action
            {
                self.roll_back(name, pass_over, rate_factor, reason)?;
                self.emit(Event::Intervened)?;
                return Ok(true);
            }
            if action == Action::EndEpoch && self.extent.closes_epoch(self.clock().step) {
                continue;
            }
            self.refuse_unknown(&name, &action)?;
            let done = Done {
                step: self.clock().step.0,
                what: format!("{action}: {reason}"),
                name,
            };
            self.say(&done);
            ended_epoch |= action == Action::EndEpoch;
            self.act(action, &reason);
            news.push(done);
        }
        if news.is_empty() {
            return Ok(false);
        }
        self.record_done(news, ["actions", "what"], |in_force, name| {
            in_force.actions_of(name) - in_force.rollbacks_of(name)
        })?;
        self.emit(Event::Intervened)?;
        if ended_epoch {
            self.evaluate_if_due(&[Moment::EpochEnd])?;
            self.announce_evaluation()?;
        }
        Ok(false)
    }

    /// Refuses an action on a parameter or a topic that is not there. It would change nothing, and be recorded as if it had.
    fn refuse_unknown(&self, name: &str, action: &Action) -> Result<(), RunError> {
        let unknown = match action {
            Action::Freeze(role, names) | Action::Thaw(role, names) => {
                let known = self.models.parameters(*role);
                let stray = names.iter().find(|name| !known.contains(name));
                stray
                    .map(|name| format!("no parameter of the {role} model that learns is `{name}`"))
            }
            Action::Weigh { topic, .. } if !self.at_hand.blocks.topics().contains(&**topic) => {
                Some(format!("no training document has the topic `{topic}`"))
            }
            _ => None,
        };
        match unknown {
            None => Ok(()),
            Some(message) => Err(RunError::Intervention {
                name: name.to_owned(),
                message,
            }),
        }
    }

    fn say(&mut self, Done { step, name, what }: &Done) {
        let line = format!("intervention `{name}` at step {step} {what}");
        self.reporter.say(&line);
    }

    /// Changes the training.
    fn act(&mut self, action: Action, reason: &str) {
        let in_force = &mut self.progress.in_force;
        match action {
            Action::Stop => self.progress.stopping = Some(reason.to_owned()),
            Action::EndEpoch => {
                let after = self.progress.clock.step;
                let over = self.extent.left_of_epoch(after);
                self.jump(Jump { after, over });
            }
            Action::ScaleRate(factor) => in_force.rate_factor *= factor,
            Action::Freeze(role, names) => {
                in_force.frozen.entry(role).or_default().extend(names);
                self.freeze();
            }
            Action::Thaw(role, names) => {
                in_force
                    .frozen
                    .entry(role)
                    .or_default()
                    .retain(|name| !names.contains(name));
                self.freeze();
            }
            Action::Weigh { topic, weight } => drop(in_force.weights.insert(topic, weight)),
            // Done by `roll_back`, which changes all of this.
            Action::RollBack { .. } => {}
        }
    }

    /// Passes over data from here on.
    fn jump(&mut self, jump: Jump) {
        if jump.over > 0 {
            self.progress.in_force.jumps.push(jump);
        }
        self.measure_out();
    }

    /// Brings the run's extent in line with the data that was passed over.
    pub(super) fn measure_out(&mut self) {
        let jumps = self.progress.in_force.jumps.clone();
        self.extent = self.extent.with_jumps(jumps);
        let clock = &mut self.progress.clock;
        *clock = self.extent.restored(clock.clone());
        self.dispatcher.measure_out(self.extent.clone());
    }

    /// Freezes what is to be frozen.
    pub(super) fn freeze(&mut self) {
        for role in Role::BOTH {
            let frozen = &self.progress.in_force.frozen;
            let names = frozen.get(&role).cloned().unwrap_or_default();
            self.models.freeze(role, names);
        }
    }

    /// Goes back to the newest checkpoint of the run's own: weights, optimisers, everything of the run's state, and everything recorded since then. Only the
    /// rollbacks themselves are kept.
    fn roll_back(
        &mut self,
        name: String,
        pass_over: bool,
        rate_factor: f64,
        reason: String,
    ) -> Result<(), RunError> {
        self.settle()?;
        self.wait_for_checkpoint()?;
        self.recorder.flush()?;
        if let Some(own) = self.progress.own_checkpoint {
            checkpoint::discard_after(&self.directory, own)?;
        }
        let (from, place) = (self.clock().step.0, self.extent.place(self.clock().step));
        let before = std::mem::take(&mut self.progress.in_force.rollbacks);
        let reporter = &mut *self.reporter;
        let start = resume::find(&self.directory, &mut *self.models, &mut |line| {
            reporter.say(line);
        })?;
        if start.checkpoint.is_none() {
            return Err(RunError::Intervention {
                name,
                message: "there is no checkpoint to go back to".to_owned(),
            });
        }
        self.recorder = start.go_back(&self.directory)?;
        self.take(start.progress.clone())?;
        let to = self.clock().step.0;
        // Those that have gone back to this checkpoint before are not in it.
        let known = self.progress.in_force.rollbacks.len();
        let mut done = Vec::new();
        for rollback in before.into_iter().skip(known) {
            done.push(self.go_on_after(rollback));
        }
        let over = if pass_over {
            place.saturating_sub(self.extent.place(Step(to)))
        } else {
            0
        };
        let news = self.go_on_after(Rollback {
            name,
            to,
            from,
            over,
            rate_factor,
            reason,
        });
        self.say(&news);
        done.push(news);
        self.record_done(done, ["rollbacks", "undone"], InForce::rollbacks_of)
    }

    /// What is different after a rollback from what was there before.
    fn go_on_after(&mut self, rollback: Rollback) -> Done {
        self.progress.in_force.rate_factor *= rollback.rate_factor;
        let (to, from) = (rollback.to, rollback.from);
        self.jump(Jump {
            after: Step(to),
            over: rollback.over,
        });
        let mut what = format!("goes back from step {from} to step {to}");
        if rollback.over > 0 {
            let steps = if rollback.over == 1 { "step" } else { "steps" };
            what += &format!(", and passes over the data of {} {steps}", rollback.over);
        }
        if rollback.rate_factor != 1.0 {
            let factor = rollback.rate_factor;
            what += &format!(", and multiplies the learning rate by {factor}");
        }
        let done = Done {
            step: to,
            name: rollback.name.clone(),
            what: format!("{what}: {}", rollback.reason),
        };
        self.progress.in_force.rollbacks.push(rollback);
        done
    }

    /// Takes the state of a checkpoint back, apart from weights, optimisers and records.
    fn take(&mut self, mut progress: Progress) -> Result<(), RunError> {
        let step = progress.clock.step.0;
        let requests = std::mem::take(&mut progress.requests);
        let values = std::mem::take(&mut progress.values);
        let hooks = std::mem::take(&mut progress.hooks);
        let interventions = std::mem::take(&mut progress.interventions);
        self.dispatcher.interveners.restore(interventions)?;
        self.dispatcher
            .restore(step, requests, values, hooks, self.reporter)?;
        self.progress = progress;
        self.measure_out();
        self.freeze();
        self.before = self.clock().clone();
        self.epochs_ended = self.clock().epoch;
        self.saved_at = Some(step);
        self.save_asked = false;
        self.evaluation_is_news = false;
        Ok(())
    }

    /// Records what was done, a line for each intervention, with its number so far below `count` and the text below `text`. Rollbacks have
    /// tags of their own: an intervention may have acted at the step of a checkpoint before the checkpoint was saved.
    fn record_done(
        &mut self,
        news: Vec<Done>,
        [count, text]: [&str; 2],
        so_far: impl Fn(&InForce, &str) -> usize,
    ) -> Result<(), RunError> {
        let names: BTreeSet<String> = news.iter().map(|done| done.name.clone()).collect();
        self.progress.in_force.done.extend(news.iter().cloned());
        self.progress.clock.elapsed = self.elapsed();
        for name in names {
            let own = news.iter().filter(|done| done.name == name);
            let texts: Vec<&str> = own.map(|done| done.what.as_str()).collect();
            let so_far = so_far(&self.progress.in_force, &name);
            let output = Output {
                scalars: vec![(format!("intervention/{name}/{count}"), so_far as f64)],
                texts: vec![(format!("intervention/{name}/{text}"), texts.join("; "))],
                ..Output::default()
            };
            self.recorder.record(Record {
                event: Event::Intervened.as_str(),
                source: &format!("intervention/{name}"),
                step: self.progress.clock.step.0,
                clock: &self.progress.clock,
                output: &output,
                times: &[],
                columns: None,
            })?;
        }
        self.recorder.flush()
    }
}
