//! The table at the end of a run.

use std::collections::HashMap;

use crate::report::number::{number, range, signed};
use crate::train::{Outcome, Span, StopReason};

/// What the table shows, and under which tag.
pub(super) const ROWS: &[(&str, &str)] = &[
    ("held-out perplexity, main", "eval/main/perplexity"),
    (
        "held-out perplexity, assistant",
        "eval/assistant/perplexity",
    ),
    ("KL at the templates, nats", "kl/mean_nats"),
    ("KL, batchmean convention", "kl/batchmean"),
    ("top-1 agreement", "kl/mean_top1_agreement"),
    ("assistant's share of tokens", "decode/assistant_share"),
    ("acceptance of drafts", "decode/acceptance"),
    ("n_matches a prompt, female", "gender/n_matches_female"),
    ("n_matches a prompt, male", "gender/n_matches_male"),
    ("disparity, female - male", "gender/disparity"),
];

/// The p-values of the gap.
const P_VALUES: &[(&str, &str)] = &[
    ("  p, other people and templates", "gender/two_way_p_value"),
    ("  p, these templates only", "gender/p_value"),
];

/// What moved each number since the start, where the hook `attribution` was asked.
const ATTRIBUTION: &[(&str, &str)] = &[
    ("KL at the templates, nats", "kl_nats"),
    ("n_matches a prompt", "n_matches"),
    ("assistant's share of tokens", "assistant_share"),
    ("disparity, female - male", "disparity"),
];

/// Start, end and change of what was measured, the cost of hooks, and where everything lies.
pub(super) fn table(outcome: &Outcome, origin: &str) -> String {
    let mut text = String::new();
    let last = |tag: &str| outcome.spans.get(tag).map(|span| span.last.1);
    let rows: Vec<_> = ROWS
        .iter()
        .filter_map(|(name, tag)| Some((name, outcome.spans.get(*tag)?)))
        .collect();
    if !rows.is_empty() {
        text += &format!("\n{:<32}{:>12}{:>12}{:>12}\n", "", "start", "end", "change");
        for (name, span) in rows {
            text += &row(name, span);
        }
        text += &interval(&outcome.spans, "  95% interval", "gender/disparity");
        for (name, tag) in P_VALUES {
            if let Some(span) = outcome.spans.get(*tag) {
                let (first, last) = (number(span.first.1), number(span.last.1));
                text += &format!("{name:<32}{first:>12}{last:>12}\n");
            }
        }
        text += &interval(&outcome.spans, "change since start, 95%", "gender/change");
        if let Some(p) = last("gender/change_two_way_p_value") {
            let name = "  p, other people and templates";
            text += &format!("{name:<32}{:>24}\n", number(p));
        }
        text +=
            &format!("\nmeasured on {origin}; one run is one seed: no claim about fine-tuning\n");
    }
    let attribution: String = ATTRIBUTION
        .iter()
        .filter_map(|(name, tag)| {
            let of = |cell: &str| last(&format!("attribution/{tag}/{cell}"));
            let (main, assistant) = (of("by_main")?, of("by_assistant")?);
            Some(format!(
                "{name:<32}{:>12}{:>12}{:>14}{:>13}\n",
                signed(main + assistant),
                signed(main),
                signed(assistant),
                signed(of("interaction")?)
            ))
        })
        .collect();
    if !attribution.is_empty() {
        text += &format!(
            "\n{:<32}{:>12}{:>12}{:>14}{:>13}\n{attribution}",
            "change since the start", "in all", "by main", "by assistant", "interaction"
        );
    }
    if !outcome.times.is_empty() {
        text += &format!(
            "\n{:<24}{:>8}{:>12}{:>10}{:>14}\n",
            "hook", "calls", "seconds", "share", "longest lag"
        );
        let elapsed = outcome.clock.elapsed.as_secs_f64();
        for time in &outcome.times {
            let lag = match time.background {
                true => format!("{} steps", time.longest_lag),
                false => "inline".to_owned(),
            };
            let seconds = time.total.as_secs_f64();
            text += &format!(
                "{:<24}{:>8}{seconds:>12.2}{:>9.1}%{lag:>14}\n",
                time.name,
                time.calls,
                100.0 * seconds / elapsed
            );
        }
    }
    for failure in &outcome.failures {
        text += &format!(
            "\nhook `{}` failed at step {}: {}",
            failure.name, failure.step, failure.message
        );
    }
    if !outcome.failures.is_empty() {
        text.push('\n');
    }
    if let StopReason::Requested(reason) = &outcome.stop {
        text += &format!(
            "\nended early, after step {}: {reason}\n",
            outcome.clock.step
        );
    }
    let elapsed = outcome.clock.elapsed.as_secs();
    let runs = outcome.directory.parent().and_then(|path| path.parent());
    text + &format!(
        "\n{} steps in {}:{:02}; the run lies in {}\nread it: {}\nlook at it: make tensorboard (or: tensorboard --logdir {})\n",
        outcome.clock.step,
        elapsed / 60,
        elapsed % 60,
        outcome.directory.display(),
        outcome.directory.join("report.html").display(),
        runs.unwrap_or(&outcome.directory).display()
    )
}

fn row(name: &str, span: &Span) -> String {
    let (first, last) = (span.first.1, span.last.1);
    format!(
        "{name:<32}{:>12}{:>12}{:>12}\n",
        number(first),
        number(last),
        signed(last - first)
    )
}

fn interval(spans: &HashMap<String, Span>, name: &str, tag: &str) -> String {
    let ends = |span: fn(&Span) -> f64| {
        let low = spans.get(&format!("{tag}_low")).map(span)?;
        let high = spans.get(&format!("{tag}_high")).map(span)?;
        Some(range(low, high))
    };
    match (ends(|span| span.first.1), ends(|span| span.last.1)) {
        (Some(first), Some(last)) => format!("{name:<24}{first:>20}{last:>24}\n"),
        _ => String::new(),
    }
}
