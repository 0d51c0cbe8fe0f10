//! `milepost sweep`: one experiment with many seeds and settings, a process each.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::Selection;
use super::finetune::interrupt_flag;
use super::plan::{find, read};
use crate::diagnostic::Diagnostic;
use crate::report::gap::{Estimate, Pooled, groups, pool};
use crate::report::number::{number, range, signed};
use crate::report::{RecordedRun, page, verdict};

/// Every combination of the seeds and of the values of each --grid is a run of its own, in runs/<experiment>/<name>/<settings>, started by one
/// `milepost finetune` command with nothing shared but that directory. A sweep that is started again leaves finished runs alone, goes on
/// with those that were killed from their newest checkpoint, and runs what is missing.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Training seeds.
    #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
    seeds: Vec<u64>,
    /// A setting and its values, as in --grid train.lr=1e-5,5e-5; may be given several times.
    #[arg(long, value_name = "KEY=VALUE,VALUE ...")]
    grid: Vec<String>,
    /// Runs at the same time; they share the processor's cores.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
    /// Folder that runs are written under.
    #[arg(long, default_value = "runs", value_name = "FOLDER")]
    runs: PathBuf,
    /// Name of the sweep.
    #[arg(long, default_value = "sweep")]
    name: String,
    /// Print the commands of the runs that are missing, one a line, and run nothing: for a cluster's scheduler.
    #[arg(long)]
    print: bool,
}

/// One run of a sweep.
#[derive(Debug, Clone)]
struct Cell {
    /// `train.lr=1e-5,seed=1`.
    name: String,
    /// What it overrides.
    overrides: Vec<String>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Missing,
    Begun,
    Done,
}

/// A run under way.
struct Job {
    cell: Cell,
    child: Child,
    start: Instant,
}

/// A run that failed.
struct Failure {
    cell: String,
    why: String,
    log: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let experiment = find(&arguments.selection.experiment)?;
    let stem = experiment.file_stem().unwrap_or_default();
    let folder = arguments.runs.join(stem).join(&arguments.name);
    let cells = cells(arguments)?;
    for cell in &cells {
        check(arguments, cell)?;
    }
    let mut waiting: VecDeque<Cell> = (cells.iter())
        .filter(|cell| state(&folder.join(&cell.name)) != State::Done)
        .cloned()
        .collect();
    if arguments.print {
        for cell in &waiting {
            println!("{}", shown(&command(arguments, &folder, cell)));
        }
        return Ok(0);
    }
    begin(arguments, &experiment, &folder)?;
    let done = cells.len() - waiting.len();
    println!(
        "{} runs in {}: {done} done, {} to do, {} at a time",
        cells.len(),
        folder.display(),
        waiting.len(),
        arguments.jobs
    );
    let stop = interrupt_flag()?;
    let failed = work(arguments, &folder, &mut waiting, &stop)?;
    let interrupted = stop.load(Ordering::Relaxed);
    let pooled = summarise(&folder, &cells);
    for failure in &failed {
        eprintln!("run {} failed: {}", failure.cell, failure.why);
        eprintln!("  all it said: {}", failure.log.display());
    }
    if interrupted {
        println!("stopped by Ctrl-C; the same command goes on");
        return Ok(130);
    }
    pooled?;
    Ok(if failed.is_empty() { 0 } else { 4 })
}

