//! Reads the interventions of an experiment: `[interventions.<name>]` with a kind, when to ask it, and the kind's own options.

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeValue, ValueDeserializer};

use super::entry::{self, Entry};
use super::{Clauses, Written, part};
use crate::clock::Extent;
use crate::condition::Condition;
use crate::diagnostic::{Diagnostic, known_names};
use crate::hook::OptionError;
use crate::intervention::{InterventionKind, RunFacts};
use crate::registry::Registry;
use crate::train::{InterventionSpec, caught};

/// The keys that every intervention has. All other keys are options of its kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Common {
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Clauses>,
    #[serde(skip_serializing_if = "Option::is_none")]
    when: Option<String>,
    #[serde(default)]
    once: bool,
    #[serde(default = "yes")]
    enabled: bool,
}

/// The names of the keys of [`Common`].
const COMMON: &[&str] = &["kind", "at", "when", "once", "enabled"];

/// Keys of hooks that mean nothing for an intervention, and why.
const OF_HOOKS: &[(&str, &str)] = &[
    (
        "runs",
        "an intervention always runs between two steps, never in the background",
    ),
    (
        "on_error",
        "training without an intervention is another run, so its failure ends the run",
    ),
    (
        "on",
        "an intervention decides between two steps: say at which with `at` and `when`",
    ),
    (
        "deadline_seconds",
        "what an intervention does must not depend on how fast the machine is",
    ),
];

fn yes() -> bool {
    true
}

/// An intervention as `plan` shows it.
#[derive(Debug, Clone)]
pub struct InterventionOverview {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// What its kind does, in one line.
    pub about: &'static str,
    /// When it decides.
    pub at: String,
    /// What must be true of the run for that.
    pub when: Option<Condition>,
    /// Whether it is asked only once.
    pub once: bool,
}

/// The interventions of an experiment, ready to run.
#[derive(Default)]
pub(super) struct Interventions {
    pub specs: Vec<InterventionSpec>,
    pub overview: Vec<InterventionOverview>,
    /// Their tables with every default written out.
    pub resolved: toml::Table,
}

/// Reads every intervention of the experiment, and lets it check its options against the run.
///
/// # Errors
/// A diagnostic for an unknown kind or key, for a wrong type, for a cadence that cannot be parsed, depends on wall time or is never due, and
/// for an option that does not fit the run.
pub(super) fn read(
    written: &Written,
    registry: &Registry,
    extent: &Extent,
    facts: &RunFacts,
) -> anyhow::Result<Interventions> {
    let mut all = Interventions::default();
    entry::each(written, "interventions", |entry| {
        read_one(&entry, registry, extent, &mut all)
    })?;
    for spec in &mut all.specs {
        let prepared = caught(|| spec.intervention.prepare(facts));
        prepared.map_err(|error| refused(written, &spec.name, &error))?;
    }
    Ok(all)
}

/// What to say when an intervention's options do not fit the run: with the place of the option.
fn refused(written: &Written, name: &str, error: &anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<OptionError>() {
        Some(OptionError { option, message }) => {
            let path = ["interventions", name, option];
            written.wrong(&path, message).into()
        }
        None => anyhow::anyhow!("intervention `{name}`: {error:#}"),
    }
}

fn read_one(
    entry: &Entry,
    registry: &Registry,
    extent: &Extent,
    all: &mut Interventions,
) -> Result<(), Diagnostic> {
    let (written, name) = (entry.written, entry.name.get_ref().as_ref());
    for (key, why) in OF_HOOKS {
        if let Some(value) = super::value_of(entry.table, &[key]) {
            let message = format!("`{key}` is a key of hooks: {why}");
            return Err(Diagnostic::at(&written.source, value.span(), message));
        }
    }
    let common: Common = entry.typed(part(entry.table, |key| COMMON.contains(&key)))?;
    let kind = kind(entry, registry, common.kind.as_deref().unwrap_or(name))?;
    let own: Vec<&str> = kind.options.iter().map(|(name, _)| *name).collect();
    entry.check_keys(&format!("intervention kind `{}`", kind.name), &own, COMMON)?;
    let options = part(entry.table, |key| !COMMON.contains(&key));
    let value = Spanned::new(entry.span.clone(), DeValue::Table(options.clone()));
    let intervention = kind
        .build(ValueDeserializer::from(value))
        .map_err(|error| Diagnostic::from_toml(&written.source, &error))?;
    let when = common.when.as_deref();
    let when = when
        .map(|text| written.condition(&["interventions", name, "when"], text))
        .transpose()?;
    let path = ["interventions", name, "at"];
    let usual = kind.at.or(when.is_some().then_some("every step"));
    let clauses = match (&common.at, usual) {
        (Some(clauses), _) => clauses.clone(),
        (None, Some(usual)) => Clauses::One(usual.to_owned()),
        (None, None) => {
            let message = format!("a `{}` must be told when: give `at` or `when`", kind.name);
            let help =
                "at = \"step 100\" is written at = \"steps 100\"; when = \"eval/main/loss rises\"";
            return Err(written
                .wrong(&["interventions", name], message)
                .with_help(help));
        }
    };
    let at = written.cadence(&path, &clauses)?;
    if at.by_time() {
        let message = "what an intervention does must not depend on time, or a run that was resumed would be another: give steps, epochs, tokens or a share of the run";
        return Err(written.wrong(&path, message));
    }
    if !common.enabled {
        return Ok(());
    }
    if at.never_fires(extent) {
        let steps = extent.steps();
        let message = format!("intervention `{name}` is never asked in a run of {steps} steps");
        return Err(written.wrong(&path, message));
    }
    let mut table = toml::Table::new();
    let resolved = Common {
        kind: Some(kind.name.to_owned()),
        at: Some(Clauses::Several(at.clauses())),
        when: when.as_ref().map(Condition::to_string),
        ..common.clone()
    };
    if let Ok(toml::Value::Table(common)) = toml::Value::try_from(resolved) {
        table.extend(common);
    }
    table.extend(toml::from_str::<toml::Table>(&kind.defaults).unwrap_or_default());
    table.extend(entry.typed::<toml::Table>(options)?);
    all.resolved.insert(name.to_owned(), table.into());
    all.overview.push(InterventionOverview {
        name: name.to_owned(),
        kind: kind.name.to_owned(),
        about: kind.about,
        at: at.to_string(),
        when: when.clone(),
        once: common.once,
    });
    all.specs.push(InterventionSpec {
        name: name.to_owned(),
        kind: kind.name.to_owned(),
        at,
        when,
        once: common.once,
        rolls_back: kind.rolls_back,
        intervention,
    });
    Ok(())
}

fn kind<'r>(
    entry: &Entry,
    registry: &'r Registry,
    name: &str,
) -> Result<&'r InterventionKind, Diagnostic> {
    registry.intervention(name).ok_or_else(|| {
        let kinds = registry.interventions();
        let known: Vec<&str> = kinds.map(|kind| kind.name).collect();
        let written = super::value_of(entry.table, &["kind"]);
        let span = written.map_or_else(|| entry.name.span(), Spanned::span);
        let message = format!("unknown kind of intervention `{name}`");
        let diagnostic = Diagnostic::at(&entry.written.source, span, message);
        if registry.get(name).is_some() {
            return diagnostic.with_help(format!(
                "`{name}` is a hook: write [hooks.{}]",
                entry.name.get_ref()
            ));
        }
        diagnostic.with_help(known_names(name, &known))
    })
}
