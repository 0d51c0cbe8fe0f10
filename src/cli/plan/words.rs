//! What a plan says of a hook, in words.

use crate::event::Event;
use crate::experiment::{Firings, HookOverview};
use crate::hook::Runs;

/// Where a hook runs, in a word.
pub(super) fn runs(runs: Runs) -> &'static str {
    match runs {
        Runs::Background => "background",
        Runs::Inline => "inline",
    }
}

/// When an event comes of which no plan knows whether it comes. None for other events.
pub(super) fn unplanned(event: Event) -> Option<&'static str> {
    match event {
        Event::RunFailed => Some("if the run fails"),
        Event::CheckpointLoaded => Some("if the run is resumed"),
        Event::Intervened => Some("whenever an intervention acts"),
        _ => None,
    }
}

/// How often a hook is called, in words. With `by_time`, it is also due by wall time.
pub(super) fn times(hook: &HookOverview, firings: &Firings, by_time: bool) -> String {
    let conditional = hook.is_conditional();
    if hook.once && (conditional || firings.more || hook.by_time()) {
        let perhaps = if by_time {
            ", perhaps as time passes"
        } else {
            ""
        };
        return format!("at most once in the run{perhaps}");
    }
    if by_time && firings.calls == 0 {
        return "as time passes".to_owned();
    }
    let limit = match (conditional, firings.more) {
        (true, true) => return "as often as its condition allows".to_owned(),
        (true, false) => "at most ",
        (false, true) => "more than ",
        (false, false) => "",
    };
    let times = match firings.calls {
        1 => "once".to_owned(),
        calls => format!("{calls} times"),
    };
    let as_well = if by_time { " and as time passes" } else { "" };
    format!("{limit}{times}{as_well}")
}

/// The first steps at which a hook fires, and the last, in brackets.
pub(super) fn steps(firings: &Firings) -> String {
    let steps: Vec<String> = firings.first.iter().map(ToString::to_string).collect();
    let all = steps.len() as u64 == firings.count && !firings.more;
    match (&steps[..], firings.last) {
        ([], _) => String::new(),
        ([one], _) if all => format!(" (step {one})"),
        (few, _) if all => format!(" (steps {})", few.join(", ")),
        (many, _) if firings.more => format!(" (steps {}, ...)", many.join(", ")),
        (many, last) => {
            let last = last.unwrap_or_default();
            format!(" (steps {}, ..., {last})", many[..4].join(", "))
        }
    }
}

/// What must be true for a call, in words; nothing for a hook without a condition.
pub(super) fn conditions(hook: &HookOverview) -> String {
    let mut text = String::new();
    if let Some(when) = &hook.when {
        text += &format!(", when {when}");
    }
    if hook.kind_decides {
        text += &format!(", where `{}` decides to", hook.kind);
    }
    if hook.signal.is_some() && hook.once {
        text += ", once";
    }
    text
}

/// A hook in a line: where it runs, how often it is called, and why.
pub(super) fn summary(hook: &HookOverview) -> String {
    let on = hook.on.map_or(String::new(), |on| format!(" at {on}"));
    let mut line = format!("{}{on}, ", runs(hook.runs));
    if let Some(signal) = &hook.signal {
        return format!("{line}whenever `{signal}` is emitted{}", conditions(hook));
    }
    line += &match hook.on.and_then(unplanned) {
        Some(when) => when.to_owned(),
        None => times(hook, &hook.firings, hook.by_time()) + &steps(&hook.firings),
    };
    if !hook.on.is_some_and(Event::ignores_cadences) {
        line += &format!(": {}", hook.at);
    }
    line += &conditions(hook);
    if hook.once {
        line += ", once";
    }
    line
}
