//! Reads the hooks of an experiment: `[hooks.<name>]` with a kind, when and where to call it, and the kind's own options.

use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::entry::{self, Entry};
use super::firings::{Firings, FiringsAt, LoopCadences};
use super::room::Room;
use super::{Clauses, Written, conditions, part, signals};
use crate::cadence::Cadence;
use crate::clock::{Extent, Step};
use crate::condition::Condition;
use crate::data::templates::ContrastNames;
use crate::decode::Settings;
use crate::diagnostic::{Diagnostic, known_names};
use crate::event::Event;
use crate::hook::{Input, Kind, Runs};
use crate::registry::Registry;
use crate::train::{HookSpec, OnError};

/// The keys that every hook has. All other keys are options of its kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Common {
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Clauses>,
    /// An event of the loop, or one that another hook emits.
    #[serde(skip_serializing_if = "Option::is_none")]
    on: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    when: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    once: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<Runs>,
    #[serde(default)]
    on_error: OnError,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_seconds: Option<NonZeroU64>,
    #[serde(default = "yes")]
    enabled: bool,
}

/// The names of the keys of [`Common`].
pub(crate) const COMMON: &[&str] = &[
    "kind",
    "at",
    "on",
    "when",
    "once",
    "runs",
    "on_error",
    "deadline_seconds",
    "enabled",
];

impl Common {
    /// The event of the loop that `on` names.
    fn event(&self) -> Option<Event> {
        self.on.as_deref().and_then(Event::named)
    }

    /// The event of another hook that `on` names.
    fn signal(&self) -> Option<&str> {
        self.on.as_deref().filter(|on| Event::named(on).is_none())
    }

    /// When it is due: as written, else at every signal, else now and then.
    fn clauses(&self) -> Clauses {
        let usual = match self.signal() {
            Some(_) => ["start", "every step", "end"],
            None => ["start", "every 10%", "end"],
        };
        let usual = || Clauses::Several(usual.map(str::to_owned).to_vec());
        self.at.clone().unwrap_or_else(usual)
    }
}

fn yes() -> bool {
    true
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A hook as `plan` shows it.
#[derive(Debug, Clone)]
pub struct HookOverview {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// When it is due.
    pub at: String,
    /// The event at which it is called; None for the moments at which its cadence is due.
    pub on: Option<Event>,
    /// The event of another hook at which it is called, in place of `on`.
    pub signal: Option<String>,
    /// The events of its own that it may emit.
    pub emits: Vec<&'static str>,
    /// What must be true of the run for a call, where it is due.
    pub when: Option<Condition>,
    /// Whether its kind has a condition, too.
    pub kind_decides: bool,
    /// Whether it is called only once.
    pub once: bool,
    /// Whether it runs in the background or inline.
    pub runs: Runs,
    /// What its failure does.
    pub on_error: OnError,
    /// The steps at which it fires if the run goes as planned.
    pub firings: Firings,
    /// The same, event by event in the order of the loop.
    pub firings_at: Vec<FiringsAt>,
}

impl HookOverview {
    /// Whether a condition decides on its calls, where it is due.
    pub fn is_conditional(&self) -> bool {
        self.when.is_some() || self.kind_decides
    }

    /// Whether it is also due by wall time.
    pub fn by_time(&self) -> bool {
        self.firings_at.iter().any(|at| at.by_time)
    }
}

/// The hooks of an experiment, ready to run.
pub(super) struct Hooks {
    pub specs: Vec<HookSpec>,
    pub overview: Vec<HookOverview>,
    pub resolved: toml::Table,
    /// Notes for the user, such as why a hook was left out or which kind has a new name.
    pub notes: Vec<String>,
}

/// Reads every hook of the experiment. Without `cadences` there is no training: `at`, `on`, `when` and `once` are ignored, each hook is called at every
/// milestone, and hooks that need live gradients are left out.
///
/// # Errors
/// A diagnostic for an unknown kind, key or event, for a wrong type, for a cadence that cannot be parsed or is never due, and for a
/// condition that cannot be parsed or names a tag that it cannot use.
pub(super) fn read(
    written: &Written,
    registry: &Registry,
    extent: &Extent,
    cadences: Option<&LoopCadences>,
    base: &Path,
    room: Room,
) -> Result<Hooks, Diagnostic> {
    let mut hooks = Hooks {
        notes: Vec::new(),
        specs: Vec::new(),
        overview: Vec::new(),
        resolved: toml::Table::new(),
    };
    let contrasts = written.contrasts()?.into_iter();
    let contrasts: Vec<ContrastNames> = contrasts.map(|(spec, _)| spec.names()).collect();
    entry::each(written, "hooks", |entry| {
        let entry = HookEntry {
            entry,
            base,
            room,
            contrasts: contrasts.clone(),
        };
        entry.read(registry, extent, cadences, &mut hooks)
    })?;
    conditions::check(written, &hooks.specs)?;
    signals::check(written, &hooks.specs)?;
    Ok(hooks)
}

struct HookEntry<'a> {
    entry: Entry<'a>,
    base: &'a Path,
    room: Room,
    contrasts: Vec<ContrastNames>,
}

