//! What a study shows and what it does not, in words.

use super::{Beyond, Finding, Outcome, Placebo, Summary};
use crate::report::number::{number, range, signed};

/// What a study says, a line for each thing: of the placebo; which causes are shown, excluded, and open; and how far that goes.
pub fn words(study: &Summary) -> Vec<String> {
    let mut lines: Vec<String> = study.placebos.iter().map(placebo).collect();
    if lines.is_empty() {
        lines.push("No arm is a placebo, that is, one with the learning rate 0. So it is not checked that nothing but training moves n_matches.".to_owned());
    }
    for outcome in &study.outcomes {
        let of = match study.outcomes.len() {
            1 => String::new(),
            _ => format!(
                "{}, {}. ",
                outcome.contrast.names.name,
                outcome.contrast.gap()
            ),
        };
        let said = of_outcome(outcome, study);
        lines.extend(said.into_iter().map(|line| format!("{of}{line}")));
    }
    lines.push("An arm shows what its one change does, in this text and with this pair. It does not show what else may do the same.".to_owned());
    lines
}

fn placebo(placebo: &Placebo) -> String {
    let Placebo { arm, runs, moved } = placebo;
    let is = format!("`{arm}` is the placebo: its learning rate is 0, so no weight can move.");
    match (runs, moved.len()) {
        (0, _) => format!(
            "{is} It is not known whether n_matches stood still: none of its runs has it at start and end."
        ),
        (_, 0) => format!(
            "{is} n_matches is exactly unmoved: at every prompt the same at start and end, in each of its runs ({runs})."
        ),
        (_, count) => format!(
            "{is} Yet n_matches moved in {count} of its {runs} runs: {}. So something other than training moves it. Find out what before you trust any other arm.",
            moved.join(", ")
        ),
    }
}

/// An arm with its difference.
type Compared<'a> = (&'a str, &'a Beyond);

fn of_outcome(outcome: &Outcome, study: &Summary) -> Vec<String> {
    let baseline = &study.baseline;
    let compared: Vec<Compared> = (outcome.ranked().into_iter())
        .map(|index| &outcome.arms[index])
        .filter_map(|arm| Some((arm.name.as_str(), arm.beyond.as_ref()?.as_ref().ok()?)))
        .collect();
    let found = |finding| -> Vec<Compared> {
        let all = compared.iter().copied();
        all.filter(|(_, beyond)| beyond.finding() == finding)
            .collect()
    };
    let shown = found(Finding::Shown);
    let mut lines = vec![if shown.is_empty() {
        format!(
            "Shown: nothing. No arm is shown to differ from `{baseline}` in a way that matters."
        )
    } else {
        format!(
            "Shown: {}. {} differs from `{baseline}` after Holm's adjustment, so what it changes moves the gap.",
            with_sizes(&shown),
            it(&shown)
        )
    }];
    lines.extend(within(
        outcome.margin,
        &found(Finding::Small),
        &found(Finding::Excluded),
        baseline,
    ));
    let open = found(Finding::Open);
    if !open.is_empty() {
        lines.push(format!(
            "Open: {}. {} is neither shown to differ from `{baseline}`, nor shown to differ by too little to matter. That is no evidence of no effect.",
            names(&open),
            it(&open)
        ));
    }
    for arm in &outcome.arms {
        if let Some(Err(why)) = &arm.beyond {
            lines.push(format!("Not compared: `{}`, because {why}.", arm.name));
        }
    }
    lines.extend(without_training(outcome, study));
    lines
}

/// What is shown to be smaller than the smallest effect of interest.
fn within(
    margin: Option<f64>,
    small: &[Compared],
    excluded: &[Compared],
    baseline: &str,
) -> Vec<String> {
    let Some(margin) = margin else {
        return vec!["Excluded: nothing. The baseline's runs cannot be pooled, so the smallest effect of interest is not known.".to_owned()];
    };
    if margin == 0.0 {
        return vec!["Excluded: nothing. The smallest effect of interest is 0, since all matched pairs have the same gap at the start. State one: `margin` of the hook match-disparity.".to_owned()];
    }
    let size = format!("{} n_matches a prompt", number(margin));
    let mut lines = Vec::new();
    if !small.is_empty() {
        lines.push(format!(
            "Shown, but small: {}. {} differs from `{baseline}`, and is shown to differ by less than {size}. At that size, what it changes does not matter.",
            with_sizes(small),
            it(small)
        ));
    }
    lines.push(if excluded.is_empty() {
        format!("Excluded: nothing. No other arm is shown to differ from `{baseline}` by less than {size}, the smallest effect of interest.")
    } else {
        format!(
            "Excluded: {}. {} difference from `{baseline}` is shown to be less than {size}, the smallest effect of interest (two one-sided tests, Holm's adjustment). At that size, what it changes does not matter.",
            with_sizes(excluded),
            if excluded.len() == 1 { "Its" } else { "Their" }
        )
    });
    lines
}

/// The arms against the placebo, where there is one besides the baseline.
fn without_training(outcome: &Outcome, study: &Summary) -> Option<String> {
    let placebo = &study.placebos.first()?.arm;
    let arms = outcome.arms.iter();
    let arms = arms.filter_map(|arm| {
        Some((
            arm.name.as_str(),
            arm.beyond_placebo.as_ref()?.as_ref().ok()?,
        ))
    });
    let (differ, open): (Vec<Compared>, Vec<Compared>) =
        arms.partition(|(_, beyond)| beyond.differs());
    let mut parts = Vec::new();
    if !differ.is_empty() {
        parts.push(format!("differs from no training: {}", names(&differ)));
    }
    if !open.is_empty() {
        parts.push(format!(
            "not shown to differ from no training: {}",
            names(&open)
        ));
    }
    (!parts.is_empty()).then(|| format!("Against `{placebo}`: {}.", parts.join("; ")))
}

fn it(arms: &[Compared]) -> &'static str {
    if arms.len() == 1 { "It" } else { "Each" }
}

fn names(arms: &[Compared]) -> String {
    let names = arms.iter().map(|(name, _)| format!("`{name}`"));
    names.collect::<Vec<_>>().join(", ")
}

fn with_sizes(arms: &[Compared]) -> String {
    let said = arms.iter().map(|(name, beyond)| {
        let all = &beyond.over_all;
        format!(
            "`{name}` ({} {})",
            signed(all.value),
            range(all.low, all.high)
        )
    });
    said.collect::<Vec<_>>().join(", ")
}
