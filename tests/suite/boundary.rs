//! Where the loop meets hooks: whatever a hook does in whichever of its methods, the run and the other hooks go on, and it is named.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use milepost::clock::Length;
use milepost::event::Event;
use milepost::hook::{Context, Cost, Hook, Probes, Runs};
use milepost::train::{Begin, OnError, Outcome, RunError, StopReason, finetune};
use serde_json::Value;

use crate::harness::milestones;
use crate::small_run::{Trace, plan, spec};

/// What a method does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Well,
    Fail,
    Panic,
}

impl Does {
    fn now(self) -> anyhow::Result<()> {
        match self {
            Self::Well => Ok(()),
            Self::Fail => anyhow::bail!("it will not"),
            Self::Panic => panic!("it cannot"),
        }
    }
}

/// Counts its calls, and has methods that do what they are told to.
#[derive(Clone, Copy)]
struct Told {
    state: Does,
    restore: Does,
    calls: u64,
}

impl Hook for Told {
    fn at_milestone(&mut self, context: &mut Context) -> anyhow::Result<()> {
        self.calls += 1;
        context.scalar("told/calls", self.calls as f64);
        Ok(())
    }
    fn state(&self) -> Value {
        // It has no result to fail with.
        self.state.now().unwrap();
        self.calls.into()
    }
    fn restore(&mut self, state: Value) -> anyhow::Result<()> {
        self.calls = serde_json::from_value(state)?;
        self.restore.now()
    }
}

fn go(
    folder: &Path,
    told: Told,
    on_error: OnError,
    begin: Begin,
) -> (Result<Outcome, RunError>, Trace) {
    let mut bad = spec("told", &["start", "every step"], told);
    bad.on_error = on_error;
    let mut good = spec("good", &["start", "every step"], told);
    good.hook = Box::new(Each(|context: &mut Context| {
        context.scalar("good/one", 1.0);
        Ok(())
    }));
    let plan = plan(&folder.join("run"), 20, Length::Steps(4), vec![bad, good]);
    let mut trace = Trace::default();
    let outcome = finetune(plan, begin, &mut trace, &AtomicBool::new(false));
    (outcome, trace)
}

/// A hook made of a closure.
struct Each<F>(F);

impl<F: FnMut(&mut Context) -> anyhow::Result<()> + Send> Hook for Each<F> {
    fn at_milestone(&mut self, context: &mut Context) -> anyhow::Result<()> {
        (self.0)(context)
    }
}

const WELL: Told = Told {
    state: Does::Well,
    restore: Does::Well,
    calls: 0,
};

/// How often the two hooks have spoken.
fn spoken(folder: &Path) -> [usize; 2] {
    let lines = milestones(&folder.join("run"));
    ["told", "good"].map(|name| {
        let of = |line: &&Value| line["source"] == name && line["texts"].is_null();
        lines.iter().filter(of).count()
    })
}

#[test]
fn a_hook_whose_state_cannot_be_saved_is_switched_off_and_named_also_after_a_resume() {
    for on_error in [OnError::Disable, OnError::Retry, OnError::Stop] {
        let folder = tempfile::tempdir().unwrap();
        let told = Told {
            state: Does::Panic,
            ..WELL
        };
        let (outcome, trace) = go(folder.path(), told, on_error, Begin::Anew);
        let outcome = outcome.unwrap();
        let said = trace.said.join("\n");
        assert!(
            said.contains("hook `told` failed at step 2")
                && said.contains("its state cannot be saved"),
            "{said}"
        );
        assert_eq!(outcome.failures.len(), 1, "{:?}", outcome.failures);
        assert_eq!(spoken(folder.path()), [3, 5]);
        // It could not go on from there, so it does not.
        std::fs::remove_file(folder.path().join("run/outcome.json")).unwrap();
        let (outcome, _) = go(folder.path(), WELL, on_error, Begin::Resume);
        assert_eq!(outcome.unwrap().failures.len(), 1);
        assert_eq!(spoken(folder.path()), [3, 5]);
    }
}