/// Every combination of the grid's values and the seeds.
fn cells(arguments: &Arguments) -> Result<Vec<Cell>, Diagnostic> {
    let mut settings: Vec<Vec<String>> = vec![Vec::new()];
    for grid in &arguments.grid {
        let wrong = |message: &str| Diagnostic::file(format!("--grid {grid}"), message);
        let (key, values) = grid
            .split_once('=')
            .ok_or_else(|| wrong("write it as KEY=VALUE,VALUE"))?;
        let values = split(values);
        if values.iter().any(|value| value.trim().is_empty()) {
            return Err(wrong("a value is missing"));
        }
        let both = settings.iter().flat_map(|before| {
            let more = values.iter().map(move |value| format!("{key}={value}"));
            more.map(move |one| [&before[..], &[one]].concat())
        });
        settings = both.collect();
    }
    let mut seeds = arguments.seeds.clone();
    seeds.sort_unstable();
    seeds.dedup();
    let cells = settings.iter().flat_map(|settings| {
        seeds.iter().map(move |seed| {
            let mut overrides = settings.clone();
            overrides.push(format!("seed={seed}"));
            let plain = |c: char| match c {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '=' | ',' | '-' | '_' => c,
                _ => '-',
            };
            Cell {
                name: overrides.join(",").chars().map(plain).collect(),
                overrides,
            }
        })
    });
    Ok(cells.collect())
}

