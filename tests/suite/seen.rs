//! What hooks see of a step beside its gradients: the batch and its documents, moments, updates, times. Against PyTorch doing the same by hand.

use std::path::Path;
use std::sync::{Arc, Mutex};

use burn::tensor::Device;
use milepost::cadence::Cadence;
use milepost::clock::{Extent, Length};
use milepost::data::blocks::Blocks;
use milepost::event::Event;
use milepost::hook::{Context, Runs};
use milepost::model::{Network, Pair, Role};
use milepost::train::{Decay, HookSpec, Plan};
use serde_json::Value;

use crate::harness::{close, fixture, numbers};
use crate::small_run::*;

/// The ids of `tests/fixtures/seen/make_fixtures.py`: 12 blocks of 16.
fn ids() -> Vec<u32> {
    let blocks = (0..12u32).flat_map(|block| (0..16u32).map(move |place| (block, place)));
    let ids = blocks.map(|(block, place)| (block * 131 + place * place * 17 + place * 7) % 97);
    ids.collect()
}

/// A run of three steps over them: micro-batches of 2, two of them a step, at a constant rate and without dropout.
fn three_steps(directory: &Path, hooks: Vec<HookSpec>) -> Plan {
    let mut plan = plan(directory, 7, Length::Steps(3), hooks);
    // Their configurations ask for dropout.
    let load = |name| Network::load(&fixture(name), &Device::flex().autodiff()).unwrap();
    let load = |name| load(name).with_dropout(0.0);
    plan.pair = Pair::new(load("main"), load("assistant")).unwrap();
    // Three documents: one within a block, one over several, one to the end.
    let documents = [(0, Some("short")), (5, None), (40, Some("long"))];
    let documents = documents.map(|(start, topic)| (start, topic.map(Arc::from)));
    plan.blocks = Blocks::cut(ids(), 16).unwrap().made_of(documents.into());
    plan.extent = Extent::new(12, 2, 2, 16, Length::Steps(3)).unwrap();
    plan.training.schedule.decay = Decay::Constant;
    plan.training.evaluate = Cadence::parse(&["steps 9999"]).unwrap();
    plan.training.save = None;
    plan
}

/// An inline hook at an event of every step.
fn at(
    event: Event,
    look: impl FnMut(&mut Context) -> anyhow::Result<()> + Send + 'static,
) -> HookSpec {
    let mut spec = spec(event.as_str(), &["start", "every step"], Each(look));
    spec.on = Some(event);
    spec.runs = Runs::Inline;
    spec
}

fn reference() -> Value {
    let text = include_str!("../fixtures/seen/reference.json");
    serde_json::from_str(text).unwrap()
}

#[test]
fn updates_and_moments_are_those_of_pytorch() {
    let reference = reference();
    let seen = Arc::new(Mutex::new(0));
    let count = seen.clone();
    let hook = at(Event::WeightsUpdated, move |context| {
        *count.lock().unwrap() += 1;
        let step = context.milestone().step as usize;
        for role in Role::BOTH {
            let expected = &reference[role.as_str()][step - 1];
            let (update, optimiser) = (context.update(role)?, context.optimiser(role)?);
            assert_eq!(optimiser.steps, step as u64);
            for (what, found) in [
                ("update", update.norms()),
                ("mean", optimiser.mean.norms()),
                ("square", optimiser.square.norms()),
                (
                    "step_size",
                    optimiser.step_sizes(context.milestone().learning_rate),
                ),
            ] {
                let tensors = expected["tensors"].as_object().unwrap();
                assert_eq!(found.len(), tensors.len());
                for (name, found) in found {
                    // The loss does not depend on a key bias: its gradient is rounding noise, which AdamW divides by its own size.
                    let is_noisy = name.ends_with("c_attn.bias") && what != "mean";
                    if !is_noisy {
                        let expected = tensors[&name][what].as_f64().unwrap();
                        close(found, expected, 1e-4, 0.0, &format!("{what} of {name}"));
                    }
                }
            }
            let name = "h.0.mlp.c_fc.bias";
            for (what, values) in [
                ("update", &update),
                ("mean", &optimiser.mean),
                ("square", &optimiser.square),
            ] {
                let expected = numbers(&expected[name][what]);
                let scale = expected
                    .iter()
                    .fold(0.0f64, |scale, one| scale.max(one.abs()));
                let found = values.values(name).unwrap();
                assert_eq!(found.len(), expected.len());
                for (found, expected) in found.iter().zip(expected) {
                    close(f64::from(*found), expected, 1e-4, scale, what);
                }
            }
            assert!(update.values("no such tensor").is_none());
        }
        Ok(())
    });
    let folder = tempfile::tempdir().unwrap();
    let (outcome, _) = go(three_steps(&folder.path().join("run"), vec![hook]));
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    assert_eq!(*seen.lock().unwrap(), 3);
}

