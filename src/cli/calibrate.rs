//! `milepost calibrate`: whether the statistics keep their word on a run's own values.

use std::path::PathBuf;

use clap::Args;

use super::report::newest;
use super::terminal::{self, remark};
use crate::diagnostic::Diagnostic;
use crate::registry::Registry;
use crate::report::gap::settings;
use crate::report::number::{number, signed};
use crate::report::{Moment, RecordedContrast, RecordedError, RecordedRun};
use crate::statistics::calibration::{Calibration, Swap, calibrate};
use crate::statistics::disparity::{Disparity, Settings};
use crate::statistics::observation::changes;

/// Takes what a run measured prompt by prompt, swaps the two labels at random so that there is nothing to find, and looks how often
/// interval and test find something; then plants effects of known size and looks whether they are found. Ends with 1 if the interval
/// does not hold what it promises.
#[derive(Args)]
pub(super) struct Arguments {
    /// The directory of a run [default: the newest under runs/].
    run: Option<PathBuf>,
    /// Which column of its files per template [default: n_matches].
    #[arg(long)]
    column: Option<String>,
    /// Which contrast [default: the run's first].
    #[arg(long, value_name = "NAME")]
    contrast: Option<String>,
    /// Check the change from start to end, not the gap at the last milestone.
    #[arg(long)]
    change: bool,
    /// Random swaps of each kind.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(20..))]
    rounds: u32,
    /// Bootstrap draws of each interval.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(100..))]
    draws: u32,
    /// Read the run although files of it are damaged.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> anyhow::Result<u8> {
    let path = match &arguments.run {
        Some(path) => path.clone(),
        None => newest()?,
    };
    let read = if arguments.force {
        RecordedRun::read_damaged
    } else {
        RecordedRun::read
    };
    let run = read(&path, registry)?;
    for what in &run.damage {
        remark!("note: {what}");
    }
    let contrast = contrast(&run, arguments.contrast.as_deref())?;
    let column = &arguments.column.clone().unwrap_or_else(|| run.n_matches());
    let observed = run.observations(contrast, column);
    let Some((step, last)) = observed.last_key_value() else {
        let known: Vec<&str> = run.columns.keys().map(String::as_str).collect();
        let message = format!("no column `{}`; it has {}", column, known.join(", "));
        return Err(Diagnostic::file(path.display().to_string(), message).into());
    };
    let settings = Settings {
        draws: arguments.draws as usize,
        ..settings(&run)
    };
    let wrong = |message: String| RecordedError::Missing {
        path: path.clone(),
        message,
    };
    let at = |moment| {
        let observed = run.observed_at(contrast, column, moment);
        observed.map_err(|why| wrong(format!("`{}`: {why}", column)))
    };
    let moved = if arguments.change {
        let moved = changes(&at(Moment::Start)?, &at(Moment::End)?);
        moved.map_err(|error| wrong(error.to_string()))?
    } else {
        last.clone()
    };
    let pairs = &moved[..];
    let unusable = |error| wrong(format!("`{column}` at step {step}: {error}"));
    let seen = Disparity::of(pairs, &settings).map_err(unusable)?;
    if !(seen.error.value > 0.0 && seen.error.value.is_finite()) {
        let message = format!(
            "the {} values of `{}` have no spread to be checked: they are all alike, or of one identity in one template",
            seen.units, column
        );
        return Err(wrong(message).into());
    }
    let mut text = format!(
        "{} of {}, {}, {}step {step}: {} {}, {} identities, {} templates, gap {}\n",
        column,
        run.name(),
        contrast.gap(),
        if arguments.change {
            "change up to "
        } else {
            ""
        },
        seen.units,
        if seen.paired { "pairs" } else { "prompts" },
        seen.identities,
        seen.templates,
        signed(seen.difference)
    );
    // In standard errors of the gap as it was measured; that of a placebo may be smaller.
    let effects = [1.0, 3.0, 6.0].map(|times| times * seen.error.value);
    let (mut holds, mut even) = (true, true);
    let (watch, rounds) = (super::progress::watch(), arguments.rounds as usize);
    let swaps: &[Swap] = if seen.paired {
        &[Swap::Pairs, Swap::Identities]
    } else {
        &[Swap::Identities]
    };
    for &swap in swaps {
        let told = |done| watch("placebos", done, rounds);
        let found = calibrate(pairs, swap, rounds, &effects, &settings, &told);
        let found = found.map_err(unusable)?;
        holds &= interval_holds(&found, settings.level);
        even &= found.too_small > 0.001;
        text += &described(&found);
    }
    text += match (holds, even) {
        (true, true) => "\nthe intervals hold what they promise\n",
        (false, _) => {
            "\nthe intervals do NOT hold what they promise on these values: too few identities or templates, or values that are all alike\n"
        }
        (true, false) => {
            "\nthe intervals hold what they promise, but the p-values of the relabelled identities are too small on these values\n"
        }
    };
    terminal::out(&text);
    Ok(u8::from(!(holds && even)))
}

/// The contrast of a name, or the first.
fn contrast<'a>(
    run: &'a RecordedRun,
    name: Option<&str>,
) -> Result<&'a RecordedContrast, Diagnostic> {
    let mut contrasts = run.contrasts.iter();
    let found = match name {
        Some(name) => contrasts.find(|contrast| contrast.names.name == name),
        None => contrasts.next(),
    };
    found.ok_or_else(|| {
        let known = run.contrasts.iter();
        let known: Vec<&str> = known.map(|one| one.names.name.as_str()).collect();
        let name = name.unwrap_or_default();
        let message = format!("no contrast `{name}`; it has {}", known.join(", "));
        Diagnostic::file(run.path.display().to_string(), message)
    })
}

/// Whether the coverage is at least what three binomial standard errors below two points less than promised allow: clusters are few. Intervals
/// that are too wide are no fault: a placebo's pairs can be more even than chance.
fn interval_holds(found: &Calibration, level: f64) -> bool {
    let (rounds, level) = (found.rounds as f64, level - 0.02);
    let slack = 3.0 * (level * (1.0 - level) / rounds).sqrt();
    found.covered as f64 / rounds >= level - slack
}

fn described(found: &Calibration) -> String {
    let percent = |count: usize| format!("{:.1}%", 100.0 * count as f64 / found.rounds as f64);
    let what = match found.swap {
        Swap::Pairs => "labels swapped pair by pair",
        Swap::Identities => "labels of whole identities swapped",
    };
    let mut text = format!(
        "\n{what}, {} rounds\n  95% interval holds 0 in {}\n  p <= 0.05 by flipped labels in {}, by other people and templates in {}\n  {:<16}{:>15}{:>20}\n",
        found.rounds,
        percent(found.covered),
        percent(found.rejected),
        percent(found.rejected_two_way),
        "planted effect",
        "found on mean",
        "interval leaves 0"
    );
    for planted in &found.planted {
        text += &format!(
            "  {:<16}{:>15}{:>20}\n",
            number(planted.effect),
            number(planted.found),
            percent(planted.detected)
        );
    }
    text
}
