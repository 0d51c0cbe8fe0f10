//! `milepost hooks`: lists the kinds of hooks and interventions with their options, or writes a new hook.

use std::path::PathBuf;

use clap::Args;

use super::{scaffold, terminal};
use crate::diagnostic::{Diagnostic, known_names};
use crate::hook::{Kind, Runs};
use crate::intervention::InterventionKind;
use crate::registry::Registry;

#[derive(Args)]
pub(super) struct Arguments {
    /// Show only this kind.
    kind: Option<String>,
    /// Write a new hook of this name into hooks/, list it, and add it to the experiment.
    #[arg(long, value_name = "NAME", conflicts_with = "kind")]
    new: Option<String>,
    /// The experiment that the new hook is added to.
    #[arg(long, default_value = "ag_news", requires = "new")]
    experiment: String,
    /// The project's folder.
    #[arg(long, default_value = ".", requires = "new", value_name = "FOLDER")]
    project: PathBuf,
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> anyhow::Result<u8> {
    if let Some(name) = &arguments.new {
        let report = scaffold::write(&arguments.project, name, &arguments.experiment, registry)?;
        terminal::out(&report);
        return Ok(0);
    }
    let text: String = match &arguments.kind {
        None => {
            let hooks: String = registry.kinds().map(describe).collect();
            let others: String = registry.interventions().map(describe_other).collect();
            format!(
                "{hooks}\ninterventions, which change the training: [interventions.NAME]\n\n{others}"
            )
        }
        Some(name) => match (registry.get(name), registry.intervention(name)) {
            (Some(kind), _) => describe(kind),
            (None, Some(kind)) => describe_other(kind),
            (None, None) => {
                let hooks = registry.kinds().map(|kind| kind.name);
                let others = registry.interventions().map(|kind| kind.name);
                let known: Vec<&str> = hooks.chain(others).collect();
                return Err(
                    Diagnostic::file(name, "no such kind of hook or intervention")
                        .with_help(known_names(name, &known))
                        .into(),
                );
            }
        },
    };
    terminal::out(&text);
    Ok(0)
}

fn describe(kind: &Kind) -> String {
    let runs = match kind.runs {
        Runs::Background => "background",
        Runs::Inline => "inline",
    };
    let on = kind.on.map_or(String::new(), |on| format!(", at {on}"));
    let mut text = format!("{}\n    {} ({runs}{on})\n", kind.name, kind.about);
    text += &options(&kind.options, &kind.defaults);
    text
}

fn describe_other(kind: &InterventionKind) -> String {
    let at = kind.at.map_or("as `at` or `when` says", |at| at);
    let options = options(&kind.options, &kind.defaults);
    format!("{}\n    {} (asked {at})\n{options}", kind.name, kind.about)
}

/// The options of a kind with their defaults, a line each.
fn options(options: &[(&str, &str)], defaults: &str) -> String {
    let lines = options.iter().map(|(option, meaning)| {
        let mut given = defaults
            .lines()
            .map(|line| line.split_once(" = ").unwrap_or((line, "")));
        let default = given.find(|(name, _)| name == option);
        let default = default.map_or(String::new(), |(_, value)| format!(" [default: {value}]"));
        format!("    {option}: {meaning}{default}\n")
    });
    lines.collect()
}