impl<'a> std::ops::Deref for HookEntry<'a> {
    type Target = Entry<'a>;

    fn deref(&self) -> &Entry<'a> {
        &self.entry
    }
}

impl HookEntry<'_> {
    fn read(
        &self,
        registry: &Registry,
        extent: &Extent,
        cadences: Option<&LoopCadences>,
        hooks: &mut Hooks,
    ) -> Result<(), Diagnostic> {
        let name = self.name.get_ref().as_ref();
        let common: Common = self.typed(part(self.table, |key| COMMON.contains(&key)))?;
        let options = part(self.table, |key| !COMMON.contains(&key));
        let kind_name = common.kind.as_deref().unwrap_or(name);
        let kind = self.kind(registry, kind_name)?;
        if kind.name != kind_name {
            hooks.notes.push(format!(
                "hook `{name}`: the kind `{kind_name}` is now called `{}`",
                kind.name
            ));
        }
        let own: Vec<&str> = kind.options.iter().map(|(name, _)| *name).collect();
        self.check_keys(&format!("hook kind `{}`", kind.name), &own, COMMON)?;
        let options = located(options, kind, self.base);
        let value = Spanned::new(self.span.clone(), DeValue::Table(options.clone()));
        let hook = kind
            .build(ValueDeserializer::from(value))
            .map_err(|error| Diagnostic::from_toml(&self.written.source, &error))?;
        self.check_decoding(kind, &options)?;
        let signal = common.signal();
        let on = common.event().or(kind.on).filter(|_| signal.is_none());
        let runs = common.runs.unwrap_or(match on {
            Some(on) if on.ends_the_run() => Runs::Inline,
            _ => kind.runs,
        });
        self.check_event(on, runs)?;
        let at = self
            .written
            .cadence(&["hooks", name, "at"], &common.clauses())?;
        if at.by_budget() && (on.is_some() || signal.is_some()) {
            let message =
                "a budget is checked at the end of a step, so it cannot be combined with `on`";
            return Err(self.written.wrong(&["hooks", name, "at"], message));
        }
        let when = common.when.as_deref();
        let when = when
            .map(|text| self.written.condition(&["hooks", name, "when"], text))
            .transpose()?;
        if !common.enabled {
            return Ok(());
        }
        let firings = match cadences {
            Some(_) if signal.is_some() => Firings::unknown(),
            Some(cadences) => Firings::of(&at, on, extent, cadences),
            None if let Some(on) = on.filter(|on| on.needs_training()) => {
                let why = format!(
                    "hook `{name}` is called at `{on}`, which only a training has: left out"
                );
                hooks.notes.push(why);
                return Ok(());
            }
            None => Firings::once(Step(0)),
        };
        let trains = cadences.is_some();
        let (at, on) = match cadences {
            Some(_) => (at, on),
            // Due at every milestone.
            None => {
                let every = ["start", "every step"].map(str::to_owned).to_vec();
                (
                    self.written
                        .cadence(&["hooks", name], &Clauses::Several(every))?,
                    None,
                )
            }
        };
        if firings.is_empty() && !at.by_time() && !on.is_some_and(Event::is_unplanned) {
            let steps = extent.steps();
            let message = match on {
                None => format!(
                    "hook `{name}` is never due: no clause comes true in a run of {steps} steps"
                ),
                Some(on) => {
                    format!("hook `{name}` is never due at `{on}` in a run of {steps} steps")
                }
            };
            return Err(self.written.wrong(&["hooks", name, "at"], message));
        }
        let mut firings_at = match signal {
            Some(_) => Vec::new(),
            None => FiringsAt::each(&firings, &at, on, extent),
        };
        let is_conditional = when.is_some() || kind.when.is_some();
        let firings = if common.once && !is_conditional {
            firings_at = FiringsAt::only_first(firings_at);
            firings.only_first()
        } else {
            firings
        };
        hooks.overview.push(HookOverview {
            name: name.to_owned(),
            kind: kind.name.to_owned(),
            at: at.to_string(),
            on,
            signal: signal.map(str::to_owned),
            emits: kind.emits.clone(),
            when: when.clone(),
            kind_decides: kind.when.is_some(),
            once: common.once,
            runs,
            on_error: common.on_error,
            firings_at,
            firings,
        });
        hooks.resolved.insert(
            name.to_owned(),
            self.resolved(&common, kind, &at, when.as_ref(), runs, options)
                .into(),
        );
        hooks.specs.push(HookSpec {
            name: name.to_owned(),
            kind: kind.name.to_owned(),
            at,
            on,
            signal: signal.filter(|_| trains).map(Arc::from),
            emits: kind.emits.clone(),
            when: when.filter(|_| trains),
            wanted: kind.when.clone().filter(|_| trains),
            once: common.once && trains,
            runs,
            on_error: common.on_error,
            deadline: common.deadline_seconds.map(NonZeroU64::get),
            compares_with_start: kind.compares_with_start,
            prefix: kind.tag_prefix(name),
            shows: kind
                .shows
                .of_contrasts(&self.contrasts)
                .below(&kind.tag_prefix(name)),
            hook,
        });
        Ok(())
    }

    fn kind<'r>(&self, registry: &'r Registry, name: &str) -> Result<&'r Kind, Diagnostic> {
        registry.get(name).ok_or_else(|| {
            let known: Vec<&str> = registry.kinds().map(|kind| kind.name).collect();
            let span = super::value_of(self.table, &["kind"])
                .map_or_else(|| self.name.span(), Spanned::span);
            let message = format!("unknown kind of hook `{name}`");
            Diagnostic::at(&self.written.source, span, message).with_help(known_names(name, &known))
        })
    }

    /// Refuses decode settings of the hook's own that do not fit the models.
    fn check_decoding(&self, kind: &Kind, options: &DeTable) -> Result<(), Diagnostic> {
        let name = self.name.get_ref().as_ref();
        for option in &kind.decodings {
            let Some(section) = super::value_of(options, &[option]) else {
                continue;
            };
            let settings = Settings::deserialize(ValueDeserializer::from(section.clone()))
                .map_err(|error| Diagnostic::from_toml(&self.written.source, &error))?;
            let path = ["hooks", name, option];
            self.room.check(self.written, &path, &settings)?;
        }
        Ok(())
    }

    fn check_event(&self, on: Option<Event>, runs: Runs) -> Result<(), Diagnostic> {
        let name = self.name.get_ref().as_ref();
        let Some(on) = on else { return Ok(()) };
        if on.has_gradients() && runs == Runs::Background {
            let message = format!("a hook at `{on}` needs live gradients: set runs = \"inline\"");
            return Err(self.written.wrong(&["hooks", name, "runs"], message));
        }
        if on.ends_the_run() && runs == Runs::Background {
            let message =
                format!("at `{on}` there is no training left to run beside: set runs = \"inline\"");
            return Err(self.written.wrong(&["hooks", name, "runs"], message));
        }
        if matches!(
            on,
            Event::RunStart | Event::EpochStart | Event::EpochEnd | Event::StepEnd
        ) {
            let message = format!(
                "`{on}` is written as `at`, not `on`: `start`, `every epoch`, `every step`"
            );
            return Err(self.written.wrong(&["hooks", name, "on"], message));
        }
        Ok(())
    }

    /// The hook's table with every default written out.
    fn resolved(
        &self,
        common: &Common,
        kind: &Kind,
        at: &Cadence,
        when: Option<&Condition>,
        runs: Runs,
        options: DeTable,
    ) -> toml::Table {
        let mut table = toml::Table::new();
        let common = Common {
            kind: Some(kind.name.to_owned()),
            at: Some(Clauses::Several(at.clauses())),
            on: (common.on.clone()).or(kind.on.map(|on| on.as_str().to_owned())),
            when: when.map(Condition::to_string),
            runs: Some(runs),
            ..common.clone()
        };
        if let Ok(toml::Value::Table(common)) = toml::Value::try_from(common) {
            table.extend(common);
        }
        table.extend(toml::from_str::<toml::Table>(&kind.defaults).unwrap_or_default());
        if let Ok(given) = self.typed::<toml::Table>(options) {
            table.extend(given);
        }
        table
    }
}

