//! What hooks cost: the parts of a call's time, whom it kept waiting, and what is said where it is too much. Only relations are asserted, no
//! wall times.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use milepost::clock::Length;
use milepost::hook::{Context, Cost, Runs};
use milepost::train::{Begin, HookSpec, HookTime, Outcome, finetune};
use serde_json::Value;

use crate::harness::milestones;
use crate::small_run::{Each, Trace, plan, spec};

const SLEEP: Duration = Duration::from_millis(60);

/// A hook that sleeps, outside of probes and in a probe that all hooks of the milestone share.
fn sleeps(name: &str, at: &[&str], runs: Runs, outside: Duration, in_probe: Duration) -> HookSpec {
    let tag = format!("{name}/one");
    let hook = Each(move |context: &mut Context| {
        std::thread::sleep(outside);
        if !in_probe.is_zero() {
            let nested = || {
                std::thread::sleep(in_probe / 2);
                Ok(1)
            };
            context.probe("outer", || {
                std::thread::sleep(in_probe / 2);
                Ok(*context.probe("inner", nested)? + 1)
            })?;
        }
        context.scalar(tag.clone(), 1.0);
        Ok(())
    });
    HookSpec {
        runs,
        ..spec(name, at, hook)
    }
}

/// A run of 4 steps, which saves after step 2 unless that is taken away.
fn go(folder: &Path, hooks: Vec<HookSpec>, saves: bool) -> (Outcome, Trace) {
    let mut plan = plan(&folder.join("run"), 20, Length::Steps(4), hooks);
    plan.queue = 1;
    if !saves {
        plan.training.save = None;
    }
    let mut trace = Trace::default();
    let outcome = finetune(plan, Begin::Anew, &mut trace, &AtomicBool::new(false)).unwrap();
    (outcome, trace)
}

fn time<'a>(outcome: &'a Outcome, name: &str) -> &'a HookTime {
    outcome.times.iter().find(|time| time.name == name).unwrap()
}

/// The values of a tag of time of a hook, call by call.
fn recorded(folder: &Path, name: &str, tag: &str) -> Vec<f64> {
    let lines = milestones(&folder.join("run"));
    let of_hook = lines.iter().filter(|line| line["source"] == name);
    let value = |line: &Value| line["times"][format!("hook/{name}/{tag}")].as_f64();
    of_hook.filter_map(value).collect()
}

#[track_caller]
fn assert_sum(values: &[f64], total: Duration, what: &str) {
    let sum: f64 = values.iter().sum();
    assert!(
        (sum - total.as_secs_f64()).abs() < 1e-9,
        "{what}: {sum} {total:?}"
    );
}

#[test]
fn a_probe_is_counted_once_and_the_parts_are_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let all = ["every step"];
    let hooks = vec![
        sleeps("first", &all, Runs::Inline, SLEEP, SLEEP),
        sleeps("second", &all, Runs::Inline, SLEEP / 2, SLEEP),
        sleeps("third", &all, Runs::Inline, Duration::ZERO, Duration::ZERO),
    ];
    let (outcome, _) = go(folder.path(), hooks, true);
    let [first, second, third] = ["first", "second", "third"].map(|name| time(&outcome, name).cost);
    // The one that asks first computes it: both halves, and the nested one only once.
    assert!(
        first.in_probes >= 4 * SLEEP && first.took - first.in_probes >= 4 * SLEEP,
        "{first:?}"
    );
    assert_eq!(
        (second.in_probes, third.in_probes),
        (Duration::ZERO, Duration::ZERO)
    );
    assert!(second.took >= 2 * SLEEP, "{second:?}");
    for (name, cost) in [("first", first), ("second", second), ("third", third)] {
        assert_eq!(
            (cost.waited, cost.device, cost.held_twice),
            (Duration::ZERO, Duration::ZERO, 0)
        );
        assert_eq!(cost.training_waited, cost.took, "{name}");
        assert_sum(&recorded(folder.path(), name, "seconds"), cost.took, name);
        assert_sum(
            &recorded(folder.path(), name, "probe_seconds"),
            cost.in_probes,
            name,
        );
        assert!(recorded(folder.path(), name, "waited_seconds").is_empty());
        if cfg!(target_os = "linux") {
            let rises = recorded(folder.path(), name, "peak_rise_bytes");
            assert_eq!(
                rises.iter().sum::<f64>(),
                cost.peak_rise.unwrap() as f64,
                "{name}"
            );
        }
    }
    let stood_still: Duration = outcome
        .times
        .iter()
        .map(|time| time.cost.training_waited)
        .sum();
    assert!(stood_still <= outcome.clock.elapsed);
}

