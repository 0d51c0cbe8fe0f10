//! What the arms of a study say, on the terminal, in `study.json` and in `study.html`.

use super::file::Study;
use super::{run_name, sessions};
use crate::cli::report::write;
use crate::cli::sweep::Sweep;
use crate::cli::terminal::{self, say};
use crate::record::State;
use crate::registry::Registry;
use crate::report::number::{number, range, signed};
use crate::report::pooling::Estimate;
use crate::report::study::{Arm, Outcome, Summary, json, page, words};
use crate::report::{LeftOut, RecordedRun, mixing};

/// Compares the runs that are over. A run that cannot be read is left out, and named.
///
/// # Errors
/// When the runs were made of other inputs under the same settings, unless that is forced, or the files cannot be written.
pub(super) fn summarise(sweep: &Sweep, study: &Study, registry: &Registry) -> anyhow::Result<()> {
    let (runs, left_out) = read(sweep, study, registry);
    if !sweep.arguments.force {
        mixing::check(&runs.iter().map(|(_, run)| run).collect::<Vec<_>>())?;
    }
    let arms = study.arms.iter().enumerate().map(|(index, arm)| Arm {
        name: &arm.name,
        sets: &arm.overrides,
        runs: (runs.iter())
            .filter(|(of, _)| *of == index)
            .map(|(_, run)| run)
            .collect(),
    });
    let arms: Vec<Arm> = arms.collect();
    let name = &sweep.arguments.name;
    let summary = match Summary::new(name, &arms, study.baseline, &study.seeds, left_out) {
        Ok(summary) => summary,
        Err(why) => {
            say!("{why}");
            return Ok(());
        }
    };
    say!("\n{}", words(&summary).join("\n"));
    for outcome in &summary.outcomes {
        terminal::out(&table(outcome, &summary.baseline));
    }
    let [numbers, whole] = ["study.json", "study.html"].map(|file| sweep.folder.join(file));
    write(&numbers, &format!("{:#}\n", json(&summary)))?;
    write(&whole, &page(&summary))?;
    sessions::write(sweep.folder, &arms, &summary)?;
    say!("\nall numbers: {}", numbers.display());
    say!("the page: {}", whole.display());
    say!(
        "arms and seeds in TensorBoard's HParams: tensorboard --logdir {}",
        sweep.folder.join(sessions::FOLDER).display()
    );
    Ok(())
}

/// The runs that are over, each with the index of its arm, and those that are left out.
fn read(
    sweep: &Sweep,
    study: &Study,
    registry: &Registry,
) -> (Vec<(usize, RecordedRun)>, Vec<LeftOut>) {
    let read = if sweep.arguments.force {
        RecordedRun::read_damaged
    } else {
        RecordedRun::read
    };
    let (mut runs, mut left_out) = (Vec::new(), Vec::new());
    for (index, arm) in study.arms.iter().enumerate() {
        let names = study.seeds.iter().map(|seed| run_name(&arm.name, *seed));
        let own: Vec<String> = names.collect();
        for cell in sweep.cells.iter().filter(|cell| own.contains(&cell.name)) {
            let reason = if sweep.state(cell) == State::Done {
                match read(&sweep.run(cell), registry) {
                    Ok(run) => {
                        runs.push((index, run));
                        continue;
                    }
                    Err(error) => {
                        say!("left out: {error}");
                        error.to_string()
                    }
                }
            } else {
                "it is not over".to_owned()
            };
            left_out.push(LeftOut {
                run: cell.name.clone(),
                reason,
            });
        }
    }
    (runs, left_out)
}

/// The arms of a contrast, sorted by what they change beyond the baseline. Arms that cannot be compared come last, with the reason.
fn table(outcome: &Outcome, baseline: &str) -> String {
    let mut text = format!(
        "\n{:<24}{:>12}{:>24}{:>12}{:>24}{:>10}{:>10}  finding\n",
        format!("gap of n_matches, {}", outcome.contrast.gap()),
        "change",
        "95% interval",
        "beyond",
        "95% interval",
        "p",
        "p, Holm"
    );
    for index in outcome.ranked() {
        let arm = &outcome.arms[index];
        text += &format!("{:<24}", arm.name);
        text += &match &arm.change {
            Ok(pooled) => interval(&pooled.over_all),
            Err(_) => format!("{:>12}{:>24}", "-", "-"),
        };
        text += &match &arm.beyond {
            None => format!("{:>12}\n", "(baseline)"),
            Some(Ok(beyond)) => format!(
                "{}{:>10}{:>10}  {}\n",
                interval(&beyond.over_all),
                number(beyond.over_all.p_value),
                number(beyond.adjusted_p_value),
                beyond.finding().name()
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
