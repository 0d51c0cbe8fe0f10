//! Faults of the machine, made for real: full disks, too little memory, too few open files, a folder that is removed in mid-run. One message, the
//! documented exit code, nothing half-written; and when the fault is gone the run goes on as if it had never been.
#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::{Project, timeless, until};

const SET: &str = "train.max_steps=12 train.save='every 3 steps'";

/// Runs the program in a shell after `before`, such as a limit.
fn after(project: &Project, before: &str, arguments: &str) -> Output {
    let program = env!("CARGO_BIN_EXE_milepost");
    Command::new("sh")
        .args(["-c", &format!("{before}; exec '{program}' {arguments}")])
        .current_dir(project.path())
        .env_remove("MILEPOST_DATA")
        .env("MILEPOST_OFFLINE", "1")
        .env("MILEPOST_CACHE", project.path().join("cache"))
        .output()
        .unwrap()
}

/// Asserts that a process ended by a fault: with one of these codes, in one message.
#[track_caller]
fn assert_told(output: &Output, codes: &[i32], fault: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code();
    assert!(
        code.is_some_and(|code| codes.contains(&code)),
        "{fault}: {code:?}: {said}"
    );
    assert!(!said.contains("panicked"), "{fault}: {said}");
    if code != Some(0) {
        assert_eq!(said.matches("error:").count(), 1, "{fault}: {said}");
    }
}

