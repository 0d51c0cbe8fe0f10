//! One milestone of a pair without training: every hook is called once, and the shared probes are kept for the rows.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::worker::{Call, call, context};
use super::{HookSpec, HookTime};
use crate::clock::Clock;
use crate::decode::Decoding;
use crate::event::Event;
use crate::hook::{Context, Hook, Live, Milestone, Output, Probes, Scene, Watch};
use crate::measure::divergence::Divergence;
use crate::model::Pair;
use crate::record::HookFailure;

/// What was measured.
pub struct Measured {
    /// What each hook reported, in their order.
    pub outputs: Vec<(String, Output)>,
    /// Hooks that failed.
    pub failures: Vec<HookFailure>,
    /// What each hook cost.
    pub times: Vec<HookTime>,
    /// Divergence at every template.
    pub divergences: Arc<Vec<Divergence>>,
    /// Assisted decoding of every template.
    pub decodings: Arc<Vec<Decoding>>,
}

/// Stands where a hook would, for the rows.
struct Rows;

impl Hook for Rows {
    fn at_milestone(&mut self, _: &mut Context) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Measures a pair as it is. `watch` is told how far long measurements are.
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
    let milestone = Arc::new(Milestone {
        event: Event::RunStart,
        signal: None,
        clock: Clock::default(),
        step: 0,
        total_steps: 0,
        losses: Default::default(),
        learning_rate: 0.0,
        times: Default::default(),
        evaluation: None,
    });
    let probes = Arc::new(Probes::default());
    let of = |name: &str, hook: Box<dyn Hook>, deadline| Call {
        name: name.into(),
        hook: Arc::new(Mutex::new(hook)),
        milestone: milestone.clone(),
        pair: pair.clone(),
        start: Some(pair.clone()),
        probes: probes.clone(),
        batch: None,
        scene: scene.clone(),
        deadline,
        watch: watch.clone(),
    };
    let (mut outputs, mut failures, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for spec in hooks {
        let name = spec.name;
        let start = Instant::now();
        match call(&of(&name, spec.hook, spec.deadline), Live::NONE) {
            Ok(output) => outputs.push((name.clone(), output)),
            Err(message) => failures.push(HookFailure {
                name: name.clone(),
                step: 0,
                message,
            }),
        }
        times.push(HookTime {
            name,
            calls: 1,
            total: start.elapsed(),
            longest_lag: 0,
            background: false,
            detached: None,
        });
    }
    // The rows come from the same probes as a hook's numbers, so that nothing is computed twice.
    let rows = of("rows", Box::new(Rows), None);
    let context = context(&rows, Live::NONE);
    Ok(Measured {
        divergences: context.divergences()?,
        decodings: context.decodings(None)?,
        outputs,
        failures,
        times,
    })
}