/// Makes the paths of existing files and models in options absolute, so that they mean the same wherever the resolved experiment is read.
fn located<'i>(mut options: DeTable<'i>, kind: &Kind, base: &Path) -> DeTable<'i> {
    for (key, value) in options.iter_mut() {
        let input = |(name, _): &(&str, Input)| *name == key.get_ref().as_ref();
        let is_input = kind.inputs.iter().any(input);
        if let (true, DeValue::String(text)) = (is_input, value.get_mut())
            && let path = base.join(text.as_ref())
            && path.exists()
        {
            let path = std::path::absolute(&path).unwrap_or(path);
            *text = path.to_string_lossy().into_owned().into();
        }
    }
    options
}

/// The models that options of enabled hooks name, as written or by default: pairs of hook and model.
pub(super) fn models(written: &Written, registry: &Registry) -> Vec<(String, String)> {
    let table: toml::Table = toml::from_str(&written.source.text).unwrap_or_default();
    let hooks = table.get("hooks").and_then(toml::Value::as_table);
    let mut found = Vec::new();
    for (name, hook) in hooks.into_iter().flatten() {
        let text = |key: &str| hook.get(key).and_then(toml::Value::as_str);
        if hook.get("enabled").and_then(toml::Value::as_bool) == Some(false) {
            continue;
        }
        let Some(kind) = registry.get(text("kind").unwrap_or(name)) else {
            continue;
        };
        let defaults: toml::Table = toml::from_str(&kind.defaults).unwrap_or_default();
        let models = kind.inputs.iter().filter(|input| input.1 == Input::Model);
        for (option, _) in models {
            let usual = defaults.get(*option).and_then(toml::Value::as_str);
            if let Some(model) = text(option).or(usual) {
                found.push((name.clone(), model.to_owned()));
            }
        }
    }
    found
}
