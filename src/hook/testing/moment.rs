//! The moments of a bench: the milestone that the loop would report, and the models at that moment.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use burn::optim::GradientsParams;

use super::models::gradients;
use super::{At, Bench};
use crate::clock::{Extent, Length, MicroBatch, Step};
use crate::event::Event;
use crate::hook::{Kind, Milestone, StepTimes};
use crate::model::{Network, Pair, Role};

/// The learning rate of all milestones.
const LEARNING_RATE: f64 = 1e-3;

/// A moment with everything that a hook can see.
pub(super) struct Moment {
    pub milestone: Milestone,
    pub pair: Pair,
    /// The models on an autodiff device with their gradients. Empty unless the event has gradients.
    pub trained: Vec<(Role, Network, GradientsParams)>,
}

impl Bench {
    /// The moments at which a hook of `kind` is called.
    pub(super) fn moments(
        &self,
        kind: &Kind,
        at: impl IntoIterator<Item = impl Into<At>>,
    ) -> Result<Vec<Moment>> {
        let at: Vec<At> = at.into_iter().map(Into::into).collect();
        for both in at.windows(2) {
            ensure!(
                both[0].number() < both[1].number(),
                "a milestone at step {} behind one at step {}: a hook is called once a step, in the order of the steps",
                both[1].number(),
                both[0].number()
            );
        }
        let last = at.last().map_or(0, At::number);
        let steps = self.steps.unwrap_or(last);
        ensure!(
            last <= steps,
            "a milestone at step {last} of a run of {steps} steps"
        );
        let at = at.iter();
        at.map(|at| self.moment(at, at.event_for(kind), steps))
            .collect()
    }

    fn moment(&self, at: &At, event: Event, steps: u64) -> Result<Moment> {
        let (step, held_out) = (at.number(), &self.scene.held_out);
        let in_step = event.is_before_update();
        ensure!(
            step > 0 || !in_step,
            "`{event}` is a moment of a step, and the first step is 1"
        );
        let done = step - u64::from(in_step);
        let pair = self.pair_at(done);
        let mut losses = BTreeMap::new();
        if step > 0 {
            losses = self
                .scene
                .evaluation(&self.pair_at(step - 1), &|| Ok(()))?
                .losses;
            losses.extend(at.losses());
        }
        let evaluation = match at.evaluation() {
            None if event == Event::Evaluated => Some(self.scene.evaluation(&pair, &|| Ok(()))?),
            given => given.cloned(),
        };
        let trained = Role::BOTH.into_iter().filter(|_| event.has_gradients());
        let trained = trained.map(|role| {
            let (model, gradients) = gradients(pair.get(role), held_out);
            (role, model, gradients)
        });
        let (samples, block) = (held_out.len() as u64, held_out.block() as u64);
        let extent = Extent::new(samples, 1, 1, block, Length::Steps(steps.max(1)))?;
        let mut clock = extent.clock_after(Step(done));
        if matches!(
            event,
            Event::StepStart | Event::BatchReady | Event::BackwardStart
        ) {
            clock.micro_batch = MicroBatch(step.saturating_sub(1));
        } else {
            clock.micro_batch = MicroBatch(step);
        }
        clock.elapsed = Duration::from_secs(step);
        Ok(Moment {
            trained: trained.collect(),
            milestone: Milestone {
                event,
                signal: None,
                clock,
                step,
                total_steps: steps,
                losses,
                learning_rate: LEARNING_RATE,
                times: StepTimes::default(),
                evaluation,
            },
            pair,
        })
    }
}
