//! A study as written: a base experiment, seeds, a baseline, and arms that each change something.

use serde::Deserialize;
use toml::Spanned;

use crate::cli::experiments::Found;
use crate::diagnostic::{Diagnostic, Source, known_names};

/// A study file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    experiment: Spanned<String>,
    seeds: Spanned<Vec<u64>>,
    baseline: Spanned<String>,
    /// Settings of all arms.
    #[serde(default)]
    set: toml::Table,
    arms: Vec<WrittenArm>,
}

/// `[[arms]]`
#[derive(Debug, Deserialize)]
struct WrittenArm {
    name: Spanned<String>,
    /// Settings by their dotted keys.
    #[serde(default)]
    set: toml::Table,
    /// Settings as an experiment has them.
    #[serde(flatten)]
    sections: toml::Table,
}

/// A study, checked.
#[derive(Debug)]
pub(super) struct Study {
    /// The experiment that all arms begin from: a path, or a name in `experiments/`.
    pub experiment: String,
    /// What all arms override, as `--set` takes it.
    pub overrides: Vec<String>,
    /// The seeds of each arm.
    pub seeds: Vec<u64>,
    /// The index of the baseline among the arms.
    pub baseline: usize,
    /// The arms, in the order of the file.
    pub arms: Vec<Arm>,
}

/// An arm.
#[derive(Debug)]
pub(super) struct Arm {
    /// Its name.
    pub name: String,
    /// What it overrides, as `--set` takes it.
    pub overrides: Vec<String>,
}

impl Study {
    /// Reads a study file.
    ///
    /// # Errors
    /// A diagnostic at the first thing in it that is wrong.
    pub fn read(file: &Found) -> Result<Self, Diagnostic> {
        let source = file.source()?;
        let written: Written =
            toml::from_str(&source.text).map_err(|error| Diagnostic::from_toml(&source, &error))?;
        let mut seeds = written.seeds.get_ref().clone();
        seeds.sort_unstable();
        seeds.dedup();
        if seeds.len() < 2 || seeds.len() < written.seeds.get_ref().len() {
            let message =
                "a study needs at least two seeds, each once: what one seed does is no evidence";
            return Err(Diagnostic::at(&source, written.seeds.span(), message));
        }
        let mut arms: Vec<Arm> = Vec::new();
        for arm in written.arms {
            check_name(&source, &arm.name, &arms)?;
            let mut overrides = set(&arm.set);
            leaves("", &arm.sections, &mut overrides);
            if let Some(seed) = overrides.iter().find(|one| one.starts_with("seed=")) {
                let message =
                    format!("an arm cannot set the seed ({seed}): every arm has all of `seeds`");
                return Err(Diagnostic::at(&source, arm.name.span(), message));
            }
            arms.push(Arm {
                name: arm.name.into_inner(),
                overrides,
            });
        }
        let names: Vec<&str> = arms.iter().map(|arm| arm.name.as_str()).collect();
        let baseline = written.baseline.get_ref();
        let Some(baseline) = names.iter().position(|name| name == baseline) else {
            let message = format!("no arm is called `{baseline}`");
            let help = known_names(baseline, &names);
            return Err(Diagnostic::at(&source, written.baseline.span(), message).with_help(help));
        };
        if arms.len() < 2 {
            let message = "a study needs an arm besides the baseline";
            return Err(Diagnostic::file(&source.name, message));
        }
        // Beside the study, else as `finetune` finds it.
        let beside = file.path().with_file_name(written.experiment.get_ref());
        let experiment = if beside.is_file() {
            beside.display().to_string()
        } else {
            written.experiment.get_ref().clone()
        };
        Ok(Self {
            experiment,
            overrides: set(&written.set),
            seeds,
            baseline,
            arms,
        })
    }
}

/// Settings by dotted keys, as overrides.
fn set(table: &toml::Table) -> Vec<String> {
    let settings = table.iter();
    settings
        .map(|(key, value)| format!("{key}={value}"))
        .collect()
}

/// Checks that a name can be part of a folder's name, and that no arm before it has it.
fn check_name(source: &Source, name: &Spanned<String>, before: &[Arm]) -> Result<(), Diagnostic> {
    let letter = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let text = name.get_ref();
    if text.is_empty() || text.len() > 60 || !text.chars().all(letter) || text.starts_with('.') {
        let message = "not the name of an arm: folders are named by it, so it has letters, digits, `-`, `_` and `.`, and at most 60 of them";
        return Err(Diagnostic::at(source, name.span(), message));
    }
    if before.iter().any(|arm| arm.name == *text) {
        let message = format!("two arms are called `{text}`");
        return Err(Diagnostic::at(source, name.span(), message));
    }
    Ok(())
}

/// The values of a table of settings that are no tables, as overrides with dotted keys.
fn leaves(path: &str, table: &toml::Table, overrides: &mut Vec<String>) {
    for (key, value) in table {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        let key = if key.chars().all(plain) {
            key.clone()
        } else {
            toml::Value::from(key.as_str()).to_string()
        };
        let path = if path.is_empty() {
            key
        } else {
            format!("{path}.{key}")
        };
        match value {
            toml::Value::Table(table) => leaves(&path, table, overrides),
            value => overrides.push(format!("{path}={value}")),
        }
    }
}
