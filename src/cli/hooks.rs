//! `milepost hooks`: lists the kinds of hooks and their options, or writes a new one.

use std::path::PathBuf;

use clap::Args;

use super::{scaffold, terminal};
use crate::diagnostic::{Diagnostic, known_names};
use crate::hook::{Kind, Registry, Runs};

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
        None => registry.kinds().map(describe).collect(),
        Some(name) => match registry.get(name) {
            Some(kind) => describe(kind),
            None => {
                let known: Vec<&str> = registry.kinds().map(|kind| kind.name).collect();
                return Err(Diagnostic::file(name, "no such kind of hook")
                    .with_help(known_names(name, &known))
                    .into());
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
    for (option, meaning) in &kind.options {
        let default = kind.defaults.lines();
        let default = default.map(|line| line.split_once(" = ").unwrap_or((line, "")));
        let default = default.clone().find(|(name, _)| name == option);
        let default = default.map_or(String::new(), |(_, value)| format!(" [default: {value}]"));
        text += &format!("    {option}: {meaning}{default}\n");
    }
    text
}
