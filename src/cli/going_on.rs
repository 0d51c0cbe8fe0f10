//! Whether a run may be gone on with, replayed, or begun beside others: its inputs must be what they were.

use std::path::Path;

use super::terminal::remark;
use crate::diagnostic::Diagnostic;
use crate::record::layout::{MANIFEST, MILESTONES};
use crate::record::manifest::{Difference, Forced, Manifest, ManifestError};
use crate::record::{checkpoint, experiment, name};
use crate::report::mixing::{Made, unexplained};
use crate::train::Plan;

/// Compares what a run was begun with and what it would go on with, before anything is written, and puts the manifest that the run has from
/// now on into `plan`. The settings that it is extended by are recorded there, and with `force` a difference.
///
/// # Errors
/// When an input, the experiment or the manifest is not what it was, and `force` is not set.
pub(super) fn resume(
    run: &Path,
    plan: &mut Plan,
    extend: &[String],
    force: bool,
) -> anyhow::Result<()> {
    // What has recorded nothing has mixed nothing: it begins anew.
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
        remark!("note: this run is gone on with by {versions}");
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

/// Compares a new run with one that it will be pooled with: where their settings do not say otherwise, their inputs must be the same.
///
/// # Errors
/// As [`resume`].
pub(super) fn beside(other: &Path, plan: &mut Plan, force: bool) -> anyhow::Result<()> {
    let now = plan.manifest.clone();
    let ours: toml::Table = toml::from_str(&plan.resolved)?;
    let theirs = super::plan::read_source(&experiment::path(other))?;
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

/// Compares what a run was made of and what a replay of it would be made of; other hooks may read other files.
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
    // What was forced in the run holds for what is measured on it.
    let mut facts = now.into_facts();
    let forced: Vec<Forced> = then.forced().into_iter().chain(forced).collect();
    facts["forced"] = serde_json::to_value(forced)?;
    plan.manifest = Manifest::sealed(facts);
    Ok(())
}

/// The manifest of a run, with what `compare` has against it. One that is missing, damaged or without checksums is against it, too.
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

/// Whether what stands against a run is forced; refused otherwise.
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

/// Whether `experiment.toml` is another one than those that the run has had.
fn other_experiment(run: &Path, then: &Manifest) -> Option<String> {
    let path = experiment::path(run);
    let bytes = std::fs::read(&path).ok()?;
    let same = then.has_had(&bytes);
    (!same).then(|| format!("{}: it was changed after the run began", path.display()))
}

/// Whether a run ended before its first line.
fn has_recorded_nothing(run: &Path) -> bool {
    let lines = std::fs::metadata(run.join(MILESTONES));
    lines.map_or(true, |lines| lines.len() == 0) && newest_checkpoint(run).is_none()
}

/// The step of the newest checkpoint, by its name.
fn newest_checkpoint(run: &Path) -> Option<u64> {
    Some(checkpoint::newest(run)?.step)
}
