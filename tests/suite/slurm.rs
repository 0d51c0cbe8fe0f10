//! Runs as array jobs: by `tests/slurm/fake/`, which runs tasks as processes, and by a real Slurm where one is installed.
#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::harness::{Project, until};

/// Two arms, two seeds, a checkpoint every step.
const STUDY: &str = r#"
experiment = "small.toml"
seeds = [1, 2]
baseline = "baseline"
set = { "train.max_steps" = 12, "train.save" = "every step" }

[[arms]]
name = "baseline"

[[arms]]
name = "shuffled"
data.intervene = [{ shuffle = "words" }]
"#;

const BY_SLURM: [&str; 4] = ["study", "causes.toml", "--engine", "slurm"];

/// A project with nothing measured but the gap, and a cluster of its own.
struct Cluster {
    project: Project,
    /// A real one; else the fake.
    real: Option<OneMachine>,
}

/// A real Slurm of this machine alone. It ends when this is dropped.
struct OneMachine {
    folder: tempfile::TempDir,
}

impl OneMachine {
    /// None, with a word that the test skips, where Slurm is not installed or may not be started.
    fn start() -> Option<Self> {
        let check = Self::script(&["check"]);
        if !check.status.success() {
            let missing = String::from_utf8_lossy(&check.stdout).into_owned();
            println!("skipped: no Slurm can be started here (make check-slurm), {missing}");
            return None;
        }
        let machine = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let started = Self::script(&["start", machine.path()]);
        assert!(
            started.status.success(),
            "{}",
            String::from_utf8_lossy(&started.stderr)
        );
        Some(machine)
    }

    fn path(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    fn script(arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slurm/one-machine.sh");
        Command::new(script).args(arguments).output().unwrap()
    }
}

impl Drop for OneMachine {
    fn drop(&mut self) {
        Self::script(&["stop", self.path()]);
    }
}

impl Cluster {
    fn new(real: Option<OneMachine>) -> Self {
        let project = Project::new();
        let text = project.read("small.toml");
        let (before, _) = text.split_once("[hooks.template-kl]").unwrap();
        let hook = "[hooks.match-disparity]\nat = [\"start\", \"end\"]\ndraws = 500\n";
        project.write(
            "small.toml",
            before.replace("lr = 1e-3", "lr = 5e-3") + hook,
        );
        project.write("causes.toml", STUDY);
        std::fs::create_dir(project.path().join("slurm")).unwrap();
        Self { project, real }
    }

    fn folder(&self) -> PathBuf {
        self.project.path().join("runs/small/causes")
    }

    /// A file of the fake.
    fn fake(&self, name: &str) -> PathBuf {
        self.project.path().join("slurm").join(name)
    }

    /// The program on a login node of the cluster.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.on_cluster(env!("CARGO_BIN_EXE_milepost"));
        command.args(arguments);
        command
    }

    /// A program, by name one of the cluster's.
    fn on_cluster(&self, program: &str) -> Command {
        let fake = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slurm/fake");
        let path = std::env::var("PATH").unwrap();
        let (program, path) = match &self.real {
            Some(_) => (program.into(), path),
            None if !program.contains('/') => (fake.join(program), path),
            None => (program.into(), format!("{}:{path}", fake.display())),
        };
        let mut command = Command::new(program);
        command
            .current_dir(self.project.path())
            .env_remove("MILEPOST_DATA")
            .env("MILEPOST_OFFLINE", "1")
            .env("MILEPOST_CACHE", self.project.path().join("cache"))
            .env("RAYON_NUM_THREADS", "1")
            .env("FAKE_SLURM", self.project.path().join("slurm"))
            .env("PATH", path)
            // A user's own settings for squeue must not hide a job.
            .env("SQUEUE_STATES", "PENDING")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(machine) = &self.real {
            command.env("SLURM_CONF", machine.folder.path().join("slurm.conf"));
        }
        command
    }

    /// Calls one of Slurm's programs.
    #[track_caller]
    fn call(&self, program: &str, arguments: &[&str]) {
        let output = self.on_cluster(program).args(arguments).output().unwrap();
        ended(output, 0);
    }

