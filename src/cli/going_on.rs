//! Checks of inputs before a run is resumed, replayed or begun beside another: they must be the same as before.

use std::path::Path;

use super::terminal::remark;
use crate::diagnostic::Diagnostic;
use crate::record::layout::{MANIFEST, MILESTONES};
use crate::record::manifest::{Difference, Forced, Manifest, ManifestError};
use crate::record::{checkpoint, experiment, name};
use crate::report::mixing::{Made, unexplained};
use crate::train::Plan;

/// Compares the inputs that a run began with to those that it would go on with, before anything is written. Puts the run's new manifest
/// into `plan`; it records the extended settings and, with `force`, the differences.
///
/// # Errors
/// When an input, the experiment or the manifest has changed, and `force` is not set.
pub(super) fn resume(
    run: &Path,
    plan: &mut Plan,
    extend: &[String],
    force: bool,
) -> anyhow::Result<()> {
    // A run without any record begins anew, so that nothing can be mixed.
    if has_recorded_nothing(run) {
        return Ok(());
    }
    let now = plan.manifest.clone();
    let (then, because) = then(run, |then| {
        let differences = then.differences(&now);
        let mut because: Vec<String> = differences.iter().map(Difference::to_string).collect();
        because.extend(other_experiment(run, then));
        because
    })?;
    if let Some(versions) = then.versions(&now) {
        remark!("note: this run goes on with {versions}");
    }
    let forced = allowed(force, run, because, || Forced {
        when: name::now(),
        command: "resume".to_owned(),
        step: newest_checkpoint(run),
        because: Vec::new(),
    })?;
    let extended = (!extend.is_empty()).then(|| {
        let step = newest_checkpoint(run).unwrap_or(0);
        format!("from step {step} on: {}", extend.join(" "))
    });
    plan.manifest = Manifest::going_on(&now, &then, extended, forced);
    Ok(())
}

/// Compares a new run to one that it will be pooled with. Inputs must be the same unless the runs' settings name different ones.
///
/// # Errors
/// As [`resume`].
pub(super) fn beside(other: &Path, plan: &mut Plan, force: bool) -> anyhow::Result<()> {
    let now = plan.manifest.clone();
    let ours: toml::Table = toml::from_str(&plan.resolved)?;
    let theirs = super::experiments::read_source(&experiment::path(other))?;
    let theirs: toml::Table =
        toml::from_str(&theirs.text).map_err(|error| Diagnostic::from_toml(&theirs, &error))?;
    let (_, because) = then(other, |then| {
        let made = |manifest, experiment| Made {
            manifest,
            experiment,
        };
        let differences = unexplained(&made(then, &theirs), &made(&now, &ours));
        differences.iter().map(Difference::to_string).collect()
    })?;
    let forced = allowed(force, other, because, || Forced {
        when: name::now(),
        command: "begin".to_owned(),
        step: None,
        because: Vec::new(),
    })?;
    if forced.is_some() {
        plan.manifest = Manifest::going_on(&now, &now, None, forced);
    }
    Ok(())
}

/// Compares the inputs of a run to those of a replay. With `other_hooks`, files that hooks read may differ.
///
/// # Errors
/// As [`resume`].
pub(super) fn replay(
    run: &Path,
    plan: &mut Plan,
    other_hooks: bool,
    force: bool,
) -> anyhow::Result<()> {
    let now = plan.manifest.clone();
    let (then, because) = then(run, |then| {
        let mut differences = then.differences(&now);
        differences.retain(|one| !other_hooks || !one.name.starts_with("hooks/"));
        let mut because: Vec<String> = differences.iter().map(Difference::to_string).collect();
        because.extend(other_experiment(run, then));
        because
    })?;
    if let Some(versions) = then.versions(&now) {
        remark!("note: this run is measured by {versions}");
    }
    let forced = allowed(force, run, because, || Forced {
        when: name::now(),
        command: "replay".to_owned(),
        step: None,
        because: Vec::new(),
    })?;
    // Differences that were forced in the run affect its replay, too.
    let mut facts = now.into_facts();
    let forced: Vec<Forced> = then.forced().into_iter().chain(forced).collect();
    facts["forced"] = serde_json::to_value(forced)?;
    plan.manifest = Manifest::sealed(facts);
    Ok(())
}

/// Reads the manifest of a run and returns it with the differences that `compare` finds. A manifest that is missing, damaged or without
/// checksums counts as a difference.
fn then(
    run: &Path,
    compare: impl FnOnce(&Manifest) -> Vec<String>,
) -> Result<(Manifest, Vec<String>), ManifestError> {
    match Manifest::read(run) {
        Ok(then) if then.has_checksums() => {
            let because = compare(&then);
            Ok((then, because))
        }
        Ok(then) => {
            let path = run.join(MANIFEST);
            let message = "an older version wrote it, without checksums: it cannot be told whether the run's inputs are what they were";
            Ok((then, vec![format!("{}: {message}", path.display())]))
        }
        Err(error @ ManifestError::Input { .. }) => Err(error),
        Err(error) => Ok((Manifest::default(), vec![error.to_string()])),
    }
}

/// Returns the record of what was forced, or None when `because` is empty. An error when there are differences and `force` is not set.
fn allowed(
    force: bool,
    run: &Path,
    because: Vec<String>,
    forced: impl FnOnce() -> Forced,
) -> Result<Option<Forced>, ManifestError> {
    if because.is_empty() {
        return Ok(None);
    }
    if !force {
        return Err(ManifestError::Refused {
            what: format!("{} was made of something else", run.display()),
            because,
            remedy: "Put it back as it was, or begin a new run; --force goes on all the same, and the run's manifest and report say so.".to_owned(),
        });
    }
    for what in &because {
        remark!("forced: {what}");
    }
    Ok(Some(Forced {
        because,
        ..forced()
    }))
}

/// Says so when `experiment.toml` is none of the versions that the run has had.
fn other_experiment(run: &Path, then: &Manifest) -> Option<String> {
    let path = experiment::path(run);
    let bytes = std::fs::read(&path).ok()?;
    let same = then.has_had(&bytes);
    (!same).then(|| format!("{}: it was changed after the run began", path.display()))
}

/// Whether a run ended before it wrote a line or a checkpoint.
fn has_recorded_nothing(run: &Path) -> bool {
    let lines = std::fs::metadata(run.join(MILESTONES));
    lines.map_or(true, |lines| lines.len() == 0) && newest_checkpoint(run).is_none()
}

/// The step of the newest checkpoint, taken from its name.
fn newest_checkpoint(run: &Path) -> Option<u64> {
    Some(checkpoint::newest(run)?.step)
}
