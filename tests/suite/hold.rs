//! `finetune --until` and `--hold`: a run that was held is the one that never was, and nothing that was asked of it is recorded.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use milepost::clock::{Clock, Extent, Length};
use milepost::train::{Begin, Held, Next, Reporter, StopReason, finetune};
use proptest::prelude::*;
use serde_json::Value;

use crate::harness::{Project, milestones, timeless};
use crate::small_run::plan;

/// Runs small.toml as run `name` with `--until` and `--hold`, and gives what it shows.
fn held(
    project: &Project,
    name: &str,
    until: &str,
    commands: &str,
    code: i32,
) -> (PathBuf, String) {
    let arguments = [
        "finetune",
        "small.toml",
        "--name",
        name,
        "--until",
        until,
        "--hold",
    ];
    let mut command = project.milepost(&arguments);
    let ran = command.write_stdin(commands).assert().code(code);
    let shown = String::from_utf8_lossy(&ran.get_output().stdout).into_owned();
    (project.path().join("runs/small").join(name), shown)
}

/// The bytes of both models.
fn weights(run: &Path) -> [Vec<u8>; 2] {
    ["main", "assistant"]
        .map(|role| std::fs::read(run.join("models").join(role).join("model.safetensors")).unwrap())
}

#[track_caller]
fn assert_same(one: &Path, other: &Path) {
    assert_eq!(timeless(one), timeless(other));
    assert!(weights(one) == weights(other), "the weights differ");
}

fn outcome(run: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(run.join("outcome.json")).unwrap()).unwrap()
}

const OTHER_HOOKS: &str = "[hooks.template-kl]\n[hooks.perplexity]\n[hooks.drift]\n";

#[test]
fn a_run_that_was_held_and_asked_is_the_run_that_never_was() {
    let project = Project::new();
    project.write("other.toml", OTHER_HOOKS);
    project.write("wrong.toml", "[hooks.template-kl]\nscal = 2\n");
    let whole = project.run("whole", &[]);
    let commands = "\nwhere\nevaluate\nmeasure other.toml\nmeasure wrong.toml\nmeasure nowhere.toml\nmeasure\nsave\nsave\nstep\nstep 2\nstep 0\nuntil step 3\nuntil 7 steps\nuntil stp 3\nhlep\nfly\ngo on\nuntil end\nstep\nhelp\ngo\n";
    let (run, shown) = held(&project, "held", "step 2", commands, 0);
    assert_same(&whole, &run);
    assert_eq!(outcome(&run)["stop"], "complete");
    for said in [
        "held after step 2 of 6, in epoch 1 of 1",
        "held after step 3 of 6",
        "held after step 5 of 6",
        "held after step 6 of 6",
        "run            runs/small/held",
        "the state after step 2 is saved already",
        "`step 3` is behind: it is the end of step 3, and the run is at the end of step 5",
        "`7 steps` is never reached: the run has 6 steps",
        "did you mean `step`?",
        "unknown command `hlep`: did you mean `help`?",
        "unknown command `fly`; `help` lists the commands",
        "nothing stands behind `go`",
        "`0` is no number of steps",
        "all 6 steps are done; `go` ends the run",
        "hook kind `template-kl` has no option `scal`",
        "nowhere.toml",
        "a file with [hooks]",
    ] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    // The numbers are those that the run itself recorded at that step, where it did.
    let recorded = milestones(&run);
    let of_step_2 = recorded
        .iter()
        .find(|line| line["source"] == "template-kl" && line["step"] == 2);
    let kl = of_step_2.unwrap()["scalars"]["kl/mean_nats"]
        .as_f64()
        .unwrap();
    let line = shown
        .lines()
        .find(|line| line.contains("kl/mean_nats "))
        .unwrap();
    let printed: f64 = line.split_whitespace().last().unwrap().parse().unwrap();
    assert!((printed - kl).abs() <= 5e-5, "{line} {kl}");
    // `drift` compares with the start, which no hook of the run keeps.
    assert!(
        shown.contains("hook `drift` failed: it compares with the pair before the first step"),
        "{shown}"
    );
}

#[test]
fn the_evaluation_at_the_prompt_is_that_of_the_loop() {
    let project = Project::new();
    let (run, shown) = held(&project, "held", "50%", "evaluate\nquit\n", 130);
    let lines = milestones(&run);
    let at = |line: &&Value| line["source"] == "eval" && line["step"] == 3;
    let evaluated = &lines.iter().find(at).unwrap()["scalars"];
    for role in ["main", "assistant"] {
        let loss = evaluated[format!("eval/{role}/loss")].as_f64().unwrap();
        let printed = format!("{role} {loss:.4} (perplexity {:.3})", loss.exp());
        // Once for where the run is, once for the command.
        assert_eq!(shown.matches(&printed).count(), 2, "{printed}: {shown}");
    }
}