    /// Runs the program to its end, and gives its output and what it printed.
    #[track_caller]
    fn ends(&self, arguments: &[&str], code: i32) -> String {
        let output = self.command(arguments).output().unwrap();
        ended(output, code)
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    /// How many array jobs were submitted.
    fn jobs(&self) -> usize {
        std::fs::read_dir(self.fake("jobs")).map_or(0, Iterator::count)
    }

    /// Whether a run has a checkpoint of this step or of a later one: only the last two are kept.
    fn has_checkpoint(&self, run: &str, step: u64) -> bool {
        let folder = self.folder().join(run).join("checkpoints");
        let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let steps = names.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_prefix("step-")?.parse::<u64>().ok()
        });
        steps.max() >= Some(step)
    }

    /// What processes say of the same study.
    fn by_processes(&self) -> String {
        let arguments = ["study", "causes.toml", "--runs", "elsewhere", "--jobs", "2"];
        self.ends(&arguments, 0);
        self.project.read("elsewhere/small/causes/study.json")
    }
}

/// What a program printed, standard error last.
#[track_caller]
fn ended(output: Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let all = format!("{said}\n{errors}");
    assert_eq!(output.status.code(), Some(code), "{all}");
    assert!(!all.contains("panicked"), "{all}");
    all
}

fn signal(child: &Child, signal: &str) {
    let status = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn a_study_is_one_array_job_and_says_what_processes_say() {
    let cluster = Cluster::new(None);
    let said = cluster.ends(
        &[&BY_SLURM[..], &["--jobs", "2", "--partition", "x"]].concat(),
        0,
    );
    for part in [
        "4 runs in runs/small/causes: 0 done, 4 to do, by Slurm, 2 at a time",
        "job 1 submitted: 4 runs",
        // That it began is not said of a run that is over when the queue is next asked.
        "baseline,seed=1 done after ",
        "shuffled,seed=2 done after ",
        ", 4 of 4, about 0:00 left",
        "all numbers: runs/small/causes/study.json",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(cluster.jobs(), 1);
    let study = cluster.project.read("runs/small/causes/study.json");
    assert_eq!(study, cluster.by_processes());
    let log = cluster
        .project
        .read("runs/small/causes/shuffled,seed=2.log");
    assert!(log.starts_with("== Slurm task 1 3 on "), "{log}");
    assert!(log.contains("changed: shuffle words"), "{log}");
    // Nothing is left to do, so no cluster is asked.
    let again = cluster
        .command(&BY_SLURM)
        .env("PATH", "/nowhere")
        .output()
        .unwrap();
    let again = ended(again, 0);
    assert!(again.contains("4 done, 0 to do"), "{again}");
    assert_eq!(study, cluster.project.read("runs/small/causes/study.json"));
}

/// The command may end at any moment. The next one finds its jobs, even one whose number was not written down.
#[test]
fn the_same_command_attaches_to_what_is_in_the_queue() {
    let cluster = Cluster::new(None);
    let command = [&BY_SLURM[..], &["--jobs", "1"]].concat();
    let first = cluster.spawn(&command);
    until("a checkpoint", || {
        cluster.has_checkpoint("baseline,seed=1", 1)
    });
    // Two commands are not at work in one folder.
    let busy = cluster.ends(&command, 5);
    assert!(busy.contains("another process is writing into"), "{busy}");
    signal(&first, "-INT");
    let said = ended(first.wait_with_output().unwrap(), 130);
    for part in [
        "leaving the jobs in the queue",
        "the queue goes on with 4 runs; `scancel 1` ends that, and the same command waits for it again",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let mut second = cluster.spawn(&command);
    until("the second run", || {
        cluster.has_checkpoint("baseline,seed=2", 1)
    });
    second.kill().unwrap();
    second.wait().unwrap();
    let ledger = "runs/small/causes/slurm.json";
    let text = cluster.project.read(ledger);
    let number = "\"job\": {\n      \"id\": \"1\"\n    }";
    assert!(text.contains(number), "{text}");
    cluster
        .project
        .write(ledger, text.replace(number, "\"job\": null"));
    // While the queue does not answer, nothing is submitted.
    std::fs::write(cluster.fake("silent"), "").unwrap();
    let said = cluster.ends(&command, 8);
    assert!(
        said.contains("nothing was submitted")
            && said.contains("Unable to contact slurm controller"),
        "{said}"
    );
    std::fs::remove_file(cluster.fake("silent")).unwrap();
    let said = cluster.ends(&command, 0);
    // One is over where the queue was quick meanwhile.
    let has = |runs: usize| format!("job 1 has {runs} runs already, 1 of them under way");
    assert!(said.contains(&has(3)) || said.contains(&has(2)), "{said}");
    assert!(said.contains("shuffled,seed=2 done"), "{said}");
    assert_eq!(cluster.jobs(), 1);
    assert_eq!(
        cluster.project.read("runs/small/causes/study.json"),
        cluster.by_processes()
    );
    // A ledger that is none is not overlooked.
    std::fs::remove_dir_all(cluster.folder().join("shuffled,seed=2")).unwrap();
    cluster.project.write(ledger, "[{}]");
    let said = cluster.ends(&command, 2);
    assert!(
        said.contains("slurm.json: not what a sweep writes") && said.contains("squeue"),
        "{said}"
    );
    assert_eq!(cluster.jobs(), 1);
}

#[test]
fn tasks_that_were_ended_are_submitted_again_alone() {
    let cluster = Cluster::new(None);
    let first = cluster.spawn(&BY_SLURM);
    until("a checkpoint of both", || {
        ["1", "2"]
            .iter()
            .all(|seed| cluster.has_checkpoint(&format!("baseline,seed={seed}"), 2))
    });
    // One is killed with its node, one is asked to end, one never began.
    let pid = std::fs::read_to_string(cluster.fake("jobs/1/0/pid")).unwrap();
    let killed = Command::new("kill").args(["-9", pid.trim()]).status();
    assert!(killed.unwrap().success());
    cluster.call("scancel", &["1_1"]);
    cluster.call("scancel", &["1_3"]);
    let said = ended(first.wait_with_output().unwrap(), 4);
    for part in [
        "baseline,seed=1 FAILED: it was ended after 0:01, ",
        "run baseline,seed=1 failed: it was killed (FAILED); the same command goes on with it",
        "baseline,seed=2 stopped and saved after 0:01, ",
        "run baseline,seed=2 failed: its task was cancelled (CANCELLED); the same command goes on with it",
        "run shuffled,seed=2 failed: its task was cancelled (CANCELLED)",
        "shuffled,seed=1 done",
        "all it said: runs/small/causes/baseline,seed=1.log",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let again = cluster.ends(&BY_SLURM, 0);
    assert!(again.contains("job 2 submitted: 3 runs"), "{again}");
    assert_eq!(cluster.jobs(), 2);
    let log = cluster
        .project
        .read("runs/small/causes/baseline,seed=1.log");
    assert!(
        log.contains("== Slurm task 2 0 on ") && log.contains("resumed from"),
        "{log}"
    );
    assert_eq!(
        cluster.project.read("runs/small/causes/study.json"),
        cluster.by_processes()
    );
}

#[test]
fn runs_that_would_fail_again_are_not_submitted_again() {
    let cluster = Cluster::new(None);
    let sweep = |name: &str, engine: &str| {
        let command = [
            "sweep",
            "small.toml",
            "--seeds",
            "1,2",
            "--grid",
            "train.lr=1e-3,1e30",
            "--set",
            "train.clip=0",
            "--name",
            name,
            "--engine",
            engine,
        ];
        cluster.ends(&command, 4)
    };
    let said = sweep("one", "slurm");
    for seed in [1, 2] {
        let run = format!("train.lr=1e30,seed={seed}");
        assert!(said.contains(&format!("{run} FAILED with 4")), "{said}");
        assert!(
            said.contains(&format!("run {run} failed: error: ")),
            "{said}"
        );
        assert!(
            said.contains(&format!("train.lr=1e-3,seed={seed} done")),
            "{said}"
        );
    }
    let again = sweep("one", "slurm");
    assert!(again.contains("2 done, 2 failed, 0 to do"), "{again}");
    assert_eq!(cluster.jobs(), 1);
    // What stands below the name of the sweep is the same by processes.
    sweep("two", "processes");
    let pooled = |name: &str| {
        let text = cluster
            .project
            .read(&format!("runs/small/{name}/pooled.json"));
        text.replace(&format!("\"{name}/"), "\"")
    };
    assert_eq!(pooled("one"), pooled("two"));
}

#[test]
fn what_slurm_does_not_take_is_one_message() {
    let cluster = Cluster::new(None);
    fn by<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&BY_SLURM[..], more].concat()
    }
    let said = cluster.ends(&by(&["--account", "refused"]), 8);
    assert!(
        said.contains("error: sbatch does not take the runs: sbatch: error: Batch job submission failed: Invalid account"),
        "{said}"
    );
    let nowhere = cluster
        .command(&BY_SLURM)
        .env("PATH", "/nowhere")
        .output()
        .unwrap();
    let said = ended(nowhere, 8);
    assert!(
        said.contains("error: there is no `squeue` on the PATH"),
        "{said}"
    );
    std::fs::remove_file(cluster.folder().join("slurm.json")).unwrap();
    let nowhere = cluster
        .command(&BY_SLURM)
        .env("PATH", "/nowhere")
        .output()
        .unwrap();
    let said = ended(nowhere, 8);
    assert!(
        said.contains("error: there is no `sbatch` on the PATH"),
        "{said}"
    );
    assert_eq!(cluster.jobs(), 0);

    // Mistakes are said before anything is written.
    std::fs::remove_dir_all(cluster.project.path().join("runs")).unwrap();
    for (arguments, part) in [
        (
            &["study", "causes.toml", "--account", "x", "--time", "5"][..],
            "error: --account: an option of Slurm, and the runs are processes here; add --engine slurm",
        ),
        (
            &["sweep", "small.toml", "--slurm-option", "constraint=a100"],
            "error: --constraint: an option of Slurm",
        ),
        (
            &by(&["--slurm-option", "array=1-5"]),
            "the sweep itself says array",
        ),
        (&by(&["--slurm-option", "clusters=x"]), "SLURM_CLUSTERS"),
        (
            &by(&["--slurm-option", "Exclusive=user"]),
            "write it as KEY=VALUE",
        ),
        (&by(&["--slurm-option", "comment=a\nb"]), "line break"),
        (&by(&["--time", ""]), "error: --time: a value is missing"),
        (
            &["sweep", "small.toml", "--engine", "pbs"],
            "invalid value 'pbs'",
        ),
        (&by(&["--jobs", "0"]), "invalid value '0'"),
    ] {
        let said = cluster.ends(arguments, 2);
        assert!(said.contains(part), "{part}: {said}");
        assert!(!cluster.project.path().join("runs").exists(), "{part}");
    }
}

#[test]
fn a_queue_that_never_starts_says_why() {
    let cluster = Cluster::new(None);
    std::fs::write(cluster.fake("reason"), "PartitionTimeLimit").unwrap();
    let said = cluster.ends(&[&BY_SLURM[..], &["--time", "99-0"]].concat(), 8);
    for part in [
        "error: 4 runs can never begin",
        "PartitionTimeLimit: --time is more than the partition allows",
        "`scancel 1` takes it out; the same command then submits it anew",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // One that only waits is waited for, and it is said once.
    let reason = "QOSMaxJobsPerUserLimit";
    for task in 0..4 {
        let path = cluster.fake("jobs/1").join(task.to_string()).join("reason");
        std::fs::write(path, reason).unwrap();
    }
    let waits = cluster.spawn(&BY_SLURM);
    std::thread::sleep(std::time::Duration::from_secs(45));
    signal(&waits, "-INT");
    let said = ended(waits.wait_with_output().unwrap(), 130);
    assert!(
        said.contains("job 1 has 4 runs already, 0 of them under way"),
        "{said}"
    );
    assert_eq!(said.matches(reason).count(), 1, "{said}");
    assert!(
        said.contains("has as much in use at once as it may"),
        "{said}"
    );
    assert_eq!(cluster.jobs(), 1);
}

/// The script needs nothing but Slurm's variables, wherever it is started and however often.
#[test]
fn the_printed_script_is_whole() {
    let cluster = Cluster::new(None);
    let print = [
        &BY_SLURM[..],
        &["--print", "--gres", "gpu:1", "--slurm-option", "exclusive"],
    ]
    .concat();
    let output = cluster
        .command(&print)
        .env("HF_HOME", "it's here")
        .output()
        .unwrap();
    let script = String::from_utf8(output.stdout).unwrap();
    for line in [
        "#SBATCH --array=0-3",
        "#SBATCH --gres=gpu:1",
        "#SBATCH --exclusive",
    ] {
        assert!(
            script.lines().any(|found| found == line),
            "{line}: {script}"
        );
    }
    assert!(
        script.contains("export HF_HOME='it'\\''s here'"),
        "{script}"
    );
    let task = |index: &str| {
        let mut shell = Command::new("sh");
        shell
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap());
        shell.envs([("SLURM_ARRAY_JOB_ID", "7"), ("SLURM_ARRAY_TASK_ID", index)]);
        shell
            .args(["-c", &script])
            .current_dir("/")
            .status()
            .unwrap()
            .code()
    };
    let log = || {
        cluster
            .project
            .read("runs/small/causes/shuffled,seed=1.log")
    };
    assert_eq!(task("2"), Some(0));
    assert!(log().contains("== Slurm task 7 2 on "), "{}", log());
    // A task that is started again when its run is over leaves it alone; one that was cut off goes on.
    assert_eq!(task("2"), Some(0));
    assert!(log().contains("is over already"), "{}", log());
    std::fs::remove_file(cluster.folder().join("shuffled,seed=1/outcome.json")).unwrap();
    assert_eq!(task("2"), Some(0));
    assert!(log().contains("resumed from"), "{}", log());
    assert_eq!(task("4"), Some(1));
}

/// By a real Slurm: the first thing that a user of a cluster sees, and what happens to tasks on the way.
#[test]
#[ignore = "needs Slurm (make check-slurm); says so where there is none"]
fn a_real_slurm_runs_what_processes_run() {
    let Some(machine) = OneMachine::start() else {
        return;
    };
    let cluster = Cluster::new(Some(machine));
    let placebo = "[[arms]]\nname = \"no-training\"\nset = { \"train.lr\" = 0.0 }\n";
    cluster
        .project
        .write("causes.toml", format!("{STUDY}{placebo}"));
    for (options, part) in [
        (
            &["--partition", "members", "--account", "guest"][..],
            "Invalid account",
        ),
        (
            &["--partition", "absent"],
            "Invalid partition name specified",
        ),
        (&["--time", "99-0"], "Requested time limit is invalid"),
    ] {
        let said = cluster.ends(&[&BY_SLURM[..], options].concat(), 8);
        let begins = "error: sbatch does not take the runs: sbatch: error: ";
        assert!(said.contains(begins) && said.contains(part), "{said}");
    }
    // What stands in a line of the script needs its quotes.
    let quoted = [
        "--partition",
        "closed",
        "--slurm-option",
        r#"comment=it's "a" \ #b"#,
    ];
    let said = cluster.ends(&[&BY_SLURM[..], &quoted].concat(), 8);
    assert!(said.contains("error: 6 runs can never begin"), "{said}");
    assert!(
        said.contains("PartitionDown") && said.contains("`scancel 1`"),
        "{said}"
    );
    cluster.call("scancel", &["1"]);

    let first = cluster.spawn(&BY_SLURM);
    until("a checkpoint", || {
        cluster.has_checkpoint("baseline,seed=2", 2)
    });
    cluster.call("scancel", &["2_1"]);
    // One that Slurm starts again, as after a preemption, goes on by itself.
    until("a checkpoint", || {
        cluster.has_checkpoint("shuffled,seed=1", 2)
    });
    cluster.call("scontrol", &["requeue", "2_2"]);
    let said = ended(first.wait_with_output().unwrap(), 4);
    for part in [
        "job 2 submitted: 6 runs",
        "baseline,seed=1 done after ",
        "run baseline,seed=2 failed: its task was cancelled (CANCELLED); the same command goes on with it",
        "shuffled,seed=1 done after ",
        "no-training,seed=2 done after ",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let again = cluster.ends(&BY_SLURM, 0);
    assert!(again.contains("5 done, 1 to do, by Slurm"), "{again}");
    for run in ["baseline,seed=2", "shuffled,seed=1"] {
        let log = cluster
            .project
            .read(&format!("runs/small/causes/{run}.log"));
        assert_eq!(log.matches("== Slurm task ").count(), 2, "{log}");
        assert!(log.contains("resumed from"), "{log}");
        assert!(
            log.contains("stopping after this step"),
            "the signal arrived: {log}"
        );
    }
    let slurm = cluster.project.read("runs/small/causes/slurm.log");
    assert!(slurm.contains("CANCELLED"), "{slurm}");
    assert_eq!(
        cluster.project.read("runs/small/causes/study.json"),
        cluster.by_processes()
    );
}