/// An event, its x axis and the blocks that a hook saw there.
type Looked = (Event, u64, Vec<usize>);

/// At every moment of a step hooks see the rows that the step reads, and each row knows its documents.
#[test]
fn the_batch_is_what_the_step_reads() {
    let seen: Arc<Mutex<Vec<Looked>>> = Arc::default();
    let look = |seen: &Arc<Mutex<Vec<Looked>>>| {
        let seen = seen.clone();
        move |context: &mut Context| {
            let (event, step) = (context.milestone().event, context.milestone().step);
            let rows: Vec<_> = context.batch()?.rows().collect();
            for row in &rows {
                assert_eq!(row.tokens(), &ids()[row.block() * 16..][..16]);
                // Token by token: the last document that begins at or before it.
                let documents = row.documents();
                let parts = documents.iter().flat_map(|part| {
                    let topic = part.topic.map(str::to_owned);
                    part.tokens
                        .clone()
                        .map(move |place| (place, part.document, topic.clone()))
                });
                let slow = (0..16).map(|place| {
                    let token = row.block() * 16 + place;
                    let starts = [(0, Some("short")), (5, None), (40, Some("long"))];
                    let document = starts
                        .iter()
                        .rposition(|(start, _)| *start <= token)
                        .unwrap();
                    (place, document, starts[document].1.map(str::to_owned))
                });
                assert!(parts.eq(slow), "{documents:?}");
            }
            let blocks = rows.iter().map(|row| row.block()).collect();
            seen.lock().unwrap().push((event, step, blocks));
            Ok(())
        }
    };
    let events = [
        Event::StepStart,
        Event::BatchReady,
        Event::BackwardStart,
        Event::MicroBatchEnd,
        Event::GradientsReady,
        Event::WeightsUpdated,
    ];
    let hooks = events.map(|event| at(event, look(&seen))).into();
    let folder = tempfile::tempdir().unwrap();
    let (outcome, _) = go(three_steps(&folder.path().join("run"), hooks));
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    let seen = seen.lock().unwrap();
    let order: Vec<usize> = serde_json::from_value(reference()["order"].clone()).unwrap();
    let mut expected = Vec::new();
    for (step, of_step) in (1..).zip(order.chunks(4)) {
        expected.push((Event::StepStart, step, of_step.to_vec()));
        for (micro, blocks) in (2 * step - 1..).zip(of_step.chunks(2)) {
            for event in &events[1..4] {
                expected.push((*event, micro, blocks.to_vec()));
            }
        }
        for event in &events[4..] {
            expected.push((*event, step, of_step.to_vec()));
        }
    }
    assert_eq!(*seen, expected);
}

#[test]
fn token_losses_are_those_of_pytorch() {
    let reference = reference();
    let seen = Arc::new(Mutex::new(0));
    let count = seen.clone();
    let mut rows_before = 0;
    let hook = at(Event::MicroBatchEnd, move |context| {
        for role in Role::BOTH {
            let steps = reference[role.as_str()].as_array().unwrap().iter();
            let expected: Vec<Vec<f64>> = steps
                .flat_map(|step| step["losses"].as_array().unwrap().iter().map(numbers))
                .collect();
            let found = context.batch_losses(role)?;
            assert_eq!(found.len(), 2);
            for (found, expected) in found.iter().zip(&expected[rows_before..]) {
                assert_eq!(found.len(), expected.len());
                for (found, expected) in found.iter().zip(expected) {
                    close(f64::from(*found), *expected, 1e-4, 0.0, "loss of a token");
                }
            }
        }
        rows_before += 2;
        *count.lock().unwrap() += 1;
        Ok(())
    });
    let folder = tempfile::tempdir().unwrap();
    let (outcome, _) = go(three_steps(&folder.path().join("run"), vec![hook]));
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    assert_eq!(*seen.lock().unwrap(), 6);
}

