//! Runs killed by SIGKILL at random instants and at every call that changes the file system, again while they resume, and compared with runs that
//! never were. `make torture` does it at length; without MILEPOST_TORTURE_KILLS it is a short form.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::event_files::scalars;
use crate::harness::{Project, python, timeless, until};
use crate::tensorboard_server::Server;

/// What every run of the torture does: hooks inline and in the background, at each event that a hook can be called at, and by the clock.
const EXPERIMENT: &str = r#"
[data]
builtin_sample = true
train_articles = 10
test_articles = 4
[train]
max_steps = 8
batch = 2
block = 32
lr = 1e-3
evaluate = ["start", "every 3 steps"]
evaluate_blocks = 2
[templates]
file = "templates.tsv"
[decode]
max_new_tokens = 4
[hooks.template-kl]
at = ["start", "every 2 steps", "every epoch", "end"]
[hooks.match-disparity]
at = ["start", "every 3 steps", "end"]
draws = 200
runs = "inline"
[hooks.gradient-norm]
at = "every step"
[hooks.micro]
kind = "perplexity"
on = "micro-batch-end"
at = "every step"
runs = "inline"
[hooks.evaluated]
kind = "perplexity"
on = "evaluated"
at = ["start", "every step"]
[hooks.saved]
kind = "assistant-share"
on = "checkpoint-saved"
at = "every step"
[hooks.clock]
kind = "perplexity"
at = "every 1 s"
"#;

/// Ways in which a run can be shaped.
const SHAPES: [&str; 10] = [
    "train.save='every step'",
    "train.save='every 3 steps' train.accumulation=2",
    "train.save='every 5 steps'",
    "train.save='every epoch' train.max_steps=14",
    "train.save='every 40%' train.keep=1",
    "train.save='end'",
    "train.save=['every 3 steps','end'] train.max_steps=6",
    "train.save=['every 2 steps','every epoch'] train.max_steps=14 train.accumulation=2",
    "train.save=['every 3 steps','every 1 s'] train.keep='all' hooks.saved.enabled=false",
    "train.save='every 2 steps' train.keep_best='lowest evaluated/eval/main/perplexity'",
];

/// The calls that change what is on the disk.
const CALLS: &str = "rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,ftruncate,fsync,fdatasync,fchmod,chmod";

/// When a process is killed.
#[derive(Debug, Clone, Copy)]
enum Kill {
    After(Duration),
    AtCall(u32),
}

struct Torture {
    project: Project,
    has_strace: bool,
    kills: u32,
}

impl Torture {
    fn new() -> Self {
        let project = Project::new();
        project.write("small.toml", EXPERIMENT);
        let strace = Command::new("strace")
            .args(["-qq", "-o", "/dev/null", "true"])
            .status();
        let has_strace = strace.is_ok_and(|status| status.success());
        if !has_strace {
            println!("no strace, or not allowed: killed at random instants only");
        }
        Self {
            project,
            has_strace,
            kills: 0,
        }
    }

    fn run(&self, name: &str) -> PathBuf {
        self.project.path().join("runs/small").join(name)
    }

    /// The command that begins or goes on with a run, as a person would type it.
    fn command(&self, name: &str, set: &str) -> Vec<String> {
        let begun = self.run(name).join("experiment.toml").is_file();
        let words = if begun {
            vec!["finetune", "small.toml", "--resume", name]
        } else {
            vec!["finetune", "small.toml", "--name", name, "--set", set]
        };
        words.into_iter().map(str::to_owned).collect()
    }

