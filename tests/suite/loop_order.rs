//! The order of events, and when hooks are called: a golden trace, a second telling of the loop, and budgets.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use burn::tensor::Device;
use milepost::cadence::Cadence;
use milepost::clock::{Extent, Length};
use milepost::data::blocks::Blocks;
use milepost::hook::{Context, Milestone, Runs};
use milepost::train::{Begin, Reporter, finetune};

use crate::harness::fixture_pair;
use crate::small_run::*;

/// Epoch, step and micro-batches done at every event of a run of 7 blocks: 4 micro-batches an epoch (the last of one block), 2 steps.
#[test]
fn the_golden_trace_of_a_small_run() {
    let folder = tempfile::tempdir().unwrap();
    let (_, trace) = go(plan(
        &folder.path().join("run"),
        7,
        Length::Steps(3),
        Vec::new(),
    ));
    let expected = "evaluation-start 0/0/0, evaluation-batch-end 0/0/0, run-start 0/0/0, evaluated 0/0/0, epoch-start 0/0/0, \
        step-start 0/0/0, batch-ready 0/0/0, backward-start 0/0/0, micro-batch-end 0/0/1, batch-ready 0/0/1, backward-start 0/0/1, micro-batch-end 0/0/2, \
        gradients-ready 0/0/2, gradients-clipped 0/0/2, weights-updated 0/1/2, step-end 0/1/2, \
        step-start 0/1/2, batch-ready 0/1/2, backward-start 0/1/2, micro-batch-end 0/1/3, batch-ready 0/1/3, backward-start 0/1/3, micro-batch-end 0/1/4, \
        gradients-ready 0/1/4, gradients-clipped 0/1/4, weights-updated 1/2/4, evaluation-start 1/2/4, evaluation-batch-end 1/2/4, evaluated 1/2/4, \
        step-end 1/2/4, epoch-end 1/2/4, checkpoint-saved 1/2/4, epoch-start 1/2/4, \
        step-start 1/2/4, batch-ready 1/2/4, backward-start 1/2/4, micro-batch-end 1/2/5, batch-ready 1/2/5, backward-start 1/2/5, micro-batch-end 1/2/6, \
        gradients-ready 1/2/6, gradients-clipped 1/2/6, weights-updated 1/3/6, step-end 1/3/6, run-end 1/3/6";
    assert_eq!(trace.events.join(", "), expected);
}

#[test]
fn a_milestone_that_several_clauses_name_fires_once() {
    let folder = tempfile::tempdir().unwrap();
    let at = ["start", "every step", "every epoch", "every 50%", "end"];
    let hook = spec(
        "counter",
        &at,
        Each(|context: &mut Context| {
            let step = context.milestone().step;
            context.scalar("counter/step", step as f64);
            Ok(())
        }),
    );
    let (outcome, trace) = go(plan(
        &folder.path().join("run"),
        7,
        Length::Epochs(2),
        vec![hook],
    ));
    let steps: Vec<u64> = trace.hooks.iter().map(|(_, step)| *step).collect();
    assert_eq!(steps, [0, 1, 2, 3, 4]);
    assert_eq!(outcome.spans["counter/step"].last, (4, 4.0));
}