#[test]
fn a_hook_that_cannot_take_its_state_back_is_handled_as_its_policy_says() {
    for does in [Does::Fail, Does::Panic] {
        for on_error in [OnError::Disable, OnError::Retry, OnError::Stop] {
            let folder = tempfile::tempdir().unwrap();
            go(folder.path(), WELL, on_error, Begin::Anew).0.unwrap();
            let outcome_file = folder.path().join("run/outcome.json");
            std::fs::remove_file(&outcome_file).unwrap();
            let told = Told {
                restore: does,
                ..WELL
            };
            let lines = milestones(&folder.path().join("run"));
            let (outcome, trace) = go(folder.path(), told, on_error, Begin::Resume);
            if on_error == OnError::Stop {
                let message = outcome.unwrap_err().to_string();
                assert!(
                    message.contains("cannot take its saved state back"),
                    "{message}"
                );
                assert_eq!(
                    lines,
                    milestones(&folder.path().join("run")),
                    "nothing is changed"
                );
                continue;
            }
            let outcome = outcome.unwrap();
            assert_eq!(outcome.stop, StopReason::Complete);
            assert_eq!(outcome.failures.len(), 1);
            let said = trace.said.join("\n");
            assert!(said.contains("hook `told` failed at step 2"), "{said}");
            // 0, 1 and 2 were before the checkpoint.
            assert_eq!(spoken(folder.path()), [3, 5]);
        }
    }
}

#[test]
fn the_calls_and_costs_of_hooks_count_through_a_resume() {
    let folder = tempfile::tempdir().unwrap();
    go(folder.path(), WELL, OnError::Disable, Begin::Anew)
        .0
        .unwrap();
    std::fs::remove_file(folder.path().join("run/outcome.json")).unwrap();
    let (outcome, trace) = go(folder.path(), WELL, OnError::Disable, Begin::Resume);
    let outcome = outcome.unwrap();
    assert_eq!(trace.hooks.len(), 4, "both hooks at steps 3 and 4");
    assert_eq!(
        outcome
            .times
            .iter()
            .map(|time| time.calls)
            .collect::<Vec<_>>(),
        [5, 5]
    );
    let last = milestones(&folder.path().join("run"))
        .into_iter()
        .rfind(|line| line["source"] == "told");
    assert_eq!(last.unwrap()["scalars"]["told/calls"], 5.0);
}

#[test]
fn a_deadline_of_any_size_is_one() {
    for seconds in [1, u64::MAX / 2, u64::MAX] {
        let folder = tempfile::tempdir().unwrap();
        let mut hooks = Vec::new();
        for runs in [Runs::Inline, Runs::Background] {
            let name = if runs == Runs::Inline {
                "inline"
            } else {
                "background"
            };
            let mut hook = spec(name, &["start", "every step"], WELL);
            hook.hook = Box::new(Each(move |context: &mut Context| {
                context.scalar(format!("{name}/one"), 1.0);
                context.check_deadline()
            }));
            (hook.runs, hook.deadline) = (runs, Some(seconds));
            hooks.push(hook);
        }
        let plan = plan(&folder.path().join("run"), 20, Length::Steps(2), hooks);
        let outcome = finetune(
            plan,
            Begin::Anew,
            &mut Trace::default(),
            &AtomicBool::new(false),
        );
        let outcome = outcome.unwrap();
        assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
        // Of the inline hook: its time, that in probes, its lag, and its memory where the system tells.
        let inline = 3 + usize::from(cfg!(target_os = "linux"));
        let background = Cost::TAGS.len() - 2;
        assert_eq!(
            outcome.spans.len(),
            2 + 3 + inline + background + 2,
            "train, eval, both hooks with what they cost: {:?}",
            outcome.spans.keys()
        );
    }
}

