//! One milestone of a pair apart from the record of a run: every hook is called once.

use std::sync::{Arc, Mutex};

use super::worker::{Call, call_inline, context};
use super::{HookSpec, HookTime};
use crate::clock::Clock;
use crate::decode::Decoding;
use crate::event::Event;
use crate::hook::{Context, Cost, Hook, Live, Milestone, Output, Probes, Scene, Watch};
use crate::measure::divergence::Divergence;
use crate::model::Pair;
use crate::record::HookFailure;

/// What hooks found that were called once.
#[derive(Default)]
pub struct Called {
    /// What each hook reported, in their order.
    pub outputs: Vec<(String, Output)>,
    /// Hooks that failed.
    pub failures: Vec<HookFailure>,
    /// What each hook cost.
    pub times: Vec<HookTime>,
}

/// What was measured of a pair without training.
pub struct Measured {
    /// What the hooks found.
    pub called: Called,
    /// Divergence at every template.
    pub divergences: Arc<Vec<Divergence>>,
    /// Assisted decoding of every template.
    pub decodings: Arc<Vec<Decoding>>,
}

/// What all calls at one moment see.
pub(super) struct Moment {
    pub milestone: Arc<Milestone>,
    pub pair: Arc<Pair>,
    /// The pair before the first step. None where it was not kept.
    pub start: Option<Arc<Pair>>,
    pub scene: Arc<Scene>,
    pub probes: Arc<Probes>,
    pub watch: Option<Arc<Watch>>,
}

impl Moment {
    fn of(&self, name: &str, hook: Box<dyn Hook>, deadline: Option<u64>) -> Call {
        Call {
            name: name.into(),
            hook: Arc::new(Mutex::new(hook)),
            milestone: self.milestone.clone(),
            pair: self.pair.clone(),
            start: self.start.clone(),
            probes: self.probes.clone(),
            batch: None,
            scene: self.scene.clone(),
            deadline,
            watch: self.watch.clone(),
        }
    }

    /// Calls each hook once. A hook's failure is kept in the result.
    pub fn call(&self, hooks: Vec<HookSpec>) -> Called {
        let mut called = Called::default();
        for spec in hooks {
            let name = spec.name;
            let (result, cost) = if spec.compares_with_start && self.start.is_none() {
                let message = "it compares with the pair before the first step, which is kept only where a hook of the run compares with it";
                (Err(message.to_owned()), Cost::default())
            } else {
                call_inline(&self.of(&name, spec.hook, spec.deadline), Live::NONE)
            };
            match result {
                Ok(output) => called.outputs.push((name.clone(), output)),
                Err(message) => called.failures.push(HookFailure {
                    name: name.clone(),
                    step: self.milestone.step,
                    message,
                }),
            }
            called.times.push(HookTime {
                name,
                calls: 1,
                cost,
                longest_lag: 0,
                background: false,
                detached: None,
            });
        }
        called
    }
}

/// Stands where a hook would, for the rows.
struct Rows;

impl Hook for Rows {
    fn at_milestone(&mut self, _: &mut Context) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Measures a pair as it is, without training. `watch` is told how far long measurements are.
///
/// # Errors
/// When the divergences or decodings of the templates cannot be computed; a hook's failure is kept in the result.
pub fn measure(
    pair: Pair,
    scene: Arc<Scene>,
    hooks: Vec<HookSpec>,
    watch: Option<Arc<Watch>>,
) -> anyhow::Result<Measured> {
    let pair = Arc::new(pair);
    let milestone = Milestone {
        event: Event::RunStart,
        signal: None,
        clock: Clock::default(),
        step: 0,
        total_steps: 0,
        losses: Default::default(),
        learning_rate: 0.0,
        times: Default::default(),
        evaluation: None,
    };
    let moment = Moment {
        milestone: Arc::new(milestone),
        start: Some(pair.clone()),
        pair,
        scene,
        probes: Arc::default(),
        watch,
    };
    let called = moment.call(hooks);
    // The rows come from the same probes as a hook's numbers, so that nothing is computed twice.
    let rows = moment.of("rows", Box::new(Rows), None);
    let context = context(&rows, Live::NONE);
    Ok(Measured {
        divergences: context.divergences()?,
        decodings: context.decodings(None)?,
        called,
    })
}
