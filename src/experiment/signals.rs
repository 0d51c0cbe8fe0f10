//! Checks the events of hooks' own: a hook may only wait for one that an inline hook of the experiment emits, and none may wait for itself.

use std::collections::BTreeSet;

use super::{Written, span_of};
use crate::diagnostic::{Diagnostic, known_names};
use crate::event::{Event, LOOP, LoopLine};
use crate::hook::Runs;
use crate::train::HookSpec;

/// Checks what the hooks emit and wait for.
///
/// # Errors
/// A diagnostic at the first hook that waits for what cannot come.
pub(super) fn check(written: &Written, hooks: &[HookSpec]) -> Result<(), Diagnostic> {
    for hook in hooks {
        let name = hook.name.as_str();
        let wrong = |key: &str, message: String| {
            let span = span_of(&written.source.text, &["hooks", name, key]);
            match span {
                Some(span) => Diagnostic::at(&written.source, span, message),
                None => written.wrong(&["hooks", name], message),
            }
        };
        let mut emits = hook.emits.iter();
        if let Some(event) = emits.find(|signal| Event::named(signal).is_some()) {
            let message = format!(
                "kind `{}` emits `{event}`, which is an event of the loop: give it another name",
                hook.kind
            );
            return Err(wrong("kind", message));
        }
        let Some(signal) = hook.signal.as_deref() else {
            continue;
        };
        let mut emitters = emitters(hooks, signal).peekable();
        if emitters.peek().is_none() {
            let signals = hooks.iter().flat_map(|other| other.emits.iter().copied());
            let events = LOOP.iter().filter_map(LoopLine::event);
            let known: BTreeSet<&str> = events.map(Event::as_str).chain(signals).collect();
            let known: Vec<&str> = known.into_iter().collect();
            let message = format!("unknown event `{signal}`: no hook here emits it");
            return Err(wrong("on", message).with_help(known_names(signal, &known)));
        }
        if let Some(emitter) = emitters.find(|emitter| emitter.runs == Runs::Background) {
            let message = format!(
                "hook `{}` emits `{signal}` from the background: when it does depends on the machine",
                emitter.name
            );
            let help = format!("set `runs = \"inline\"` in [hooks.{}]", emitter.name);
            return Err(wrong("on", message).with_help(help));
        }
        if let Some(path) = circle(hooks, hook) {
            let message = format!("hooks wait for each other: {}", path.join(" -> "));
            return Err(wrong("on", message));
        }
    }
    Ok(())
}

/// The hooks that may emit a signal.
fn emitters<'a>(hooks: &'a [HookSpec], signal: &'a str) -> impl Iterator<Item = &'a HookSpec> {
    hooks
        .iter()
        .filter(move |hook| hook.emits.contains(&signal))
}

/// The names of hooks from `hook` back to itself, each of which waits for what the next one emits. None when it does not wait for itself.
fn circle(hooks: &[HookSpec], hook: &HookSpec) -> Option<Vec<String>> {
    let mut paths = vec![vec![hook]];
    let mut seen = vec![hook.name.as_str()];
    while let Some(path) = paths.pop() {
        let signal = path.last().and_then(|last| last.signal.as_deref());
        for emitter in signal
            .into_iter()
            .flat_map(|signal| emitters(hooks, signal))
        {
            let longer = [&path[..], &[emitter]].concat();
            if emitter.name == hook.name {
                return Some(longer.iter().map(|hook| hook.name.clone()).collect());
            }
            if !seen.contains(&emitter.name.as_str()) {
                seen.push(&emitter.name);
                paths.push(longer);
            }
        }
    }
    None
}