    /// Starts a process and kills it; gives whether it was ended by the kill.
    fn kill(&mut self, name: &str, set: &str, kill: Kill) -> bool {
        let words = self.command(name, set);
        let mut command = match kill {
            Kill::After(_) => Command::new(env!("CARGO_BIN_EXE_milepost")),
            Kill::AtCall(number) => {
                let mut command = Command::new("strace");
                command.args(["-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e"]);
                command.arg(format!("trace={CALLS}")).arg("-e");
                command.arg(format!("inject={CALLS}:signal=SIGKILL:when={number}"));
                command.arg(env!("CARGO_BIN_EXE_milepost"));
                command
            }
        };
        let mut child = command
            .args(words)
            .current_dir(self.project.path())
            .env_remove("MILEPOST_DATA")
            .env("MILEPOST_OFFLINE", "1")
            .env("MILEPOST_CACHE", self.project.path().join("cache"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        if let Kill::After(time) = kill {
            std::thread::sleep(time);
            let _ = child.kill();
        }
        let status = child.wait().unwrap();
        use std::os::unix::process::ExitStatusExt;
        let killed = status.signal() == Some(9) || status.code() == Some(128 + 9);
        self.kills += u32::from(killed);
        killed
    }

    /// Resumes a run to its end, which may take 30 s.
    fn finish(&self, name: &str, set: &str, how: &[Kill]) {
        let words = self.command(name, set);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let begun = Instant::now();
        let output = self
            .project
            .milepost(&words)
            .timeout(Duration::from_secs(30))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let is_over =
            output.status.code() == Some(2) && said.contains("this run is over: complete");
        assert!(
            output.status.success() || is_over,
            "{set}, killed {how:?}: {:?} after {:?}: {said}",
            output.status,
            begun.elapsed()
        );
    }

    /// Asserts that a run left what the run that was never killed has.
    fn assert_equal(&self, whole: &str, name: &str, how: &[Kill]) {
        let (whole, run) = (self.run(whole), self.run(name));
        let (expected, found) = (lines(&whole), lines(&run));
        for index in 0..expected.len().max(found.len()) {
            let (expected, found) = (expected.get(index), found.get(index));
            assert_eq!(expected, found, "line {index} of {name}, killed {how:?}");
        }
        assert!(files(&whole) == files(&run), "files, killed {how:?}");
        assert_eq!(points(&whole), points(&run), "points, killed {how:?}");
    }
}

/// Whether a tag or a source goes by wall time, and so is not the same in two runs.
fn by_time(name: &str) -> bool {
    name.starts_with("hook/") || name.starts_with("clock/") || name == "clock"
}

/// The lines but for times and for the hook that goes by the clock; of that one each step stands once.
fn lines(run: &Path) -> Vec<Value> {
    let all = timeless(run);
    let (clock, rest): (Vec<Value>, Vec<Value>) =
        all.into_iter().partition(|line| line["source"] == "clock");
    let steps: Vec<u64> = clock
        .iter()
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert!(steps.windows(2).all(|two| two[0] < two[1]), "{steps:?}");
    rest
}

/// The points of every tag, but for times.
fn points(run: &Path) -> BTreeMap<String, Vec<(i64, u32)>> {
    let mut found = scalars(run);
    for (tag, points) in &found {
        let ascends = points.windows(2).all(|two| two[0].0 < two[1].0);
        assert!(ascends, "{tag} of {}: {points:?}", run.display());
    }
    found.retain(|tag, _| !by_time(tag));
    found
}

/// Models, values per template and the names of the checkpoints.
fn files(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for folder in [
        "models/main",
        "models/assistant",
        "templates",
        "checkpoints",
    ] {
        for entry in std::fs::read_dir(run.join(folder)).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(run).unwrap().to_owned();
            found.insert(name, std::fs::read(&path).unwrap_or_default());
        }
    }
    // Which steps the clock saves at is the clock's.
    let by_clock = std::fs::read_to_string(run.join("experiment.toml"))
        .unwrap()
        .contains("\"every 1 s\"]\nkeep");
    found.retain(|path, _| !(by_clock && path.starts_with("checkpoints")));
    found
}

impl Torture {
    /// Lets a run of each shape go undisturbed, and gives what each took.
    fn wholes(&self) -> Vec<Duration> {
        let shapes = SHAPES.iter().enumerate();
        shapes
            .map(|(shape, set)| {
                let begun = Instant::now();
                self.finish(&format!("whole-{shape}"), set, &[]);
                begun.elapsed()
            })
            .collect()
    }

    /// Kills a run up to three times, while it runs and while it resumes, the first time perhaps at the call of the number `call`; gives how, and
    /// whether every kill came in time.
    fn kill_often(
        &mut self,
        name: &str,
        set: &str,
        takes: Duration,
        call: u32,
        rng: &mut ChaCha8Rng,
    ) -> (Vec<Kill>, bool) {
        let mut how = Vec::new();
        for round in 0..rng.random_range(1..=3) {
            let kill = if self.has_strace && rng.random_bool(0.5) {
                let any = rng.random_range(1..40);
                Kill::AtCall(if round == 0 { call } else { any })
            } else {
                Kill::After(takes.mul_f64(rng.random_range(0.05..0.8)))
            };
            how.push(kill);
            if !self.kill(name, set, kill) {
                return (how, false);
            }
        }
        (how, true)
    }

    /// Asserts that a real TensorBoard shows every run as the whole run of its shape, with both of its loaders.
    fn assert_shown(&self, python: &Path) {
        let folder = self.run("");
        let entries = std::fs::read_dir(&folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let names: Vec<String> = names.collect();
        for fast in [false, true] {
            let server = Server::start(python, &folder, fast);
            until("a server that shows every run as the whole one", || {
                let mut shown = server.shown();
                for tags in shown.values_mut() {
                    tags.retain(|tag, _| !by_time(tag));
                }
                names.iter().all(|name| {
                    let shape = name.trim_start_matches("whole-").split('-').next();
                    let whole = shown.get(&format!("whole-{}", shape.unwrap()));
                    let losses = whole.and_then(|tags| tags.get("train/main/loss"));
                    losses.is_some_and(|losses| losses.len() >= 6) && shown.get(name) == whole
                })
            });
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_run_that_was_killed_anywhere_ends_as_one_that_never_was() {
    let wanted = std::env::var("MILEPOST_TORTURE_KILLS");
    let wanted: u32 = wanted
        .ok()
        .and_then(|kills| kills.parse().ok())
        .unwrap_or(24);
    let at_length = wanted > 100;
    let mut torture = Torture::new();
    let mut rng = ChaCha8Rng::seed_from_u64(u64::from(wanted));
    let wholes = torture.wholes();
    // The short form leaves out the calls before the first line.
    let first_call = if at_length { 1 } else { 8 };
    let (mut number, mut call) = (0, first_call);
    while torture.kills < wanted {
        let shape = number % SHAPES.len();
        let (set, name) = (SHAPES[shape], format!("{shape}-{number}"));
        let (how, in_time) = torture.kill_often(&name, set, wholes[shape], call, &mut rng);
        if let Some(Kill::AtCall(_)) = how.first() {
            // Behind the last call of a whole run: from the first again.
            let was_last = !in_time && how.len() == 1;
            call = if was_last { first_call } else { call + 1 };
        }
        torture.finish(&name, set, &how);
        torture.assert_equal(&format!("whole-{shape}"), &name, &how);
        number += 1;
        if number % 50 == 0 {
            println!("{} kills in {number} runs", torture.kills);
        }
        if at_length && number % 5 != 0 {
            std::fs::remove_dir_all(torture.run(&name)).unwrap();
        }
    }
    println!(
        "{} kills in {number} runs, every run equal to one never killed",
        torture.kills
    );
    if let Some(python) = python() {
        torture.assert_shown(&python);
    }
}