/// A line of what Linux says of this process's memory.
fn kib(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    number.unwrap_or(0)
}

#[test]
fn memory_that_an_inline_hook_takes_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let takes = Each(|context: &mut Context| {
        // Far more than the process has ever had.
        let bytes = kib("VmHWM:").saturating_sub(kib("VmRSS:")) * 1024 + (200 << 20);
        let bytes = vec![1u8; bytes];
        let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
        context.scalar("takes/sum", sum as f64);
        Ok(())
    });
    let hooks = vec![
        HookSpec {
            runs: Runs::Inline,
            ..spec("takes", &["steps 3"], takes)
        },
        sleeps(
            "none",
            &["steps 4"],
            Runs::Inline,
            Duration::ZERO,
            Duration::ZERO,
        ),
    ];
    let (outcome, _) = go(folder.path(), hooks, false);
    if cfg!(target_os = "linux") {
        let [takes, none] =
            ["takes", "none"].map(|name| time(&outcome, name).cost.peak_rise.unwrap());
        // Other tests of this process use memory, too, at most as much as it has taken before.
        assert!(takes > none, "{takes} {none}");
    }
}

#[test]
fn a_background_hook_without_a_queue_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    // Training goes on slowly beside it, and nothing is saved before it is done.
    let hooks = vec![
        sleeps(
            "beside",
            &["steps 1"],
            Runs::Background,
            SLEEP,
            Duration::ZERO,
        ),
        sleeps(
            "slow",
            &["steps 2, 3, 4"],
            Runs::Inline,
            3 * SLEEP,
            Duration::ZERO,
        ),
    ];
    let (outcome, _) = go(folder.path(), hooks, false);
    let beside = time(&outcome, "beside").cost;
    assert!(beside.took >= SLEEP, "{beside:?}");
    assert_eq!(beside.training_waited, Duration::ZERO);
    assert_eq!(
        recorded(folder.path(), "beside", "training_waited_seconds"),
        [0.0]
    );
    assert_sum(
        &recorded(folder.path(), "beside", "waited_seconds"),
        beside.waited,
        "waited",
    );
}

#[test]
fn a_full_queue_keeps_hooks_and_the_training_waiting() {
    let folder = tempfile::tempdir().unwrap();
    // Longer than the whole run until then, so that it is waited for at the end on any machine.
    let late = Each(|context: &mut Context| {
        std::thread::sleep(context.milestone().clock.elapsed);
        Ok(())
    });
    let hooks = vec![
        sleeps(
            "one",
            &["every step"],
            Runs::Background,
            4 * SLEEP,
            Duration::ZERO,
        ),
        sleeps(
            "two",
            &["every step"],
            Runs::Background,
            SLEEP,
            Duration::ZERO,
        ),
        spec("late", &["steps 4"], late),
    ];
    let (outcome, _) = go(folder.path(), hooks, true);
    let [one, two, late] = ["one", "two", "late"].map(|name| time(&outcome, name).cost);
    // The second job of a milestone waits for the first one.
    assert!(two.waited >= 16 * SLEEP, "{two:?}");
    let training_waited = one.training_waited + two.training_waited + late.training_waited;
    assert!(training_waited <= outcome.clock.elapsed);
    assert!(late.training_waited > Duration::ZERO, "{late:?}");
    for (name, cost) in [("one", one), ("two", two), ("late", late)] {
        assert_sum(
            &recorded(folder.path(), name, "training_waited_seconds"),
            cost.training_waited,
            name,
        );
        assert_sum(
            &recorded(folder.path(), name, "waited_seconds"),
            cost.waited,
            name,
        );
        assert_sum(&recorded(folder.path(), name, "seconds"), cost.took, name);
    }
}

