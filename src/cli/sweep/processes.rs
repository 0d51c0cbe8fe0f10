//! The processes of a sweep's runs.

use std::collections::VecDeque;
use std::fs::File;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::grid::Cell;
use super::runs::{Failed, Sweep, Work};
use super::tally::{Tally, complaint};
use crate::cli::terminal::say;
use crate::record::{RecordError, State};

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
    let mut jobs: Vec<Job> = Vec::new();
    let mut tally = Tally::new(waiting.len());
    let mut done = Work::default();
    let mut told = false;
    while !jobs.is_empty() || (!waiting.is_empty() && !stop.load(Ordering::Relaxed)) {
        if stop.load(Ordering::Relaxed) && !told {
            told = true;
            jobs.iter().for_each(|job| ask_to_stop(&job.child));
        }
        while jobs.len() < usize::from(sweep.arguments.engine.processes())
            && !stop.load(Ordering::Relaxed)
            && let Some(cell) = waiting.pop_front()
        {
            // A scheduler's job may have done it meanwhile.
            if sweep.state(&cell) == State::Done {
                tally.leave_one_out();
                continue;
            }
            say!("{} begins", cell.name);
            match start(sweep, cell) {
                Ok(job) => jobs.push(job),
                // Those under way are waited for.
                Err(error) => {
                    done.error = Some(error);
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
            tally.ended(&job.cell, &how(status, told), Some(job.start.elapsed()));
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
    if stop.load(Ordering::Relaxed) {
        done.interrupted = Some("the same command goes on".to_owned());
    }
    Ok(done)
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
    let threads = (cores / usize::from(sweep.arguments.engine.processes())).max(1);
    if sweep.arguments.engine.processes() > 1 && std::env::var_os("RAYON_NUM_THREADS").is_none() {
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
