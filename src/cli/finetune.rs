//! `milepost finetune`: starts a run, or goes on with one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;

use super::experiments::find;
use super::hold::{self, Hold};
use super::plan::{describe, read, read_resolved};
use super::terminal::{self, remark, say};
use super::{Selection, going_on, progress, summary};
use crate::cadence::{CadenceError, Place};
use crate::clock::Extent;
use crate::diagnostic::{Diagnostic, Source};
use crate::experiment::{Written, parse, resolve};
use crate::overrides;
use crate::record::{Ended, RunDirectory, State, Stop, checkpoint, name};
use crate::registry::Registry;
use crate::report::RecordedRun;
use crate::thread::NoThread;
use crate::train::{Begin, StopReason, finetune};

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Folder that runs are written under.
    #[arg(long, default_value = "runs", value_name = "FOLDER")]
    runs: PathBuf,
    /// Name of this run [default: the time it starts].
    #[arg(long)]
    name: Option<String>,
    /// With --name: go on with that run, by the settings it began with, if it was begun, and leave it alone if it is over: for a scheduler
    /// that may start a command again.
    #[arg(long, requires = "name")]
    or_resume: bool,
    /// Go on with a run that was killed or stopped, from its newest checkpoint: the name of the run.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["name", "overrides", "no_hooks", "device"])]
    resume: Option<String>,
    /// With --resume: settings of the training to go on with, as in --extend train.max_steps=500; this way a finished run goes on, too.
    #[arg(long, value_name = "KEY=VALUE ...", requires = "resume")]
    extend: Vec<String>,
    /// Begin the run only if its data, templates and models are those of another run, as far as the settings name the same.
    #[arg(long, value_name = "FOLDER", conflicts_with = "resume")]
    beside: Option<PathBuf>,
    /// End the run after the step that reaches this place, as Ctrl-C would: "step 120", "epoch 1", "50%", "100k tokens"; --resume goes on.
    #[arg(long, value_name = "WHERE")]
    until: Option<String>,
    /// Do not end there: stand still and ask what next, at a prompt whose `help` lists the commands. The first Ctrl-C leads there, too.
    #[arg(long)]
    hold: bool,
    /// Go on although the run's inputs are not what they were; its manifest and its report say so.
    #[arg(long)]
    force: bool,
}

/// The settings that may change in the middle of a run. None of them changes which data comes next.
const EXTENDABLE: [&str; 11] = [
    "train.max_steps",
    "train.epochs",
    "train.lr",
    "train.schedule",
    "train.warmup_steps",
    "train.clip",
    "train.weight_decay",
    "train.evaluate",
    "train.save",
    "train.keep",
    "train.keep_best",
];

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> anyhow::Result<u8> {
    let selection = &arguments.selection;
    let experiment = find(&selection.experiment)?;
    let folder = arguments.runs.join(experiment.stem());
    for (option, given) in [("--name", &arguments.name), ("--resume", &arguments.resume)] {
        if let Some(given) = given {
            name::check(option, given)?;
        }
    }
    let named = arguments.name.as_ref().filter(|_| arguments.or_resume);
    let state = named.map(|name| (name, State::of(&folder.join(name))));
    let begun = match state {
        Some((name, State::Done)) => return over(&folder.join(name)),
        Some((name, State::Begun | State::Failed)) => Some(name),
        Some((_, State::Missing)) | None => None,
    };
    let resuming = arguments.resume.as_ref().or(begun);
    let begin = match resuming {
        None => Begin::Anew,
        Some(_) if arguments.extend.is_empty() => Begin::Resume,
        Some(_) => Begin::Extend,
    };
    let directory = match resuming.or(arguments.name.as_ref()) {
        Some(name) => folder.join(name),
        None => name::fresh(&folder),
    };
    let (written, places) = read(selection, &directory)?;
    let (written, places) = match resuming {
        None => (written, places),
        Some(_) => {
            let mut places = places;
            // The paths in a run's own experiment are absolute.
            places.base = PathBuf::new();
            refuse_finished(&directory, &arguments.extend)?;
            (extended(&directory, &arguments.extend)?, places)
        }
    };
    if resuming.is_none() && RunDirectory::is_taken(&directory) {
        let message = "this run exists already; give another --name, or go on with it by --resume";
        return Err(Diagnostic::file(directory.display().to_string(), message).into());
    }
    let mut downloads = progress::Downloads::default();
    let mut resolved = resolve(&written, registry, &places, &mut |name, done, total| {
        downloads.report(name, done, total);
    })?;
    let until = arguments.until.as_deref().map(until).transpose()?;
    let step = match &until {
        Some(place) => Some(ahead(place, &resolved.plan.extent, resuming, &directory)?),
        None => None,
    };
    if resuming.is_some() {
        going_on::resume(
            &directory,
            &mut resolved.plan,
            &arguments.extend,
            arguments.force,
        )?;
    }
    if let (Some(other), None) = (&arguments.beside, resuming) {
        going_on::beside(other, &mut resolved.plan, arguments.force)?;
    }
    terminal::out(&describe(&written, &resolved));
    say!("run       {}\n", directory.display());
    let origin = resolved.plan.origin.clone();
    let run = directory.clone();
    let interrupt = interrupt_flag(STOPPING, move || saved(&run))?;
    let hold = Hold::ending(until.as_ref(), step);
    let hold = if arguments.hold {
        hold.prompting(registry, &places, interrupt.clone())
    } else {
        hold
    };
    let mut reporter = progress::reporter(resolved.plan.extent.steps(), Some(hold));
    let outcome = finetune(resolved.plan, begin, reporter.as_mut(), &interrupt);
    drop(reporter);
    let outcome = outcome?;
    let recorded = RecordedRun::read(&outcome.directory, registry);
    terminal::out(&summary::table(&outcome, &origin, recorded.as_ref().ok()));
    crate::report::write_for(&recorded?)?;
    if let StopReason::Interrupted(reason) = &outcome.stop {
        // Relative to the experiment's folder, because the runs of a sweep are one folder deeper.
        let name = directory.strip_prefix(&folder).unwrap_or(&directory);
        say!(
            "stopped by {reason} after step {}; go on with --resume {}",
            outcome.clock.step,
            name.display()
        );
        return Ok(130);
    }
    Ok(if outcome.failures.is_empty() { 0 } else { 6 })
}