#[test]
fn probes_may_ask_for_others_but_not_for_themselves() {
    let probes = Probes::default();
    let get = |key: &str, compute: &dyn Fn() -> anyhow::Result<u64>| probes.get(key, compute);
    let nested = get("outer", &|| Ok(*get("inner", &|| Ok(20))? + 1)).unwrap();
    assert_eq!((*nested, *get("inner", &|| Ok(0)).unwrap()), (21, 20));
    let circle = get("a", &|| Ok(*get("b", &|| Ok(*get("a", &|| Ok(1))?))?)).unwrap_err();
    assert!(
        circle.to_string().contains("probe `a` asks for itself"),
        "{circle}"
    );
    // A failure and a panic leave nothing behind.
    let panics = || get("b", &|| panic!("now"));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).unwrap_err();
    assert_eq!(*get("b", &|| Ok(2)).unwrap(), 2);
    assert_eq!(*get("a", &|| Ok(3)).unwrap(), 3);
    // Two threads that want the same compute it once.
    let computed = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let value = probes.get("slow", || {
                    std::thread::sleep(Duration::from_millis(20));
                    Ok(computed.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                });
                assert_eq!(*value.unwrap(), 0);
            });
        }
    });
}

/// While a checkpoint is announced, more than the interval passes: the cadence is due at the next step, and not later.
#[test]
fn a_time_that_passes_while_a_checkpoint_is_saved_is_due_at_the_next_step() {
    let folder = tempfile::tempdir().unwrap();
    let mut slow = spec("slow", &["every step"], WELL);
    slow.hook = Box::new(Each(|_: &mut Context| {
        std::thread::sleep(Duration::from_millis(1100));
        Ok(())
    }));
    (slow.on, slow.runs) = (Some(Event::CheckpointSaved), Runs::Inline);
    let mut clock = spec("clock", &["every 1 s"], WELL);
    clock.hook = Box::new(Each(|_: &mut Context| Ok(())));
    clock.runs = Runs::Inline;
    // The checkpoint is that of step 2.
    let plan = plan(
        &folder.path().join("run"),
        20,
        Length::Steps(4),
        vec![slow, clock],
    );
    let mut trace = Trace::default();
    finetune(plan, Begin::Anew, &mut trace, &AtomicBool::new(false)).unwrap();
    let fired: Vec<u64> = trace
        .hooks
        .iter()
        .filter(|(name, _)| name == "clock")
        .map(|(_, step)| *step)
        .collect();
    assert!(fired.contains(&3), "{fired:?}");
}

/// The learning rate that hooks are shown is that of the last step, or of the coming one in the middle of it.
#[test]
fn the_learning_rate_of_an_event_is_that_of_its_step() {
    let folder = tempfile::tempdir().unwrap();
    let mut hooks = Vec::new();
    for (name, on) in [
        ("settled", None),
        ("start", Some(Event::StepStart)),
        ("clipped", Some(Event::GradientsClipped)),
    ] {
        let mut hook = spec(name, &["every step", "end"], WELL);
        hook.hook = Box::new(Each(move |context: &mut Context| {
            context.scalar(format!("{name}/rate"), context.milestone().learning_rate);
            Ok(())
        }));
        (hook.on, hook.runs) = (on, Runs::Inline);
        hooks.push(hook);
    }
    let plan = plan(&folder.path().join("run"), 20, Length::Steps(4), hooks);
    finetune(
        plan,
        Begin::Anew,
        &mut Trace::default(),
        &AtomicBool::new(false),
    )
    .unwrap();
    let lines = milestones(&folder.path().join("run"));
    let rates = |source: &str, tag: &str| -> Vec<f64> {
        let lines = lines.iter().filter(|line| line["source"] == source);
        lines
            .map(|line| line["scalars"][tag].as_f64().unwrap())
            .collect()
    };
    let expected = rates("train", "train/lr");
    assert_eq!(expected.len(), 4);
    for name in ["settled", "start", "clipped"] {
        assert_eq!(rates(name, &format!("{name}/rate")), expected, "{name}");
    }
}
