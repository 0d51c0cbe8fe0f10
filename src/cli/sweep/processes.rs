//! The processes of a sweep's runs.

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::grid::Cell;
use super::runs::{Failed, State, Sweep, Work};
use crate::cli::terminal::say;
use crate::record::RecordError;

/// A run under way.
struct Job {
    cell: Cell,
    child: Child,
    start: Instant,
    /// Where its own words begin in its log.
    log_from: usize,
}

/// Runs what waits, so many at a time. When `stop` is set the runs under way are asked to save, and waited for.
pub(super) fn work(
    sweep: &Sweep,
    mut waiting: VecDeque<Cell>,
    stop: &AtomicBool,
) -> anyhow::Result<Work> {
    let (mut all, begin) = (waiting.len(), Instant::now());
    let (mut jobs, mut ended): (Vec<Job>, usize) = (Vec::new(), 0);
    let mut done = Work::default();
    let (mut told, mut refused) = (false, None);
    while !jobs.is_empty() || (!waiting.is_empty() && !stop.load(Ordering::Relaxed)) {
        if stop.load(Ordering::Relaxed) && !told {
            told = true;
            jobs.iter().for_each(|job| ask_to_stop(&job.child));
        }
        while jobs.len() < usize::from(sweep.arguments.jobs)
            && !stop.load(Ordering::Relaxed)
            && let Some(cell) = waiting.pop_front()
        {
            // A scheduler's job may have done it meanwhile.
            if sweep.state(&cell) == State::Done {
                all -= 1;
                continue;
            }
            say!("{} begins", cell.name);
            match start(sweep, cell) {
                Ok(job) => jobs.push(job),
                // Those under way are waited for.
                Err(error) => {
                    refused = Some(error);
                    waiting.clear();
                }
            }
        }
        std::thread::sleep(Duration::from_millis(50));
        let mut going = Vec::new();
        for mut job in jobs {
            let status = job.child.try_wait().context("cannot wait for a run")?;
            let Some(status) = status else {
                going.push(job);
                continue;
            };
            ended += 1;
            let left = begin.elapsed().mul_f64((all - ended) as f64 / ended as f64);
            say!(
                "{} {} after {}, {ended} of {all}, about {} left",
                job.cell.name,
                how(status, told),
                clock(job.start.elapsed()),
                clock(left)
            );
            match status.code() {
                Some(0) => {}
                // The run is whole.
                Some(6) => done.hooks_failed = true,
                _ if told => {}
                _ => done.failed.push(failure(sweep, job, status)),
            }
        }
        jobs = going;
    }
    match refused {
        Some(error) => Err(error),
        None => Ok(done),
    }
}

/// How a run ended, in words; `asked` tells whether it was asked to.
fn how(status: ExitStatus, asked: bool) -> String {
    match status.code() {
        Some(0) => "done".to_owned(),
        Some(6) => "done, but a hook failed".to_owned(),
        Some(130) => "stopped and saved".to_owned(),
        _ if asked => "stopped before it could save".to_owned(),
        Some(code) => format!("FAILED with {code}"),
        None => "FAILED: it was killed".to_owned(),
    }
}

fn failure(sweep: &Sweep, job: Job, status: ExitStatus) -> Failed {
    let log = sweep.log(&job.cell);
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    let why = match code {
        Some(_) => complaint(&log, job.log_from),
        None => "it was killed; the same command goes on with it".to_owned(),
    };
    Failed {
        cell: job.cell.name,
        code,
        why,
        log,
    }
}

/// What a run said when it failed: from its last error on.
fn complaint(log: &Path, from: usize) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let said = String::from_utf8_lossy(bytes.get(from..).unwrap_or_default());
    let lines: Vec<&str> = said.lines().collect();
    let error = lines.iter().rposition(|line| line.starts_with("error:"));
    match error {
        Some(first) => lines[first..].join("\n"),
        None => {
            let last = lines.iter().rfind(|line| !line.trim().is_empty());
            (*last.unwrap_or(&"it said nothing")).to_owned()
        }
    }
}

fn start(sweep: &Sweep, cell: Cell) -> anyhow::Result<Job> {
    let path = sweep.log(&cell);
    let failed = |source| RecordError::Io {
        path: path.clone(),
        source,
    };
    let out = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(failed)?;
    let log_from = out.metadata().map_err(failed)?.len() as usize;
    let errors = out.try_clone().map_err(failed)?;
    let mut command = sweep.command(&cell);
    command.stdin(Stdio::null()).stdout(out).stderr(errors);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = (cores / usize::from(sweep.arguments.jobs)).max(1);
    if sweep.arguments.jobs > 1 && std::env::var_os("RAYON_NUM_THREADS").is_none() {
        command.env("RAYON_NUM_THREADS", threads.to_string());
    }
    set_apart(&mut command);
    let child = command.spawn().context("cannot start a run")?;
    Ok(Job {
        cell,
        child,
        start: Instant::now(),
        log_from,
    })
}

/// Ctrl-C goes to the sweep alone, which passes it on once: a second one would end a run before it has saved. On Linux a run saves and ends
/// when its sweep is killed.
#[allow(unsafe_code, reason = "a call of the system between fork and exec")]
fn set_apart(command: &mut Command) {
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        command.process_group(0);
        #[cfg(target_os = "linux")]
        // SAFETY: prctl only sets a number of the new process, and may be called between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                Ok(())
            });
        }
    }
    #[cfg(not(unix))]
    let _ = command;
}

/// Asks a run to finish its step and save.
#[allow(unsafe_code, reason = "a signal is sent by the C library")]
fn ask_to_stop(child: &Child) {
    #[cfg(unix)]
    // SAFETY: a signal to a child that has not been waited for, so its number is still its own.
    unsafe {
        libc::kill(child.id() as libc::pid_t, libc::SIGTERM);
    }
    #[cfg(not(unix))]
    let _ = child;
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}