#[test]
fn quitting_and_the_end_of_input_save_and_a_resume_goes_on() {
    let project = Project::new();
    let whole = project.run("whole", &[]);
    for (name, commands, reason) in [
        ("quit", "step 1\nquit\n", "`quit` at the prompt"),
        ("ended", "step 1\n", "the end of input at the prompt"),
    ] {
        let (run, shown) = held(&project, name, "32 tokens", commands, 130);
        let said = format!("stopped by {reason} after step 2; go on with --resume {name}");
        assert!(shown.contains(&said), "{shown}");
        assert_eq!(outcome(&run)["stop"], "interrupted");
        assert_eq!(outcome(&run)["reason"], reason);
        // Held once more on the way.
        let resume = [
            "finetune",
            "small.toml",
            "--resume",
            name,
            "--until",
            "step 4",
            "--hold",
        ];
        project
            .milepost(&resume)
            .write_stdin("go\n")
            .assert()
            .success();
        assert_same(&whole, &run);
    }
}

#[test]
fn until_alone_ends_the_run_there() {
    let project = Project::new();
    let whole = project.run("whole", &[]);
    let arguments = [
        "finetune",
        "small.toml",
        "--name",
        "a",
        "--until",
        "4 steps",
    ];
    let ended = project.milepost(&arguments).assert().code(130);
    let shown = String::from_utf8_lossy(&ended.get_output().stdout).into_owned();
    let said = "stopped by --until \"4 steps\" after step 4; go on with --resume a";
    assert!(
        shown.contains(said) && !shown.contains("milepost>"),
        "{shown}"
    );
    let run = project.path().join("runs/small/a");
    assert_eq!(outcome(&run)["steps"], 4);
    let resume = ["finetune", "small.toml", "--resume", "a"];
    let message = project.fails(&[&resume[..], &["--until", "step 4"]].concat(), 2);
    assert!(message.contains("`step 4` is behind"), "{message}");
    project.milepost(&resume).assert().success();
    assert_same(&whole, &run);
}

#[test]
fn a_place_that_is_none_or_is_never_reached_is_refused_before_the_run() {
    let project = Project::new();
    for (place, says) in [
        ("step 7", "`step 7` is never reached: the run has 6 steps"),
        ("epoch 2", "is never reached"),
        ("step 0", "is never reached"),
        ("0 tokens", "is where a run begins"),
        ("stop 3", "did you mean `step`?"),
        ("every step", "a place is `step 120`"),
        ("120", "is no place in a run"),
        ("", "is no place in a run"),
        ("0%", "not a percentage above 0"),
        ("5 min", "`min` is not understood here"),
    ] {
        for hold in [&["--hold"][..], &[]] {
            let arguments = ["finetune", "small.toml", "--name", "a", "--until", place];
            let message = project.fails(&[&arguments[..], hold].concat(), 2);
            assert!(
                message.contains("--until") && message.contains(says),
                "{message}"
            );
        }
    }
    assert!(!project.path().join("runs").exists());
}

/// Starts small.toml as run `name` with more, and a pipe to its prompt.
#[cfg(unix)]
fn spawn(project: &Project, more: &[&str]) -> std::process::Child {
    std::process::Command::new(env!("CARGO_BIN_EXE_milepost"))
        .args([&["finetune", "small.toml"], more].concat())
        .current_dir(project.path())
        .env_remove("MILEPOST_DATA")
        .env("MILEPOST_OFFLINE", "1")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

/// Reads what the program shows until it says `said`.
#[cfg(unix)]
fn read_until(shown: &mut impl BufRead, said: &str) {
    let mut line = String::new();
    while !line.contains(said) {
        line.clear();
        assert!(
            shown.read_line(&mut line).unwrap() > 0,
            "never said: {said}"
        );
    }
}

#[cfg(unix)]
fn interrupt(child: &std::process::Child) {
    let kill = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
}

#[test]
#[cfg(unix)]
fn a_run_killed_after_a_hold_resumes_to_what_it_would_have_been() {
    let project = Project::new();
    let whole = project.run("whole", &[]);
    let mut child = spawn(&project, &["--name", "a", "--until", "step 2", "--hold"]);
    let mut shown = BufReader::new(child.stdout.take().unwrap());
    child
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"step\nsave\nstep 2\n")
        .unwrap();
    read_until(&mut shown, "held after step 5");
    child.kill().unwrap();
    child.wait().unwrap();
    let run = project.path().join("runs/small/a");
    assert!(run.join("checkpoints/step-00000003").is_dir());
    let resumed = project
        .milepost(&["finetune", "small.toml", "--resume", "a"])
        .assert()
        .success();
    let said = String::from_utf8_lossy(&resumed.get_output().stderr).into_owned();
    assert!(
        said.contains("resumed from runs/small/a/checkpoints/step-00000003"),
        "{said}"
    );
    assert_same(&whole, &run);
}

