//! What the arms of a study say, on the terminal and in `study.json`.

use serde_json::{Value, json};

use super::file::Study;
use super::run_name;
use crate::cli::report::write;
use crate::cli::sweep::{State, Sweep};
use crate::cli::terminal::{self, say};
use crate::registry::Registry;
use crate::report::number::{number, range, signed};
use crate::report::pooling::{Estimate, Pooled};
use crate::report::study::{Arm, ArmOutcome, Beyond, Outcome, outcomes};
use crate::report::{RecordedRun, mixing};

/// Compares the runs that are over. A run that cannot be read is left out, and named.
///
/// # Errors
/// When the runs were made of other inputs under the same settings, unless that is forced, or the file cannot be written.
pub(super) fn summarise(sweep: &Sweep, study: &Study, registry: &Registry) -> anyhow::Result<()> {
    let force = sweep.arguments.force;
    let read = if force {
        RecordedRun::read_damaged
    } else {
        RecordedRun::read
    };
    let mut runs: Vec<(usize, RecordedRun)> = Vec::new();
    let mut left_out = Vec::new();
    for (index, arm) in study.arms.iter().enumerate() {
        let names = study.seeds.iter().map(|seed| run_name(arm, *seed));
        let cells = sweep.cells.iter();
        let own: Vec<String> = names.collect();
        for cell in cells.filter(|cell| own.contains(&cell.name)) {
            if sweep.state(cell) != State::Done {
                left_out.push(json!({ "run": cell.name, "reason": "it is not over" }));
                continue;
            }
            match read(&sweep.run(cell), registry) {
                Ok(run) => runs.push((index, run)),
                Err(error) => {
                    say!("left out: {error}");
                    left_out.push(json!({ "run": cell.name, "reason": error.to_string() }));
                }
            }
        }
    }
    let all: Vec<&RecordedRun> = runs.iter().map(|(_, run)| run).collect();
    if !force {
        mixing::check(&all)?;
    }
    let arms = study.arms.iter().enumerate().map(|(index, arm)| Arm {
        name: &arm.name,
        runs: (runs.iter())
            .filter(|(of, _)| *of == index)
            .map(|(_, run)| run)
            .collect(),
    });
    let outcomes = match outcomes(&arms.collect::<Vec<_>>(), study.baseline) {
        Ok(outcomes) => outcomes,
        Err(why) => {
            say!("{why}");
            return Ok(());
        }
    };
    let baseline = &study.arms[study.baseline].name;
    for outcome in &outcomes {
        terminal::out(&table(outcome, baseline));
    }
    let document = json!({
        "baseline": baseline,
        "seeds": study.seeds,
        "contrasts": outcomes.iter().map(outcome_json).collect::<Vec<_>>(),
        "left_out": left_out,
        "caveats": mixing::mixed(&all).iter().map(|what| mixing::caveat(what)).collect::<Vec<_>>(),
    });
    let path = sweep.folder.join("study.json");
    write(&path, &format!("{document:#}\n"))?;
    say!("\nall numbers: {}", path.display());
    Ok(())
}

/// The arms of a contrast, sorted by what they change beyond the baseline. Arms that cannot be compared come last, with the reason.
fn table(outcome: &Outcome, baseline: &str) -> String {
    let mut text = format!(
        "\n{:<24}{:>12}{:>24}{:>12}{:>24}{:>10}{:>10}\n",
        format!("gap of n_matches, {}", outcome.contrast.gap()),
        "change",
        "95% interval",
        "beyond",
        "95% interval",
        "p",
        "p, Holm"
    );
    let mut arms: Vec<&ArmOutcome> = outcome.arms.iter().collect();
    let compared = |arm: &ArmOutcome| arm.beyond.as_ref()?.as_ref().ok().cloned();
    let place = |arm: &ArmOutcome| match compared(arm) {
        Some(beyond) => (0, beyond.over_all.value),
        None if arm.beyond.is_none() => (0, 0.0),
        None => (1, 0.0),
    };
    arms.sort_by(|one, other| {
        let (one, other) = (place(one), place(other));
        one.0.cmp(&other.0).then(one.1.total_cmp(&other.1))
    });
    for arm in arms {
        text += &format!("{:<24}", arm.name);
        text += &match &arm.change {
            Ok(pooled) => interval(&pooled.over_all),
            Err(_) => format!("{:>12}{:>24}", "-", "-"),
        };
        text += &match &arm.beyond {
            None => format!("{:>12}\n", "(baseline)"),
            Some(Ok(beyond)) => format!(
                "{}{:>10}{:>10}\n",
                interval(&beyond.over_all),
                number(beyond.over_all.p_value),
                number(beyond.adjusted_p_value)
            ),
            Some(Err(why)) => format!("   not compared: {why}\n"),
        };
    }
    let note = format!(
        "change: of the gap from start to end; beyond: less that of `{baseline}`, by seed and prompt pair; both over seeds, identities and templates"
    );
    text + &note + "\n"
}

fn interval(estimate: &Estimate) -> String {
    format!(
        "{:>12}{:>24}",
        signed(estimate.value),
        range(estimate.low, estimate.high)
    )
}

fn outcome_json(outcome: &Outcome) -> Value {
    let names = &outcome.contrast.names;
    json!({
        "contrast": names.name,
        "groups": names.groups,
        "arms": outcome.arms.iter().map(arm_json).collect::<Vec<_>>(),
    })
}

fn arm_json(arm: &ArmOutcome) -> Value {
    json!({
        "arm": arm.name,
        "change": match &arm.change {
            Ok(pooled) => change_json(pooled),
            Err(why) => json!({ "not_pooled": why }),
        },
        "beyond_baseline": arm.beyond.as_ref().map(|beyond| match beyond {
            Ok(beyond) => beyond_json(beyond),
            Err(why) => json!({ "not_compared": why }),
        }),
    })
}

fn change_json(pooled: &Pooled) -> Value {
    let runs = pooled.changes.iter().map(|(name, gap)| {
        json!({
            "run": name,
            "before": gap.before.difference,
            "after": gap.after.difference,
            "change": gap.change.difference,
        })
    });
    json!({
        "runs": runs.collect::<Vec<_>>(),
        "left_out": pooled.left_out.iter().map(|(name, lacking)| json!({ "run": name, "reason": lacking.reason() })).collect::<Vec<_>>(),
        "over_seeds": estimate(&pooled.over_seeds),
        "over_seeds_identities_templates": estimate(&pooled.over_all),
    })
}

fn beyond_json(beyond: &Beyond) -> Value {
    let by_seed = beyond.seeds.iter().zip(&beyond.by_seed);
    json!({
        "by_seed": by_seed.map(|(seed, value)| json!({ "seed": seed, "difference": value })).collect::<Vec<_>>(),
        "over_seeds": estimate(&beyond.over_seeds),
        "over_seeds_identities_templates": estimate(&beyond.over_all),
        "adjusted_p_value": beyond.adjusted_p_value,
    })
}

fn estimate(one: &Estimate) -> Value {
    json!({ "value": one.value, "low": one.low, "high": one.high, "p_value": one.p_value })
}
