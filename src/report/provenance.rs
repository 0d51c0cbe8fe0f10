//! Caveats on how a run came about: that it was forced, damaged, stopped early, or written by an older version.

use super::record::RecordedRun;
use crate::record::Stop;
use crate::record::manifest::Forced;

/// Describes a forced command.
pub fn forced(forced: &Forced) -> String {
    let at = match forced.step {
        Some(step) => format!(" at step {step}"),
        None => String::new(),
    };
    format!(
        "Forced ({}{at}, {}): {}.",
        forced.command,
        forced.when,
        forced.because.join("; ")
    )
}

/// All caveats that follow from a run's record alone.
pub fn caveats(run: &RecordedRun) -> Vec<String> {
    let damaged = run
        .damage
        .iter()
        .map(|what| format!("Read by --force although it is damaged: {what}."));
    let mut caveats: Vec<String> = damaged.collect();
    caveats.extend(run.manifest.forced().iter().map(forced));
    caveats.extend(how_it_ended(run));
    let done = run.ended.iter().flat_map(|ended| &ended.interventions);
    caveats.extend(done.map(|done| {
        format!(
            "The intervention `{}` at step {} {}. The run is not the one without it.",
            done.name,
            done.step,
            done.what.trim_end_matches('.')
        )
    }));
    caveats.extend(run.failures.iter().map(|failure| {
        format!(
            "The hook `{}` failed at step {}: {}.",
            failure.name,
            failure.step,
            failure.message.trim_end_matches('.')
        )
    }));
    let extended = run.manifest.extended();
    caveats.extend(extended.iter().map(|settings| {
        format!(
            "The run was continued with other settings {settings}. Its learning rates are not those of one schedule."
        )
    }));
    let continued = run.manifest.continued();
    caveats.extend(
        continued
            .iter()
            .map(|versions| format!("The run was continued by {versions}.")),
    );
    if !run.unchecked.is_empty() {
        caveats.push(format!(
            "An older version wrote this run: {} cannot be checked, since there are no checksums; a change would not be noticed.",
            run.unchecked.join(", ")
        ));
    }
    caveats
}

/// The caveat for a run that did not end as planned.
fn how_it_ended(run: &RecordedRun) -> Option<String> {
    let Some(ended) = &run.ended else {
        return Some(
            "The run is under way, or it was killed: it has no end yet, and so no values there."
                .to_owned(),
        );
    };
    let why = match &ended.reason {
        Some(reason) => format!(": {}", reason.trim_end_matches('.')),
        None => String::new(),
    };
    let step = ended.steps;
    match ended.stop {
        Stop::Complete => None,
        Stop::Incomplete => Some(format!(
            "All {step} steps are done, but a hook that was due did not report."
        )),
        Stop::Interrupted => Some(format!(
            "The run was interrupted: its end is step {step}, not that of the plan."
        )),
        Stop::Requested => Some(format!("The run was ended early, at step {step}{why}.")),
        Stop::Failed => Some(format!("The run failed after step {step}{why}.")),
    }
}