/// With `--hold`, the first Ctrl-C leads to the prompt, and one at the prompt saves and ends the run.
#[test]
#[cfg(unix)]
fn ctrl_c_leads_to_the_prompt_and_one_there_quits() {
    let project = Project::new();
    let set = ["--set", "train.max_steps=40"];
    let whole = project.run("whole", &set);
    let mut child = spawn(&project, &[&["--name", "a", "--hold"], &set[..]].concat());
    let mut shown = BufReader::new(child.stdout.take().unwrap());
    read_until(&mut shown, "run       runs/small/a");
    let run = project.path().join("runs/small/a");
    crate::harness::until("some lines", || {
        std::fs::metadata(run.join("milestones.jsonl")).is_ok_and(|file| file.len() >= 2000)
    });
    interrupt(&child);
    read_until(&mut shown, "held after step");
    child
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"step 2\n")
        .unwrap();
    read_until(&mut shown, "held after step");
    interrupt(&child);
    read_until(&mut shown, "stopped by Ctrl-C after step");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    project
        .milepost(&["finetune", "small.toml", "--resume", "a"])
        .assert()
        .success();
    assert_same(&whole, &run);
}

/// Holds at every step, for a time.
struct Slow {
    pause: Duration,
    held: Duration,
    elapsed: Vec<Duration>,
}

impl Reporter for Slow {
    fn holds(&mut self, _: &Clock) -> bool {
        true
    }
    fn held(&mut self, held: &Held) -> Next {
        let began = Instant::now();
        self.elapsed.push(held.milestone().clock.elapsed);
        std::thread::sleep(self.pause);
        // Asked twice a step: once to save.
        let next = if held.is_saved() {
            Next::GoOn
        } else {
            Next::Save
        };
        self.held += began.elapsed();
        next
    }
}

#[test]
fn time_at_the_prompt_is_not_the_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = plan(&folder.path().join("run"), 20, Length::Steps(4), Vec::new());
    plan.training.save = None;
    let mut slow = Slow {
        pause: Duration::from_millis(150),
        held: Duration::ZERO,
        elapsed: Vec::new(),
    };
    let began = Instant::now();
    let outcome = finetune(plan, Begin::Anew, &mut slow, &AtomicBool::new(false)).unwrap();
    let all = began.elapsed();
    assert_eq!(outcome.stop, StopReason::Complete);
    assert_eq!(slow.elapsed.len(), 8);
    assert!(slow.held >= 8 * slow.pause);
    assert!(
        outcome.clock.elapsed + slow.held <= all,
        "{:?} {:?} {all:?}",
        outcome.clock.elapsed,
        slow.held
    );
    // Neither the pause nor the checkpoint that was asked for is seen by the second question of a step.
    for pair in slow.elapsed.chunks(2) {
        assert_eq!(pair[0], pair[1]);
    }
}

proptest! {
    /// The step of a place is the first after which a slow count has reached it.
    #[test]
    fn a_place_is_the_first_step_that_reaches_it(
        (samples, batch, accumulation, block) in (1u64..40, 1u64..5, 1u64..4, 1u64..9),
        steps in 1u64..60,
        (unit, amount) in (0usize..5, 1u64..400),
        plural: bool,
        first: bool,
    ) {
        let extent = Extent::new(samples, batch, accumulation, block, Length::Steps(steps)).unwrap();
        // Micro-batch by micro-batch, as the loop does it.
        let (mut seen, mut epochs, mut left) = (0, 0, samples);
        let mut expected = None;
        for step in 1..=steps {
            for _ in 0..accumulation {
                let taken = batch.min(left);
                seen += taken;
                left -= taken;
            }
            if left == 0 {
                (epochs, left) = (epochs + 1, samples);
            }
            let reached = match unit {
                0 => step == amount,
                1 => epochs >= amount,
                2 => seen * block >= amount,
                3 => seen >= amount,
                _ => step * 100 >= (amount % 100 + 1) * steps,
            };
            if reached {
                expected = Some(step);
                break;
            }
        }
        let name = ["step", "epoch", "token", "sample", "%"][unit];
        let text = match unit {
            4 => format!("{}%", amount % 100 + 1),
            _ => {
                let name = format!("{name}{}", if plural { "s" } else { "" });
                if first { format!("{name} {amount}") } else { format!(" {amount} {name}") }
            }
        };
        let place: milepost::cadence::Place = text.parse().unwrap();
        prop_assert_eq!(place.step(&extent).map(|step| step.0), expected, "{}", text);
        prop_assert_eq!(place.to_string(), text.trim());
    }
}