/// With dropout, the losses of all tokens have the loss of the step as their mean: they are those of the very pass.
#[test]
fn token_losses_are_those_of_the_training_pass_with_its_dropout() {
    let means: Arc<Mutex<Vec<[f64; 2]>>> = Arc::default();
    let seen = means.clone();
    let ready = at(Event::GradientsReady, move |context| {
        let mean = |role| -> anyhow::Result<f64> {
            let losses = context.batch_losses(role)?;
            let losses: Vec<f64> = losses.iter().flatten().map(|one| f64::from(*one)).collect();
            let mean = losses.iter().sum::<f64>() / losses.len() as f64;
            let whole = context.milestone().losses[&role];
            close(mean, whole, 1e-6, 0.0, "mean loss");
            Ok(mean)
        };
        seen.lock()
            .unwrap()
            .push([mean(Role::Main)?, mean(Role::Assistant)?]);
        Ok(())
    });
    let moved = at(Event::WeightsUpdated, |context| {
        let refused = format!("{:#}", context.batch_losses(Role::Main).unwrap_err());
        assert!(refused.contains("`gradients-ready`"), "{refused}");
        Ok(())
    });
    let folder = tempfile::tempdir().unwrap();
    let mut plan = three_steps(&folder.path().join("run"), vec![ready, moved]);
    let drop = |model: Network| model.with_dropout(0.3);
    plan.pair = Pair::new(drop(plan.pair.main), drop(plan.pair.assistant)).unwrap();
    let (outcome, _) = go(plan);
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    let with = means.lock().unwrap().clone();
    assert_eq!(with.len(), 3);
    // Without dropout the first step has other losses, or the test would show nothing.
    let reference = reference();
    let first = reference["main"][0]["losses"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(numbers);
    let first: Vec<f64> = first.collect();
    let plain = first.iter().sum::<f64>() / first.len() as f64;
    assert!((with[0][0] - plain).abs() > 1e-3, "{} {plain}", with[0][0]);
}

/// What a hook cannot see is an error that says where it can be seen.
#[test]
fn what_cannot_be_seen_says_where_it_can() {
    let mut late = spec(
        "late",
        &["end"],
        Each(|context: &mut Context| {
            let said = |found: anyhow::Error| format!("{found:#}");
            assert!(said(context.batch().unwrap_err()).contains("no batch at `run-end`"));
            let update = said(context.update(Role::Main).unwrap_err());
            assert!(update.contains("`weights-updated`"), "{update}");
            context.optimiser(Role::Main)?;
            Ok(())
        }),
    );
    late.runs = Runs::Inline;
    let background = spec(
        "background",
        &["end"],
        Each(|context: &mut Context| {
            let optimiser = context.optimiser(Role::Main).unwrap_err();
            assert!(format!("{optimiser:#}").contains("inline"));
            Ok(())
        }),
    );
    let folder = tempfile::tempdir().unwrap();
    let (outcome, _) = go(three_steps(
        &folder.path().join("run"),
        vec![late, background],
    ));
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
}

/// Looking changes nothing: the weights after a run with hooks at every moment are those of a run without any, bit for bit.
#[test]
fn a_run_that_is_looked_at_is_the_run_that_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let models = |name: &str, hooks: Vec<HookSpec>| {
        let run = folder.path().join(name);
        let (outcome, _) = go(three_steps(&run, hooks));
        assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
        let read =
            |role: &str| std::fs::read(run.join("models").join(role).join("model.safetensors"));
        [read("main").unwrap(), read("assistant").unwrap()]
    };
    let look = |context: &mut Context| {
        for role in Role::BOTH {
            context.optimiser(role)?.step_sizes(1e-3);
            if context.milestone().event == Event::WeightsUpdated {
                assert!(context.update(role)?.global_norm() > 0.0);
            }
        }
        assert!(context.batch()?.rows().count() > 0);
        let times = context.milestone().times;
        if context.milestone().event == Event::WeightsUpdated {
            assert!(!times.forward.is_zero() && !times.backward.is_zero());
            assert!(!times.optimiser.is_zero());
        }
        Ok(())
    };
    let events = [
        Event::StepStart,
        Event::BatchReady,
        Event::BackwardStart,
        Event::MicroBatchEnd,
        Event::GradientsReady,
        Event::GradientsClipped,
        Event::WeightsUpdated,
    ];
    let hooks = events.map(|event| at(event, look)).into();
    assert!(models("seen", hooks) == models("unseen", Vec::new()));
}