/// Asserts that whatever stands in a run's folder under a final name is whole: checkpoints by their own checksums, JSON by being read.
#[track_caller]
fn assert_whole(run: &Path) {
    for entry in std::fs::read_dir(run.join("checkpoints"))
        .into_iter()
        .flatten()
    {
        let path = entry.unwrap().path();
        if path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("step-")
        {
            let sums = std::fs::read_to_string(path.join("SHA256SUMS")).unwrap();
            for line in sums.lines() {
                let (sum, name) = line.split_once("  ").unwrap();
                let bytes = std::fs::read(path.join(name)).unwrap();
                assert_eq!(milepost::checksum::sha256(&bytes), sum, "{name}");
            }
        }
    }
    for name in ["manifest.json", "outcome.json"] {
        if let Ok(text) = std::fs::read_to_string(run.join(name)) {
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
    }
}

/// Goes on with a run after the fault, or begins it where it had not begun, and compares it with one that met none.
#[track_caller]
fn assert_goes_on(project: &Project, whole: &Path, name: &str) {
    let run = project.path().join("runs/small").join(name);
    assert_whole(&run);
    let begun = run.join("experiment.toml").is_file();
    let outcome = std::fs::read_to_string(run.join("outcome.json")).unwrap_or_default();
    if !outcome.contains("complete") {
        let arguments = if begun {
            vec!["finetune", "small.toml", "--resume", name]
        } else {
            vec!["finetune", "small.toml", "--name", name, "--set", SET]
        };
        project.milepost(&arguments).assert().success();
    }
    assert_eq!(timeless(whole), timeless(&run));
}

fn whole(project: &Project) -> PathBuf {
    project.run("whole", &["--set", SET])
}

#[test]
fn a_file_that_may_grow_no_further() {
    let project = Project::new();
    let whole = whole(&project);
    // Blocks of 512 or 1,024 bytes: from the first files of a run to its optimisers.
    for blocks in [0, 1, 4, 16, 64, 256, 1000, 2000, 4000, 8000] {
        let name = format!("blocks-{blocks}");
        let arguments = format!("finetune small.toml --name {name} --set \"{SET}\"");
        let output = after(&project, &format!("ulimit -f {blocks}"), &arguments);
        assert_told(&output, &[0, 5], &name);
        assert_goes_on(&project, &whole, &name);
    }
}

#[test]
fn too_few_open_files() {
    let project = Project::new();
    let whole = whole(&project);
    for files in [6, 8, 10, 12, 16, 32] {
        let name = format!("files-{files}");
        let arguments = format!("finetune small.toml --name {name} --set \"{SET}\"");
        let output = after(&project, &format!("ulimit -n {files}"), &arguments);
        assert_told(&output, &[0, 2, 3, 5], &name);
        if project.path().join("runs/small").join(&name).exists() {
            assert_goes_on(&project, &whole, &name);
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn too_little_memory() {
    let project = Project::new();
    let whole = whole(&project);
    let mut codes = Vec::new();
    // The system must load the program. From there on, what is short, data or the stack of a thread, differs from size to size.
    let loads = |megabytes: &u32| {
        let limit = format!("ulimit -v {megabytes}000");
        after(&project, &limit, "--version").status.success()
    };
    let least = (20..220).find(loads).unwrap();
    let small = (least..least + 12).chain([220, 255, 260, 300, 340, 380, 420, 458]);
    for megabytes in small.chain([600, 1500]) {
        let name = format!("memory-{megabytes}");
        let arguments = format!("finetune small.toml --name {name} --set \"{SET}\"");
        let output = after(&project, &format!("ulimit -v {megabytes}000"), &arguments);
        assert_told(&output, &[0, 7], &name);
        codes.push(output.status.code());
        if project.path().join("runs/small").join(&name).exists() {
            assert_goes_on(&project, &whole, &name);
        }
    }
    assert!(
        codes.contains(&Some(7)) && codes.contains(&Some(0)),
        "{codes:?}"
    );
}

/// A library that lets a process start so many threads and refuses all further ones, as a system without memory does. It is loaded before
/// the C library.
#[cfg(target_os = "linux")]
const FEW_THREADS: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
typedef int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*work)(void *), void *with) {
    static int started;
    const char *most = getenv("MILEPOST_TEST_THREADS");
    if (most && __sync_fetch_and_add(&started, 1) >= atoi(most)) return EAGAIN;
    return ((create)dlsym(RTLD_NEXT, "pthread_create"))(thread, attributes, work, with);
}
"#;

#[test]
#[cfg(target_os = "linux")]
fn threads_that_are_refused() {
    let project = Project::new();
    let whole = whole(&project);
    project.write("few.c", FEW_THREADS);
    let library = project.path().join("few.so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(project.path().join("few.c"))
        .arg("-ldl")
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    let mut told = Vec::new();
    for most in 0.. {
        let name = format!("threads-{most}");
        let limit = format!(
            "export RAYON_NUM_THREADS=2 MILEPOST_TEST_THREADS={most} LD_PRELOAD='{}'",
            library.display()
        );
        let arguments = format!("finetune small.toml --name {name} --set \"{SET}\"");
        let output = after(&project, &limit, &arguments);
        assert_told(&output, &[0, 7], &name);
        if project.path().join("runs/small").join(&name).exists() {
            assert_goes_on(&project, &whole, &name);
        }
        if output.status.success() {
            break;
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let (_, said) = said.split_once("the system starts no thread for ").unwrap();
        told.push(said.split(':').next().unwrap().to_owned());
    }
    // Those of checkpoints are not among them: a checkpoint is then saved without a thread, and the run is whole.
    assert_eq!(
        told,
        ["kernels", "kernels", "Ctrl-C", "hooks", "tensorboard"]
    );
}

/// A disk of a few megabytes; None where this user may not mount one.
#[cfg(target_os = "linux")]
struct Disk(tempfile::TempDir);

#[cfg(target_os = "linux")]
impl Disk {
    fn of(kilobytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={kilobytes}k");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "none"])
            .arg(folder.path())
            .output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Self(folder));
        }
        println!("skipped: this user may not mount a small disk");
        None
    }
}

#[cfg(target_os = "linux")]
impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_is_full() {
    let project = Project::new();
    let whole = whole(&project);
    for kilobytes in [4, 40, 120, 6_000, 20_000, 40_000] {
        let Some(disk) = Disk::of(kilobytes) else {
            return;
        };
        let runs = disk.0.path().join("runs");
        let arguments = format!(
            "finetune small.toml --runs {} --name a --set \"{SET}\"",
            runs.display()
        );
        let output = after(&project, "true", &arguments);
        assert_told(&output, &[0, 5], &format!("{kilobytes} kB"));
        // Once there is room, it goes on.
        let run = project.path().join(format!("runs/small/disk-{kilobytes}"));
        if runs.join("small/a").exists() {
            let copied = Command::new("cp")
                .arg("-r")
                .arg(runs.join("small/a"))
                .arg(&run)
                .status();
            assert!(copied.unwrap().success());
            assert_goes_on(&project, &whole, &format!("disk-{kilobytes}"));
        }
    }
}

#[test]
fn what_is_removed_in_mid_run_ends_it_at_once() {
    let project = Project::new();
    for (name, gone) in [("folder", ""), ("lines", "milestones.jsonl")] {
        let set = "train.max_steps=3000";
        let child = project.spawn(&["finetune", "small.toml", "--name", name, "--set", set]);
        let run = project.path().join("runs/small").join(name);
        until("some lines", || {
            std::fs::metadata(run.join("milestones.jsonl")).is_ok_and(|file| file.len() > 1000)
        });
        if gone.is_empty() {
            // A process that writes may put a file into a folder that is being emptied.
            until("the folder is gone", || {
                std::fs::remove_dir_all(&run).is_ok() || !run.exists()
            });
        } else {
            std::fs::remove_file(run.join(gone)).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        assert_told(&output, &[5], name);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!run.join("models").exists(), "{said}");
    }
}
