//! Checks the conditions of hooks: a condition may only name tags that do not depend on how fast anything is, and that will be recorded.

use super::{Written, span_of};
use crate::condition::Condition;
use crate::diagnostic::{Diagnostic, known_names};
use crate::hook::{Cost, Runs};
use crate::suggestion::did_you_mean;
use crate::train::{HookSpec, loop_tags};

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
    let of_the_loop = loop_tags(&written.experiment.train.models);
    for hook in hooks {
        let tags = hook.when.iter().flat_map(Condition::tags);
        for tag in tags.filter(|tag| !of_the_loop.iter().any(|known| known == tag)) {
            let (message, help) = match why_not(tag, hook, hooks, &of_the_loop) {
                Some(said) => said,
                None => continue,
            };
            let path = ["hooks", &hook.name, "when"];
            let string = span_of(&written.source.text, &path);
            // Where the tag stands in the string, of which the first letter is its quote.
            let text = string
                .clone()
                .and_then(|span| written.source.text.get(span));
            let start = text.and_then(|text| text.find(tag)).unwrap_or(1) - 1;
            let part = start..start + tag.len();
            let diagnostic = written.within(string, &path, part, message);
            return Err(diagnostic.with_help(help));
        }
    }
    Ok(())
}

/// Why the condition of `hook` cannot use a tag, and what to do; None when it can.
fn why_not(
    tag: &str,
    hook: &HookSpec,
    hooks: &[HookSpec],
    of_the_loop: &[String],
) -> Option<(String, String)> {
    let declares = |other: &&HookSpec| other.shows.declared().iter().any(|one| matches(one, tag));
    let others = || hooks.iter().filter(|other| other.name != hook.name);
    if others().filter(is_inline).any(|other| declares(&other)) {
        return None;
    }
    if declares(&hook) {
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
    let message = format!("neither the loop nor another hook of this experiment records `{tag}`");
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
