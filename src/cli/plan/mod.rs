//! `milepost plan`: shows what an experiment would do.

mod costs;
mod drawing;
mod words;

use std::path::{Path, PathBuf};

use clap::Args;

use self::costs::costs;
use self::drawing::draw;
use self::words::summary;
use super::experiments::find;
use super::terminal;
use super::{Selection, Where, progress};
use crate::data::templates::Contrast;
use crate::diagnostic::Diagnostic;
use crate::experiment::{InterventionOverview, Places, Resolved, Written, parse, resolve};
use crate::hook::Scene;
use crate::hub::Hub;
use crate::overrides;
use crate::record::experiment;
use crate::registry::Registry;
use crate::treatment::{Account, excerpts};

/// Examples of each treatment of the text that are shown; the run's folder has more.
const EXAMPLES: usize = 2;
/// The longest text of an example, in characters.
const WIDTH: usize = 130;

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Folder that runs are written under; the newest run of the experiment there says what its hooks cost.
    #[arg(long, default_value = "runs", value_name = "FOLDER")]
    runs: PathBuf,
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> anyhow::Result<u8> {
    let (written, places) = read(&arguments.selection, Path::new(""))?;
    let mut downloads = progress::Downloads::default();
    let resolved = resolve(&written, registry, &places, &mut |name, done, total| {
        downloads.report(name, done, total);
    })?;
    let (plan, hooks) = (&resolved.plan, &resolved.hooks);
    let experiment = find(&arguments.selection.experiment)?;
    let folder = arguments.runs.join(experiment.stem());
    let mut text = format!("{}\n{}", plan.resolved, facts(&written, &resolved));
    text += &format!("{}\n", examples(&plan.treatments));
    text += &draw(hooks, plan);
    let costs = costs(&folder, hooks, plan.extent.steps(), &plan.resolved);
    if !costs.is_empty() {
        text += &format!("\n{costs}");
    }
    terminal::out(&text);
    Ok(0)
}

/// Finds and parses an experiment. Also returns where this machine keeps data and downloads.
pub(super) fn read(selection: &Selection, run: &Path) -> anyhow::Result<(Written, Places)> {
    let experiment = find(&selection.experiment)?;
    let places = places(&selection.places, experiment.path(), run);
    let source = experiment.source()?;
    let mut all = Vec::new();
    for text in &selection.overrides {
        all.extend(overrides::split(text)?);
    }
    if let Some(device) = &selection.device {
        all.push(device_override(device).parse()?);
    }
    if selection.no_hooks {
        all.push("hooks={}".parse()?);
    }
    Ok((parse(source, &all)?, places))
}

/// Turns `--device flex` or `--device main=tch:cuda:0,assistant=flex` into an override.
pub(super) fn device_override(text: &str) -> String {
    let each: Option<Vec<(&str, &str)>> =
        text.split(',').map(|part| part.split_once('=')).collect();
    match each {
        None => format!("device=\"{text}\""),
        Some(each) => {
            let each: Vec<String> = each
                .iter()
                .map(|(role, device)| format!("{} = \"{}\"", role.trim(), device.trim()))
                .collect();
            format!("device={{ {} }}", each.join(", "))
        }
    }
}

/// Where this machine keeps data and downloads. Relative paths in the experiment start at the folder of the file `path`.
pub(super) fn places(selection: &Where, path: &Path, run: &Path) -> Places {
    let home = |variable: &str, rest: &str| {
        let folder = std::env::var_os(variable).filter(|folder| !folder.is_empty());
        folder.map(|folder| PathBuf::from(folder).join(rest))
    };
    let usual = || home("XDG_CACHE_HOME", "milepost").or_else(|| home("HOME", ".cache/milepost"));
    Places {
        base: path.parent().unwrap_or(Path::new("")).to_owned(),
        data: selection.data.clone(),
        cache: selection.cache.clone().or_else(usual),
        offline: selection.offline,
        hub: Hub::from_environment(selection.offline),
        run: run.to_owned(),
    }
}

