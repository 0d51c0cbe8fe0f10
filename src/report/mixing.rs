//! Checks whether runs may be compared or pooled: their inputs must be the same wherever their settings do not name different ones.

use std::path::PathBuf;

use super::record::dotted;
use super::{RecordedError, RecordedRun};
use crate::record::manifest::{Difference, Input, Manifest, ManifestError};
use crate::registry::Registry;

/// The inputs of a run, with the settings that name them.
pub struct Made<'a> {
    /// The manifest.
    pub manifest: &'a Manifest,
    /// The resolved experiment.
    pub experiment: &'a toml::Table,
}

impl<'a> From<&'a RecordedRun> for Made<'a> {
    fn from(run: &'a RecordedRun) -> Self {
        Self {
            manifest: &run.manifest,
            experiment: &run.experiment,
        }
    }
}

/// The inputs that differ between two runs although their settings name the same. Empty when either run lists no checksums.
pub fn unexplained(first: &Made, second: &Made) -> Vec<Difference> {
    if !first.manifest.has_checksums() || !second.manifest.has_checksums() {
        return Vec::new();
    }
    let settings = [first, second].map(|made| dotted(made.experiment));
    let differs = |keys: &str| {
        let of = |index: usize| -> Vec<&(String, String)> {
            let all = settings[index].iter();
            all.filter(|(key, _)| key == keys || key.starts_with(&format!("{keys}.")))
                .collect()
        };
        of(0) != of(1)
    };
    // What `data.intervene` draws decides how many documents are read.
    let draws = |made: &&Made| {
        let data = made.experiment.get("data");
        let changes = data.and_then(|data| data.get("intervene")?.as_array());
        changes.is_some_and(|changes| !changes.is_empty())
    };
    let drawn_apart = differs("seed") && [first, second].iter().all(draws);
    let mut found = first.manifest.differences(second.manifest);
    found.retain(|difference| {
        let explained = differs(&named_by(&difference.name))
            || (drawn_apart && difference.name == "data/train" && is_of_one_file(difference));
        !explained
    });
    found
}

/// Whether both inputs are of files with the same bytes, however much of them was used.
fn is_of_one_file(difference: &Difference) -> bool {
    let sum = |input: &Option<Input>| input.as_ref().map(|input| input.sha256.clone());
    sum(&difference.then) == sum(&difference.now)
}

/// The key of the settings that name an input: `data` for `data/train`, `models.main` for `models/main/config.json`, `hooks.honest` for
/// `hooks/honest/lexicon`.
fn named_by(input: &str) -> String {
    let mut parts = input.split('/');
    let first = parts.next().unwrap_or_default();
    match (first, parts.next()) {
        ("models" | "hooks", Some(second)) => format!("{first}.{second}"),
        _ => first.to_owned(),
    }
}

/// Describes the inputs that were mixed. Each run is compared to the earlier runs, up to the first that it does not belong to.
pub fn mixed(runs: &[&RecordedRun]) -> Vec<String> {
    let mut found = Vec::new();
    for (index, other) in runs.iter().enumerate() {
        let differing = runs[..index].iter().find_map(|first| {
            let differences = unexplained(&Made::from(*first), &Made::from(*other));
            (!differences.is_empty()).then_some((first, differences))
        });
        let Some((first, differences)) = differing else {
            continue;
        };
        let said = differences.iter().map(|one| said(first, other, one));
        found.extend(said);
    }
    found
}

/// The caveat for inputs that were mixed with `--force`.
pub fn caveat(mixed: &str) -> String {
    format!("Put together by --force although the runs were made of other inputs: {mixed}.")
}

fn said(first: &RecordedRun, other: &RecordedRun, difference: &Difference) -> String {
    let input = |input: &Option<Input>| match input {
        Some(input) => input.to_string(),
        None => "nothing".to_owned(),
    };
    format!(
        "{}: {} in {}, {} in {}",
        difference.name,
        input(&difference.then),
        first.name(),
        input(&difference.now),
        other.name()
    )
}

/// Refuses runs whose inputs differ although their settings name the same.
///
/// # Errors
/// When there are such inputs; the error lists each.
pub fn check(runs: &[&RecordedRun]) -> Result<(), RecordedError> {
    let because = mixed(runs);
    if because.is_empty() {
        return Ok(());
    }
    Err(RecordedError::Mixed(ManifestError::Refused {
        what: "these runs were made of other inputs under the same settings".to_owned(),
        because,
        remedy: "Show them apart, or together all the same with --force, which the report says."
            .to_owned(),
    }))
}

/// Reads several runs. With `force`, damaged records are left out and named, and mixed inputs are not refused.
///
/// # Errors
/// When a run cannot be read, or when the runs do not belong together.
pub fn read(
    paths: &[PathBuf],
    registry: &Registry,
    force: bool,
) -> Result<Vec<RecordedRun>, RecordedError> {
    let read = if force {
        RecordedRun::read_damaged
    } else {
        RecordedRun::read
    };
    let runs = paths.iter().map(|path| read(path, registry));
    let runs: Vec<RecordedRun> = runs.collect::<Result<_, _>>()?;
    if !force {
        check(&runs.iter().collect::<Vec<_>>())?;
    }
    Ok(runs)
}
