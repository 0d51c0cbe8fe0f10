//! `milepost finetune`: the run itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;

use super::plan::{describe, read, read_resolved};
use super::{Selection, progress, summary};
use crate::diagnostic::Diagnostic;
use crate::experiment::resolve;
use crate::hook::Registry;
use crate::train::{RunDirectory, StopReason, finetune};

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
    /// Go on with a run that was killed or stopped, from its newest checkpoint: the name of the run.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["name", "overrides", "no_hooks", "device"])]
    resume: Option<String>,
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> anyhow::Result<u8> {
    let selection = &arguments.selection;
    let experiment = super::plan::find(&selection.experiment)?;
    let stem = experiment
        .file_stem()
        .map(PathBuf::from)
        .unwrap_or_default();
    let folder = arguments.runs.join(stem);
    let resuming = arguments.resume.as_ref();
    let directory = match resuming.or(arguments.name.as_ref()) {
        Some(name) => folder.join(name),
        None => fresh_name(&folder),
    };
    let (written, places) = read(selection, &directory)?;
    let (written, places) = match resuming {
        None => (written, places),
        Some(_) => {
            let mut places = places;
            // Its paths are absolute.
            places.base = PathBuf::new();
            (read_resolved(&directory)?, places)
        }
    };
    if resuming.is_none() && RunDirectory::is_taken(&directory) {
        let message = "this run exists already; give another --name, or go on with it by --resume";
        return Err(Diagnostic::file(directory.display().to_string(), message).into());
    }
    let mut downloads = progress::Downloads::default();
    let resolved = resolve(&written, registry, &places, &mut |name, done, total| {
        downloads.report(name, done, total);
    })?;
    print!("{}", describe(&resolved, false));
    println!("run       {}\n", directory.display());
    let origin = resolved.plan.origin.clone();
    let interrupt = interrupt_flag()?;
    let mut reporter = progress::reporter(resolved.plan.extent.steps());
    let outcome = finetune(
        resolved.plan,
        resuming.is_some(),
        reporter.as_mut(),
        &interrupt,
    );
    drop(reporter);
    let outcome = outcome?;
    print!("{}", summary::table(&outcome, &origin));
    crate::report::write_for(&outcome.directory)?;
    if outcome.stop == StopReason::Interrupted {
        // Below the experiment's folder: the runs of a sweep lie in one of their own.
        let name = directory.strip_prefix(&folder).unwrap_or(&directory);
        println!(
            "stopped by Ctrl-C after step {}; go on with --resume {}",
            outcome.clock.step,
            name.display()
        );
        return Ok(130);
    }
    Ok(if outcome.failures.is_empty() { 0 } else { 6 })
}

/// A flag that the first Ctrl-C (or SIGTERM) sets; the second ends the process.
pub(super) fn interrupt_flag() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = flag.clone();
    ctrlc::set_handler(move || {
        if set.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step; Ctrl-C again to leave at once without saving");
    })?;
    Ok(flag)
}

/// `2026-11-23T19-52-07`, with a number behind it if that second is taken.
pub(super) fn fresh_name(folder: &Path) -> PathBuf {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |duration| duration.as_secs());
    let (days, rest) = ((seconds / 86_400) as i64, seconds % 86_400);
    let (year, month, day) = civil(days);
    let stamp = format!(
        "{year:04}-{month:02}-{day:02}T{:02}-{:02}-{:02}",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    );
    let mut path = folder.join(&stamp);
    let mut number = 2;
    while path.exists() {
        path = folder.join(format!("{stamp}-{number}"));
        number += 1;
    }
    path
}

/// Year, month and day of a number of days since 1970-01-01 in the Gregorian calendar (proleptic, by 400-year eras from March).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}
