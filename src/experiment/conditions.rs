//! Checks the conditions of hooks and interventions: a condition may only name tags that do not depend on how fast anything is, and that will
//! be recorded.

use toml::de::DeTable;

use super::{Written, span_of, value_of};
use crate::condition::Condition;
use crate::diagnostic::{Diagnostic, known_names};
use crate::hook::{Cost, Runs};
use crate::suggestion::did_you_mean;
use crate::train::{HookSpec, InterventionSpec, loop_tags};

impl Written {
    /// Parses the condition at a key.
    pub(super) fn condition(&self, path: &[&str], text: &str) -> Result<Condition, Diagnostic> {
        text.parse()
            .map_err(|error: crate::condition::ConditionError| {
                let string = span_of(&self.source.text, path);
                let diagnostic = self.within(string, path, error.span, error.message);
                match error.help {
                    Some(help) => diagnostic.with_help(help),
                    None => diagnostic,
                }
            })
    }
}

/// Checks the tags in the conditions of all hooks.
///
/// # Errors
/// A diagnostic at the first tag that a condition cannot use.
pub(super) fn check(written: &Written, hooks: &[HookSpec]) -> Result<(), Diagnostic> {
    for hook in hooks {
        for tag in hook.when.iter().flat_map(Condition::tags) {
            let path = ["hooks", &hook.name, "when"];
            check_tag(written, &path, tag, hooks, Some(hook))?;
        }
    }
    Ok(())
}

/// Checks the tags that interventions look at, in their conditions and by their options.
///
/// # Errors
/// A diagnostic at the first tag that cannot be used.
pub(super) fn check_interventions(
    written: &Written,
    interventions: &[InterventionSpec],
    hooks: &[HookSpec],
) -> Result<(), Diagnostic> {
    for spec in interventions {
        let name = spec.name.as_str();
        for tag in spec.when.iter().flat_map(Condition::tags) {
            check_tag(written, &["interventions", name, "when"], tag, hooks, None)?;
        }
        for tag in spec.intervention.tags() {
            let key = key_with(written, name, &tag);
            let path = ["interventions", name, key.as_deref().unwrap_or_default()];
            let path = if key.is_some() { &path } else { &path[..2] };
            check_tag(written, path, &tag, hooks, None)?;
        }
    }
    Ok(())
}

/// The key of an intervention whose value, a string, has a tag in it.
fn key_with(written: &Written, name: &str, tag: &str) -> Option<String> {
    let table = DeTable::parse(&written.source.text).ok()?;
    let own = value_of(table.get_ref(), &["interventions", name])?;
    let mut entries = own.get_ref().as_table()?.iter();
    let (key, _) = entries.find(|(_, value)| {
        let text = value.get_ref().as_str();
        text.is_some_and(|text| text.contains(tag))
    })?;
    Some(key.get_ref().to_string())
}

/// Refuses a tag at a key that is not recorded, or not always at the same step. `own` is the hook whose condition it is.
fn check_tag(
    written: &Written,
    path: &[&str],
    tag: &str,
    hooks: &[HookSpec],
    own: Option<&HookSpec>,
) -> Result<(), Diagnostic> {
    let of_the_loop = loop_tags(&written.experiment.train.models);
    if of_the_loop.iter().any(|known| known == tag) {
        return Ok(());
    }
    let Some((message, help)) = why_not(tag, own, hooks, &of_the_loop) else {
        return Ok(());
    };
    let string = span_of(&written.source.text, path);
    // Where the tag stands in the string, of which the first letter is its quote.
    let text = string
        .clone()
        .and_then(|span| written.source.text.get(span));
    let Some(start) = text.and_then(|text| text.find(tag)).filter(|at| *at > 0) else {
        return Err(written.wrong(path, message).with_help(help));
    };
    let part = start - 1..start - 1 + tag.len();
    let diagnostic = written.within(string, path, part, message);
    Err(diagnostic.with_help(help))
}

/// Why a tag cannot be used, and what to do; None when it can. `own` is the hook whose condition it is.
fn why_not(
    tag: &str,
    own: Option<&HookSpec>,
    hooks: &[HookSpec],
    of_the_loop: &[String],
) -> Option<(String, String)> {
    let declares = |other: &&HookSpec| other.shows.declared().iter().any(|one| matches(one, tag));
    let is_own = |other: &HookSpec| own.is_some_and(|own| own.name == other.name);
    let others = || hooks.iter().filter(|other| !is_own(other));
    if others().filter(is_inline).any(|other| declares(&other)) {
        return None;
    }
    if own.is_some_and(|own| declares(&own)) {
        let message = format!("`{tag}` is reported by this hook itself, so it cannot wait for it");
        let help = "leave it out, or decide in the hook, with `detach` or `when` of its kind";
        return Some((message, help.to_owned()));
    }
    if let Some(other) = others().find(declares) {
        let message = format!(
            "`{tag}` comes from a background hook, `{}`: when it arrives depends on the machine",
            other.name
        );
        let help = format!("set `runs = \"inline\"` in [hooks.{}]", other.name);
        return Some((message, help));
    }
    if Cost::has_tag(tag) {
        let message =
            format!("`{tag}` depends on the machine, so that no two runs have it in common");
        return Some((message, "a condition cannot use it".to_owned()));
    }
    let usable: Vec<String> = (of_the_loop.iter().cloned())
        .chain(
            others()
                .filter(is_inline)
                .flat_map(|other| other.shows.declared()),
        )
        .collect();
    let all = others().flat_map(|other| other.shows.declared());
    let all: Vec<String> = all.chain(usable.clone()).collect();
    let help = match did_you_mean(tag, all.iter().map(String::as_str)) {
        Some(known) => format!("did you mean `{known}`?"),
        None => known_names(tag, &usable.iter().map(String::as_str).collect::<Vec<_>>()),
    };
    let whom = if own.is_some() {
        "another hook"
    } else {
        "a hook"
    };
    let message = format!("neither the loop nor {whom} of this experiment records `{tag}`");
    Some((message, help))
}

fn is_inline(hook: &&HookSpec) -> bool {
    hook.runs == Runs::Inline
}

/// Whether a tag is the declared one. A `*` at the end of that stands for any text.
fn matches(declared: &str, tag: &str) -> bool {
    match declared.strip_suffix('*') {
        Some(begin) => tag.starts_with(begin),
        None => tag == declared,
    }
}