/// The events of a run in the words of `Event`'s documentation: blocks, batch, accumulation, steps in all, and the step after which a
/// hook stops it.
fn told(
    blocks: usize,
    batch: usize,
    accumulation: usize,
    total: u64,
    stop: Option<u64>,
) -> Vec<String> {
    let mut events = vec!["run-start 0/0/0".to_owned()];
    let (mut epoch, mut step, mut micro) = (0, 0, 0);
    let last = stop.unwrap_or(total).min(total);
    while step < last {
        events.push(format!("epoch-start {epoch}/{step}/{micro}"));
        let mut left = blocks;
        while left > 0 && step < last {
            events.push(format!("step-start {epoch}/{step}/{micro}"));
            for _ in 0..accumulation {
                if left > 0 {
                    left -= left.min(batch);
                    events.push(format!("batch-ready {epoch}/{step}/{micro}"));
                    events.push(format!("backward-start {epoch}/{step}/{micro}"));
                    micro += 1;
                    events.push(format!("micro-batch-end {epoch}/{step}/{micro}"));
                }
            }
            events.push(format!("gradients-ready {epoch}/{step}/{micro}"));
            events.push(format!("gradients-clipped {epoch}/{step}/{micro}"));
            step += 1;
            epoch += u64::from(left == 0);
            events.push(format!("weights-updated {epoch}/{step}/{micro}"));
            events.push(format!("step-end {epoch}/{step}/{micro}"));
            if left == 0 {
                events.push(format!("epoch-end {epoch}/{step}/{micro}"));
            }
        }
    }
    events.push(format!("run-end {epoch}/{step}/{micro}"));
    events
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]
    /// Whatever the shape of the run, its cadences and where it stops: events come in the documented order, and every milestone that
    /// is due fires, once.
    #[test]
    fn events_and_milestones_hold_for_every_shape_of_run(
        blocks in 1usize..8,
        batch in 1usize..4,
        accumulation in 1usize..4,
        epochs in proptest::bool::ANY,
        amount in 1u64..5,
        stop in proptest::option::of(1u64..6),
        clauses in proptest::sample::subsequence(vec!["start", "every step", "every 2 steps", "every epoch", "every 40%", "log2 steps", "every 40 tokens", "end"], 1..4),
        background in proptest::bool::ANY,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let length = if epochs { Length::Epochs(amount.min(2)) } else { Length::Steps(amount) };
        let mut watcher = spec("watcher", &clauses, Each(|context: &mut Context| {
            let step = context.milestone().step;
            context.scalar("watcher/step", step as f64);
            Ok(())
        }));
        watcher.runs = if background { Runs::Background } else { Runs::Inline };
        let mut stopper = spec("stopper", &[&format!("steps {}", stop.unwrap_or(9999))], Each(|context: &mut Context| {
            context.request_stop("told to");
            Ok(())
        }));
        stopper.runs = Runs::Inline;
        let mut plan = plan(&folder.path().join("run"), blocks, Length::Steps(1), vec![watcher, stopper]);
        plan.pair = fixture_pair(&Device::flex().autodiff());
        plan.blocks = Blocks::cut((0..blocks as u32 * 16).map(|id| id % 97).collect(), 16).unwrap();
        plan.extent = Extent::new(blocks as u64, batch as u64, accumulation as u64, 16, length).unwrap();
        plan.training.batch = batch;
        plan.training.accumulation = accumulation;
        plan.training.evaluate = Cadence::parse(&["steps 9999"]).unwrap();
        plan.training.save = None;
        let extent = plan.extent.clone();
        let (outcome, trace) = go(plan);
        proptest::prop_assert_eq!(trace.events, told(blocks, batch, accumulation, extent.steps(), stop));
        let last = stop.unwrap_or(u64::MAX).min(extent.steps());
        let cadence = Cadence::parse(&clauses).unwrap();
        let mut expected: Vec<u64> =
            cadence.firings(&extent).map(|step| step.0).filter(|step| *step <= last).collect();
        if clauses.contains(&"end") && !expected.contains(&last) {
            expected.push(last);
        }
        let mut found: Vec<u64> = trace.hooks.iter().filter(|(name, _)| name == "watcher").map(|(_, step)| *step).collect();
        found.sort_unstable();
        proptest::prop_assert_eq!(found, expected);
        proptest::prop_assert_eq!(outcome.clock.step.0, last);
        proptest::prop_assert!(outcome.failures.is_empty());
    }
}

#[test]
fn hooks_with_a_budget_are_called_together_and_keep_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let seen: Arc<Mutex<Vec<(u64, Duration)>>> = Arc::default();
    let calls = seen.clone();
    // Each takes a third of what a step has taken so far, whatever the speed of the machine.
    let work = |milestone: &Milestone| match milestone.step {
        0 => std::thread::sleep(Duration::from_millis(1)),
        step => std::thread::sleep(milestone.clock.elapsed / (3 * step as u32)),
    };
    let first = Each(move |context: &mut Context| {
        let milestone = context.milestone();
        let mut seen = seen.lock().unwrap();
        seen.push((milestone.step, milestone.clock.elapsed));
        work(milestone);
        Ok(())
    });
    let second = Each(move |context: &mut Context| {
        work(context.milestone());
        Ok(())
    });
    let at = ["start", "budget 10%"];
    let mut costs: Vec<(u64, f64)> = Vec::new();
    struct Costs<'a>(&'a mut Vec<(u64, f64)>);
    impl Reporter for Costs<'_> {
        fn hook(&mut self, _: &str, step: u64, seconds: f64) {
            self.0.push((step, seconds));
        }
    }
    let hooks = vec![spec("first", &at, first), spec("second", &at, second)];
    let plan = plan(&folder.path().join("run"), 7, Length::Steps(60), hooks);
    finetune(
        plan,
        Begin::Anew,
        &mut Costs(&mut costs),
        &AtomicBool::new(false),
    )
    .unwrap();
    let calls = calls.lock().unwrap();
    assert!(
        calls.len() >= 3 && calls.len() < 60,
        "{} calls",
        calls.len()
    );
    let steps = |of: usize| -> Vec<u64> {
        costs
            .iter()
            .skip(of)
            .step_by(2)
            .map(|(step, _)| *step)
            .collect()
    };
    let expected: Vec<u64> = calls.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps(0), expected);
    assert_eq!(steps(1), expected);
    // At each call, what was spent before and half of the last call's cost are within the share of the time so far.
    for (index, (step, elapsed)) in calls.iter().enumerate().skip(1) {
        let total: f64 = costs[..2 * index].iter().map(|(_, seconds)| seconds).sum();
        let last: f64 = costs[2 * index - 2..2 * index]
            .iter()
            .map(|(_, seconds)| seconds)
            .sum();
        let allowed = 0.1 * elapsed.as_secs_f64();
        assert!(
            total + last / 2.0 <= allowed + 1e-6,
            "step {step}: {total} + {last} / 2 > {allowed}"
        );
    }
}