/// Values between commas that stand in no brackets and quotes.
fn split(values: &str) -> Vec<String> {
    let (mut parts, mut depth, mut quote) = (vec![String::new()], 0, None);
    for c in values.chars() {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('[' | '{', None) => depth += 1,
            (']' | '}', None) => depth -= 1,
            (',', None) if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
}

/// Reads the experiment with a cell's overrides, so that a mistake is said before the first run.
fn check(arguments: &Arguments, cell: &Cell) -> anyhow::Result<()> {
    let given = &arguments.selection;
    let selection = Selection {
        experiment: given.experiment.clone(),
        overrides: [&given.overrides[..], &[cell.overrides.join(" ")]].concat(),
        device: given.device.clone(),
        no_hooks: given.no_hooks,
        places: super::Where {
            data: given.places.data.clone(),
            cache: given.places.cache.clone(),
            offline: given.places.offline,
        },
    };
    read(&selection, Path::new(""))?;
    Ok(())
}

/// Keeps what the sweep is of beside its runs; another experiment under the same name would be pooled with the runs of this one.
fn begin(arguments: &Arguments, experiment: &Path, folder: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(experiment)
        .with_context(|| format!("cannot read {}", experiment.display()))?;
    let selection = &arguments.selection;
    let device = selection.device.clone().unwrap_or_default();
    let head = format!(
        "# {} --set {:?} --device {device:?} --no-hooks {}\n",
        experiment.display(),
        selection.overrides,
        selection.no_hooks
    );
    let path = folder.join("sweep.toml");
    let now = head + &text;
    match std::fs::read_to_string(&path) {
        Ok(then) if then == now => return Ok(()),
        Ok(_) => {
            let message = "this sweep was begun with another experiment or other --set; give it another --name, or remove its folder";
            return Err(Diagnostic::file(folder.display().to_string(), message).into());
        }
        Err(_) => {}
    }
    std::fs::create_dir_all(folder).map_err(|source| crate::train::RecordError::Io {
        path: folder.to_owned(),
        source,
    })?;
    super::report::write(&path, &now)?;
    Ok(())
}

fn state(run: &Path) -> State {
    let outcome = std::fs::read_to_string(run.join("outcome.json"));
    let outcome = outcome
        .ok()
        .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    match outcome {
        Some(outcome) if outcome["stop"] != "interrupted" => State::Done,
        // With less than that on disk there is nothing to go on from.
        _ if run.join("experiment.toml").is_file() => State::Begun,
        _ => State::Missing,
    }
}

/// A run that was killed before it had written what it is of has only files whose names begin with a point: it begins anew.
fn remove_leftovers(run: &Path) {
    if state(run) != State::Missing {
        return;
    }
    let entries = std::fs::read_dir(run).into_iter().flatten().flatten();
    let hidden = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with('.');
    for entry in entries.filter(hidden) {
        let _ = std::fs::remove_file(entry.path());
    }
    // Fails where there is more; the run then says so.
    let _ = std::fs::remove_dir(run);
}

/// The command of one run.
fn command(arguments: &Arguments, folder: &Path, cell: &Cell) -> Command {
    let program = std::env::current_exe().unwrap_or_else(|_| "milepost".into());
    let mut command = Command::new(program);
    let selection = &arguments.selection;
    command.args(["finetune", &selection.experiment, "--runs"]);
    command.arg(&arguments.runs);
    let name = format!("{}/{}", arguments.name, cell.name);
    match state(&folder.join(&cell.name)) {
        State::Begun => {
            command.args(["--resume", &name]);
        }
        _ => {
            command.args(["--name", &name]);
            for text in selection
                .overrides
                .iter()
                .chain([&cell.overrides.join(" ")])
            {
                command.args(["--set", text]);
            }
            if let Some(device) = &selection.device {
                command.args(["--device", device]);
            }
            if selection.no_hooks {
                command.arg("--no-hooks");
            }
        }
    }
    for (option, folder) in [
        ("--data", &selection.places.data),
        ("--cache", &selection.places.cache),
    ] {
        if let Some(folder) = folder {
            command.arg(option).arg(folder);
        }
    }
    if selection.places.offline {
        command.arg("--offline");
    }
    command
}

/// A command as a shell takes it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted = words.map(|word| {
        let word = word.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:@+".contains(c);
        match word.chars().all(plain) && !word.is_empty() {
            true => word.into_owned(),
            false => format!("'{}'", word.replace('\'', "'\\''")),
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Runs what waits, so many at a time, and gives those that failed.
fn work(
    arguments: &Arguments,
    folder: &Path,
    waiting: &mut VecDeque<Cell>,
    stop: &AtomicBool,
) -> anyhow::Result<Vec<Failure>> {
    let (all, begin) = (waiting.len(), Instant::now());
    let (mut jobs, mut failed, mut ended): (Vec<Job>, Vec<_>, usize) = (Vec::new(), Vec::new(), 0);
    let (mut told, mut refused) = (false, None);
    while !jobs.is_empty() || (!waiting.is_empty() && !stop.load(Ordering::Relaxed)) {
        if stop.load(Ordering::Relaxed) && !told {
            told = true;
            jobs.iter().for_each(|job| ask_to_stop(&job.child));
        }
        while jobs.len() < usize::from(arguments.jobs)
            && !stop.load(Ordering::Relaxed)
            && let Some(cell) = waiting.pop_front()
        {
            println!("{} begins", cell.name);
            remove_leftovers(&folder.join(&cell.name));
            match start(arguments, folder, cell) {
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
            let spent = begin.elapsed();
            let left = spent.mul_f64((all - ended) as f64 / ended as f64);
            // 6: a hook failed on the way; the run is whole.
            let well = matches!(status.code(), Some(0 | 6));
            let how = match status.code() {
                Some(0) => "done".to_owned(),
                Some(6) => "done, but a hook failed".to_owned(),
                Some(130) => "stopped and saved".to_owned(),
                Some(code) => format!("FAILED with {code}"),
                None => "FAILED: it was killed".to_owned(),
            };
            println!(
                "{} {how} after {}, {ended} of {all}, about {} left",
                job.cell.name,
                clock(job.start.elapsed()),
                clock(left)
            );
            if !well && !stop.load(Ordering::Relaxed) {
                let log = log(folder, &job.cell);
                let why = match status.code() {
                    Some(_) => last_line(&log),
                    None => "it was killed; the same command goes on with it".to_owned(),
                };
                failed.push(Failure {
                    cell: job.cell.name,
                    why,
                    log,
                });
            }
        }
        jobs = going;
    }
    match refused {
        Some(error) => Err(error),
        None => Ok(failed),
    }
}

fn log(folder: &Path, cell: &Cell) -> PathBuf {
    folder.join(format!("{}.log", cell.name))
}

fn start(arguments: &Arguments, folder: &Path, cell: Cell) -> anyhow::Result<Job> {
    let path = log(folder, &cell);
    let failed = |source| crate::train::RecordError::Io {
        path: path.clone(),
        source,
    };
    let out = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(failed)?;
    let errors = out.try_clone().map_err(failed)?;
    let mut command = command(arguments, folder, &cell);
    command.stdin(Stdio::null()).stdout(out).stderr(errors);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = (cores / usize::from(arguments.jobs)).max(1);
    if arguments.jobs > 1 && std::env::var_os("RAYON_NUM_THREADS").is_none() {
        command.env("RAYON_NUM_THREADS", threads.to_string());
    }
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        // Ctrl-C goes to the sweep alone, which passes it on once: a second one would end a run before it has saved.
        command.process_group(0);
    }
    let child = command.spawn().context("cannot start a run")?;
    Ok(Job {
        cell,
        child,
        start: Instant::now(),
    })
}

/// Asks a run to finish its step and save.
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

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.unwrap_or("it said nothing").trim().to_owned()
}

/// Pools the runs that are done, on the terminal, in `pooled.json` and in `report.html`.
fn summarise(folder: &Path, cells: &[Cell]) -> anyhow::Result<()> {
    let done = cells.iter().map(|cell| folder.join(&cell.name));
    let done: Vec<PathBuf> = done.filter(|run| state(run) == State::Done).collect();
    let runs: Vec<RecordedRun> = super::report::read(&done)?;
    if runs.len() < 2 {
        println!(
            "{} of {} runs done: nothing to pool",
            runs.len(),
            cells.len()
        );
        return Ok(());
    }
    let mut document = Vec::new();
    for (label, runs) in groups(&runs) {
        if !label.is_empty() {
            println!("\n{label}");
        }
        if runs.len() < 2 {
            println!("a single run: nothing to pool");
            continue;
        }
        let pooled = pool(&runs)?;
        print!("{}", table(&pooled, &runs));
        document.push(json!({ "settings": label, "pooled": as_json(&pooled) }));
    }
    super::report::write(
        &folder.join("pooled.json"),
        &format!("{:#}\n", json!(document)),
    )?;
    let path = folder.join("report.html");
    super::report::write(&path, &page(&runs))?;
    println!(
        "\nread it: {}\nlook at it: tensorboard --logdir {}",
        path.display(),
        folder.display()
    );
    Ok(())
}

fn table(pooled: &Pooled, runs: &[&RecordedRun]) -> String {
    let mut text = format!(
        "\n{:<36}{:>12}{:>12}{:>12}{:>24}{:>10}\n",
        "gap of n_matches, female - male", "before", "after", "change", "95% interval", "p"
    );
    for (name, gap) in &pooled.changes {
        let name = name.rsplit_once('/').map_or(&**name, |(_, cell)| cell);
        let change = &gap.change;
        text += &format!(
            "{name:<36}{:>12}{:>12}{:>12}{:>24}{:>10}\n",
            signed(gap.before.difference),
            signed(gap.after.difference),
            signed(change.difference),
            range(change.low, change.high),
            number(change.two_way_p_value)
        );
    }
    for (name, one) in [
        ("over seeds, these prompts", &pooled.over_seeds),
        ("over seeds, identities, templates", &pooled.over_all),
    ] {
        text += &format!(
            "{name:<36}{:>36}{:>24}{:>10}\n",
            signed(one.value),
            range(one.low, one.high),
            number(one.p_value)
        );
    }
    let verdict = verdict::of_runs(pooled, runs);
    text += &format!("\n{}\n", verdict.headline);
    for caveat in verdict.caveats {
        text += &format!("{caveat}\n");
    }
    text
}

fn as_json(pooled: &Pooled) -> serde_json::Value {
    let estimate = |one: &Estimate| json!({ "change": one.value, "low": one.low, "high": one.high, "p_value": one.p_value });
    let runs = pooled.changes.iter().map(|(name, gap)| {
        json!({
            "run": name,
            "before": gap.before.difference,
            "after": gap.after.difference,
            "change": gap.change.difference,
            "low": gap.change.low,
            "high": gap.change.high,
            "p_value": gap.change.two_way_p_value,
        })
    });
    json!({
        "runs": runs.collect::<Vec<_>>(),
        "over_seeds": estimate(&pooled.over_seeds),
        "over_seeds_identities_templates": estimate(&pooled.over_all),
    })
}