/// A snapshot that is let go before the next step is no copy; one that is kept is one, of all weights in training.
#[test]
fn weights_are_held_twice_where_the_training_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let step = Arc::new(AtomicU64::new(0));
    let now = step.clone();
    let tells = Each(move |context: &mut Context| {
        now.store(context.milestone().step, Ordering::SeqCst);
        Ok(())
    });
    let kept = Each(move |_: &mut Context| {
        crate::harness::until("step 3", || step.load(Ordering::SeqCst) >= 3);
        Ok(())
    });
    let hooks = vec![
        HookSpec {
            runs: Runs::Inline,
            ..spec("tells", &["every step"], tells)
        },
        spec("kept", &["steps 1"], kept),
        sleeps(
            "let go",
            &["steps 4"],
            Runs::Background,
            SLEEP,
            Duration::ZERO,
        ),
    ];
    let (outcome, _) = go(folder.path(), hooks, false);
    let bytes: usize = ["main", "assistant"]
        .map(|role| {
            folder
                .path()
                .join("run/models")
                .join(role)
                .join("model.safetensors")
        })
        .map(|path| {
            let bytes = std::fs::read(path).unwrap();
            // A safetensors file is the length of its header, the header, and the tensors.
            bytes.len() - 8 - u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize
        })
        .iter()
        .sum();
    assert_eq!(time(&outcome, "let go").cost.held_twice, 0);
    assert_eq!(time(&outcome, "kept").cost.held_twice, bytes as u64);
}

#[test]
fn costs_count_through_a_resume() {
    let folder = tempfile::tempdir().unwrap();
    let hooks = || {
        vec![sleeps(
            "hook",
            &["every step"],
            Runs::Background,
            SLEEP,
            SLEEP,
        )]
    };
    go(folder.path(), hooks(), true);
    std::fs::remove_file(folder.path().join("run/outcome.json")).unwrap();
    let plan = plan(&folder.path().join("run"), 20, Length::Steps(4), hooks());
    let outcome = finetune(
        plan,
        Begin::Resume,
        &mut Trace::default(),
        &AtomicBool::new(false),
    )
    .unwrap();
    let hook = time(&outcome, "hook");
    assert_eq!(hook.calls, 4);
    for (tag, total) in [
        ("seconds", hook.cost.took),
        ("probe_seconds", hook.cost.in_probes),
        ("waited_seconds", hook.cost.waited),
    ] {
        assert_sum(&recorded(folder.path(), "hook", tag), total, tag);
    }
    assert!(hook.cost.in_probes >= 4 * SLEEP);
}

/// Hooks take several times as long as the run until then.
#[test]
fn hooks_that_take_too_much_are_named_once_and_at_the_end() {
    for (at, runs, times, named) in [
        (
            "budget 5%",
            Runs::Background,
            8,
            "the budget of hook `hook`, 5%",
        ),
        ("budget 99.999%", Runs::Background, 8, ""),
        // Longer than the steps after it can take on a busy machine.
        ("steps 1", Runs::Inline, 40, "a fair share, 50%"),
        ("steps 4", Runs::Inline, 3, "a fair share, 50%"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let slow = Each(move |context: &mut Context| {
            std::thread::sleep(context.milestone().clock.elapsed * times);
            Ok(())
        });
        let hook = HookSpec {
            runs,
            ..spec("hook", &[at], slow)
        };
        let (outcome, trace) = go(folder.path(), vec![hook], true);
        let what = if at.starts_with("budget") {
            "budget"
        } else {
            "fair"
        };
        let of = |lines: &[String]| {
            lines
                .iter()
                .filter(|line| line.contains(what))
                .cloned()
                .collect::<Vec<_>>()
        };
        let (at_the_end, on_the_way) = (of(&outcome.excesses), of(&trace.said));
        let expected = usize::from(!named.is_empty());
        assert_eq!(at_the_end.len(), expected, "{at}: {:?}", outcome.excesses);
        // After the last step only the end can tell.
        let in_time = if at == "steps 4" { 0 } else { expected };
        assert_eq!(on_the_way.len(), in_time, "{at}: {:?}", trace.said);
        let all = at_the_end.iter().chain(&on_the_way);
        all.for_each(|said| assert!(said.contains(named) && said.contains("more than"), "{said}"));
    }
}

#[test]
fn every_cost_is_a_tag_of_time() {
    let cost = Cost {
        device: SLEEP,
        peak_rise: Some(1),
        ..Cost::default()
    };
    let tags = |background| {
        cost.times("a.b", background, 0)
            .into_iter()
            .map(|(tag, _)| tag)
    };
    let mut all: Vec<String> = tags(true).collect();
    assert!(tags(false).all(|tag| Cost::has_tag(&tag)));
    all.sort();
    let mut expected = Cost::TAGS.map(|tag| format!("hook/a.b/{tag}"));
    expected.sort();
    assert_eq!(all, expected);
    assert!(all.iter().all(|tag| Cost::has_tag(tag)));
    assert!(!Cost::has_tag("hook/a.b/error") && !Cost::has_tag("kl/seconds"));
}
