//! The loop, drawn, with the hooks of an experiment where they are called.

use super::words::{conditions, runs, steps, times, unplanned};
use crate::clock::Step;
use crate::event::{Event, LOOP, LoopLine, Unit, What};
use crate::experiment::HookOverview;
use crate::train::Plan;

/// The part of the loop that a line is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    BeforeTraining,
    Training,
    AfterTraining,
}

/// The lines of the loop, each with its part.
fn parts() -> impl Iterator<Item = (Part, &'static LoopLine)> {
    let mut part = Part::BeforeTraining;
    LOOP.iter().map(move |line| {
        if line.what == What::Each(Unit::Epoch) {
            part = Part::Training;
        } else if part == Part::Training && line.depth == 0 {
            part = Part::AfterTraining;
        }
        (part, line)
    })
}

/// The loop with the hooks of an experiment.
pub(super) fn draw(hooks: &[HookOverview], plan: &Plan) -> String {
    let width = hooks.iter().map(|hook| hook.name.len()).max().unwrap_or(0);
    let mut text = "the loop, with the hooks (*) that are called in it\n".to_owned();
    let may_act = !plan.interventions.is_empty();
    for (part, line) in parts().filter(|(_, line)| may_act || !line.by_interventions) {
        let about = match line.what {
            What::Each(unit) => &count(unit, plan),
            _ => line.about,
        };
        let drawn = line.text(|event| event.as_str().to_owned(), about);
        text += &format!("  {drawn}\n");
        let Some(event) = line.event() else { continue };
        for hook in in_order(hooks, event) {
            if let Some(when) = called(hook, event, part, line.by_interventions) {
                let indent = 4 * line.depth + 4;
                let (runs, conditions) = (runs(hook.runs), conditions(hook));
                text += &format!(
                    "{:indent$}* {:width$}  {runs}, {when}{conditions}\n",
                    "", hook.name
                );
            }
        }
    }
    text += &signals(hooks, width);
    text + "hooks are placed by `at` or by `on = \"EVENT\"`: docs/hooks.md, When and where\n"
}

/// The hooks that are called for what others emit; nothing where there are none.
fn signals(hooks: &[HookOverview], width: usize) -> String {
    let mut text = String::new();
    for hook in hooks {
        let Some(signal) = &hook.signal else { continue };
        let emitters = hooks
            .iter()
            .filter(|other| other.emits.contains(&signal.as_str()));
        let emitters: Vec<&str> = emitters.map(|other| other.name.as_str()).collect();
        text += &format!(
            "    * {:width$}  {}, whenever {} emits `{signal}`{}\n",
            hook.name,
            runs(hook.runs),
            emitters.join(" or "),
            conditions(hook)
        );
    }
    if text.is_empty() {
        return text;
    }
    format!("  after the hooks of a moment, those that wait for what they emit\n{text}")
}

/// How many of a unit there are, in words.
fn count(unit: Unit, plan: &Plan) -> String {
    let extent = &plan.extent;
    let in_run = |count: u64| format!("{count} in this run");
    match unit {
        Unit::Epoch => in_run(extent.epochs()),
        Unit::Step => in_run(extent.steps()),
        Unit::MicroBatch => in_run(extent.clock_after(Step(extent.steps())).micro_batch.0),
        Unit::EvaluationBatch => {
            format!("{} in an evaluation", plan.scene.evaluation_batches())
        }
    }
}

/// The hooks in the order in which an event calls them: those that close what they have opened come last, in the reverse order.
fn in_order(hooks: &[HookOverview], event: Event) -> impl Iterator<Item = &HookOverview> {
    let closes = move |hook: &&HookOverview| event.ends_the_run() && hook.on == Some(event);
    let others = hooks.iter().filter(move |hook| !closes(hook));
    others.chain(hooks.iter().rev().filter(closes))
}

/// How often a hook is called at an event of a part of the loop, or when. None where it is not.
fn called(hook: &HookOverview, event: Event, part: Part, by_interventions: bool) -> Option<String> {
    let mut own = hook.firings_at.iter().filter(|at| at.event == event);
    if let Some(when) = unplanned(event) {
        return own.next().map(|_| when.to_owned());
    }
    let is_early = part == Part::AfterTraining && event != Event::RunEnd;
    if is_early || by_interventions && part == Part::Training {
        let planned = own.any(|at| !at.before_training);
        return planned.then(|| "if it is due then".to_owned());
    }
    let at = own.find(|at| at.before_training == (part == Part::BeforeTraining))?;
    Some(times(hook, &at.firings, at.by_time) + &steps(&at.firings))
}