/// What a run is made of, in words.
fn facts(written: &Written, resolved: &Resolved) -> String {
    let plan = &resolved.plan;
    let mut text = format!("settings  {}\n", written.source.name);
    let extent = &plan.extent;
    for note in &resolved.notes {
        text += &format!("note: {note}\n");
    }
    text += &format!("data      {}\n", plan.origin);
    for account in &plan.treatments {
        text += &format!("changed   {}\n", account.sentence());
    }
    text += &format!(
        "training  {} steps in {} epoch{} of {} blocks of {} tokens; {} blocks held out{}\n",
        extent.steps(),
        extent.epochs(),
        if extent.epochs() == 1 { "" } else { "s" },
        plan.blocks.len(),
        plan.blocks.block(),
        plan.scene.held_out.len(),
        on_answers(&plan.scene),
    );
    for contrast in plan.scene.templates.contrasts() {
        text += &format!("prompts   {}\n", prompts_line(contrast));
    }
    text + &interventions(&resolved.interventions)
}

/// Which models are evaluated on answers alone, in words; nothing where none is.
fn on_answers(scene: &Scene) -> String {
    let roles: Vec<&str> = scene.on_answers.iter().map(|role| role.as_str()).collect();
    if roles.is_empty() {
        return String::new();
    }
    format!(
        ", of which the answers alone count for {}",
        roles.join(" and ")
    )
}

/// What may change the training, in words; nothing where nothing does.
fn interventions(all: &[InterventionOverview]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let width = all.iter().map(|one| one.name.len()).max().unwrap_or(0);
    let lines = all.iter().map(|one| {
        let InterventionOverview {
            name, about, at, ..
        } = one;
        let kind = if one.kind == *name {
            String::new()
        } else {
            format!("{}: ", one.kind)
        };
        let when = one.when.as_ref();
        let when = when.map_or(String::new(), |when| format!(" when {when}"));
        let once = if one.once { ", once" } else { "" };
        format!("  {name:width$}  {kind}{about}; asked {at}{when}{once}\n")
    });
    let lines: String = lines.collect();
    format!(
        "interventions, which change the training: this run is not the one without them\n{lines}"
    )
}

/// The first examples of what is done to the text, before and after, a line each.
fn examples(treatments: &[Account]) -> String {
    let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut text = String::new();
    for account in treatments {
        for example in account.examples.iter().take(EXAMPLES) {
            let before = line(&example.before);
            let [before, after] = match example.after.as_deref() {
                Some(after) => excerpts(&before, &line(after), WIDTH),
                None => [
                    excerpts(&before, "", WIDTH)[0].clone(),
                    "(dropped)".to_owned(),
                ],
            };
            text += &format!(
                "{}, document {}\n  before  {before}\n  after   {after}\n",
                account.treatment, example.document
            );
        }
    }
    text
}

/// What a run is made of and when its hooks fire, in words, for the beginning of the run.
pub(super) fn describe(written: &Written, resolved: &Resolved) -> String {
    let text = facts(written, resolved);
    let hooks = &resolved.hooks;
    if hooks.is_empty() {
        return text + "hooks     none\n";
    }
    let width = hooks.iter().map(|hook| hook.name.len()).max().unwrap_or(0);
    let lines = hooks
        .iter()
        .map(|hook| format!("  {:width$}  {}\n", hook.name, summary(hook)));
    text + "hooks\n" + &lines.collect::<String>()
}

/// What a contrast compares, in words.
fn prompts_line(contrast: &Contrast) -> String {
    let (prompts, identities) = (contrast.prompts.len(), contrast.identities.len());
    let (units, templates) = (contrast.units.len(), contrast.raws.len());
    let [first, second] = &contrast.groups;
    let compared = if contrast.is_paired() {
        format!("{units} matched pairs of {identities} identity pairs and {templates} templates")
    } else {
        format!(
            "no matched pairs: {identities} identities and {templates} templates as two samples"
        )
    };
    format!(
        "{prompts} with {compared} ({}: {first} - {second})",
        contrast.name
    )
}

/// Reads the experiment that a run recorded, for a resume or a replay.
pub(super) fn read_resolved(run: &Path) -> anyhow::Result<Written> {
    let source = experiment::read(run).map_err(|error| {
        let message = format!("{error}: is this the directory of a run?");
        Diagnostic::file(experiment::path(run).display().to_string(), message)
    })?;
    Ok(parse(source, &[])?)
}