/// Says that a run needs nothing more, and returns the exit code that it ended with.
fn over(directory: &Path) -> anyhow::Result<u8> {
    say!("{} is over already", directory.display());
    let ended = Ended::read(directory)?;
    let hooks_failed = ended.is_some_and(|ended| ended.hooks_failed());
    Ok(if hooks_failed { 6 } else { 0 })
}

/// Parses `--until`.
fn until(text: &str) -> Result<Place, Diagnostic> {
    text.parse().map_err(|error: CadenceError| {
        let source = Source {
            name: "--until".to_owned(),
            text: text.to_owned(),
        };
        let diagnostic = Diagnostic::at(&source, error.span, error.message);
        match error.help {
            Some(help) => diagnostic.with_help(help),
            None => diagnostic,
        }
    })
}

/// The step of `--until`, which must be ahead of the newest checkpoint of a run that is resumed.
fn ahead(
    place: &Place,
    extent: &Extent,
    resuming: Option<&String>,
    directory: &Path,
) -> Result<u64, Diagnostic> {
    let newest = resuming.and_then(|_| checkpoint::newest(directory));
    let done = newest.map_or(0, |found| found.step);
    hold::ahead(place, extent, done).map_err(|message| Diagnostic::file("--until", message))
}

/// Says what is left of a run that ends at once. It looks on disk, because checkpoints are published while training goes on.
fn saved(directory: &Path) -> String {
    match checkpoint::newest(directory) {
        Some(found) => format!(
            "the last checkpoint is {}; what came after it is lost, and --resume goes on from there",
            found.path.display()
        ),
        None => "nothing is saved; --resume begins anew".to_owned(),
    }
}

/// Refuses to resume a run that is over, unless it is to be extended.
fn refuse_finished(directory: &Path, extend: &[String]) -> anyhow::Result<()> {
    let Some(ended) = Ended::read(directory)? else {
        return Ok(());
    };
    let advice = match ended.stop {
        Stop::Interrupted => return Ok(()),
        Stop::Failed => {
            "the same steps would fail again; go on with other settings, such as --extend train.lr=1e-5"
        }
        _ => "to go on beyond its end, say how far: --extend train.max_steps=N",
    };
    if !extend.is_empty() {
        return Ok(());
    }
    let why = ended
        .reason
        .map_or(String::new(), |why| format!(" ({why})"));
    let message = format!(
        "this run is over: {}{why}, after {} steps; {advice}",
        ended.stop.as_str(),
        ended.steps
    );
    Err(Diagnostic::file(directory.display().to_string(), message).into())
}

/// The experiment that a run recorded, with the settings of `--extend` applied.
fn extended(directory: &Path, extend: &[String]) -> anyhow::Result<Written> {
    let mut changes = Vec::new();
    for text in extend {
        changes.extend(overrides::split(text)?);
    }
    for change in &changes {
        let key = change.key();
        if !EXTENDABLE.contains(&key.as_str()) {
            let message = format!(
                "`{key}` cannot change in the middle of a run; these can: {}",
                EXTENDABLE.join(", ")
            );
            return Err(Diagnostic::file("--extend", message).into());
        }
    }
    if changes.iter().any(|change| change.key() == "train.epochs") {
        // `train.max_steps` would take precedence.
        changes.insert(0, overrides::Override::removal("train.max_steps"));
    }
    let written = read_resolved(directory)?;
    Ok(parse(written.source, &changes)?)
}

/// What the first Ctrl-C of a run says.
pub(super) const STOPPING: &str =
    "stopping after this step; Ctrl-C again to leave at once without saving";

/// Returns a flag that the first Ctrl-C (or SIGTERM) sets, which prints `words`. While it is set, another one at least a second later ends the process at once and
/// prints what `saved` returns. Signals that come sooner are ignored: when a sweep is killed, the system signals its runs once for each
/// thread.
pub(super) fn interrupt_flag(
    words: &'static str,
    saved: impl Fn() -> String + Send + 'static,
) -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = flag.clone();
    let mut first: Option<Instant> = None;
    ctrlc::set_handler(move || {
        if !set.swap(true, Ordering::Relaxed) {
            first = Some(Instant::now());
            remark!("\n{words}");
        } else if first.is_some_and(|first| first.elapsed() >= Duration::from_secs(1)) {
            remark!("left at once; {}", saved());
            std::process::exit(130)
        }
    })
    .map_err(|error| match error {
        ctrlc::Error::System(error) => NoThread::new("Ctrl-C", &error).into(),
        error => anyhow::Error::from(error),
    })?;
    Ok(flag)
}
