//! The loop, drawn, with the hooks of an experiment where they are called.

use crate::clock::{Extent, Step};
use crate::event::{Event, LOOP, LoopLine, Unit, What};
use crate::experiment::{Firings, FiringsAt, HookOverview};
use crate::hook::Runs;

/// The loop with the hooks of an experiment.
pub(super) fn draw(hooks: &[HookOverview], extent: &Extent) -> String {
    let width = hooks.iter().map(|hook| hook.name.len()).max().unwrap_or(0);
    let first_loop = LOOP.iter().position(|line| line.depth > 0);
    let mut text = "the loop, with the hooks (*) that are called in it\n".to_owned();
    for (index, line) in LOOP.iter().enumerate() {
        let about = match line.what {
            What::Each(unit) => &count(unit, extent),
            _ => line.about,
        };
        let drawn = line.text(|event| event.as_str().to_owned(), about);
        text += &format!("  {drawn}\n");
        let before_training = first_loop.is_none_or(|first| index < first);
        for hook in hooks {
            let Some(when) = called(hook, line, before_training) else {
                continue;
            };
            let indent = 4 * line.depth + 4;
            text += &format!("{:indent$}* {:width$}  {when}\n", "", hook.name);
        }
    }
    text + "hooks are placed by `at` or by `on = \"EVENT\"`: docs/hooks.md, When and where\n"
}

/// How many of a unit a run has, in words.
fn count(unit: Unit, extent: &Extent) -> String {
    let count = match unit {
        Unit::Epoch => extent.epochs(),
        Unit::Step => extent.steps(),
        Unit::MicroBatch => extent.clock_after(Step(extent.steps())).micro_batch.0,
    };
    format!("{count} in this run")
}

/// How and how often a hook is called at a line. None where it is not.
fn called(hook: &HookOverview, line: &LoopLine, before_training: bool) -> Option<String> {
    let event = line.event()?;
    let mut own = hook.firings_at.iter();
    let runs = runs(hook.runs);
    if event == Event::RunFailed {
        return own
            .any(|at| at.event == event)
            .then(|| format!("{runs}, if the run fails"));
    }
    let after_training = line.depth == 0 && !before_training;
    if after_training && event != Event::RunEnd {
        // The same events, at the end of a run that is shorter than planned.
        let listens = own.any(|at| at.event == event && !at.before_training);
        return listens.then(|| format!("{runs}, if the run ends early"));
    }
    let is_here = |at: &&FiringsAt| at.event == event && at.before_training == before_training;
    let at = own.find(is_here)?;
    let by_time = hook.by_time && !before_training;
    let times = times(&at.firings, by_time);
    Some(format!("{runs}, {times}{}", steps(&at.firings)))
}

/// Where a hook runs, in a word.
pub(super) fn runs(runs: Runs) -> &'static str {
    match runs {
        Runs::Background => "background",
        Runs::Inline => "inline",
    }
}

/// How often a hook is called, in words.
pub(super) fn times(firings: &Firings, by_time: bool) -> String {
    let more = if firings.more { "more than " } else { "" };
    let times = match firings.calls {
        0 => return "as time passes".to_owned(),
        1 => "once".to_owned(),
        calls => format!("{more}{calls} times"),
    };
    if by_time {
        format!("{times} and as time passes")
    } else {
        times
    }
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
