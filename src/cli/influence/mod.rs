//! `milepost influence`: how much each training document moved a measure of the pair.

mod check;
mod goals;
mod opening;
mod said;
mod states;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use clap::Args;

use self::goals::{Asked, Measure};
use self::opening::{Opened, open};
use super::report::write;
use super::sweep::{Engine, stop_flag};
use super::terminal::{self, say};
use super::{Where, progress};
use crate::diagnostic::Diagnostic;
use crate::influence::summary::{Documents, MadeOf, OfOneGoal, Summary};
use crate::influence::{Estimate, OfGoal, Request, estimate, table};
use crate::record::layout::INFLUENCE;
use crate::record::{RecordError, lock, name};
use crate::registry::Registry;
use crate::report::influence::{evidence, page};

/// It takes the gradient of the measure at each checkpoint of the run, and the gradient of the loss of each document that was seen up to the next
/// one. Without --check the tables are kept back, since nothing says yet whether they are to be believed: --check N retrains the run on N
/// random halves of its documents, each a process of its own, and says how well the sums of influence predict what comes out. The same command
/// goes on where it was killed.
#[derive(Args)]
pub(super) struct Arguments {
    /// The directory of a run that is over and has saved checkpoints, such as runs/ag_news/2026-11-23T19-52-07.
    run: PathBuf,
    /// What documents have influence on, at the last token of each prompt: its mean over the prompts, and its gap; several with commas between.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "kl")]
    measure: Vec<Measure>,
    /// The contrast of the gap [default: the run's first].
    #[arg(long)]
    contrast: Option<String>,
    /// The two tokens of the log-odds, ln p(first) - ln p(second), each with the space before it.
    #[arg(long, num_args = 2, value_names = ["FIRST", "SECOND"], default_values = [" she", " he"])]
    tokens: Vec<String>,
    /// The steps of the checkpoints to use [default: all that the run has kept].
    #[arg(long, value_delimiter = ',', value_name = "STEP,STEP ...")]
    checkpoints: Vec<u64>,
    /// Name of the estimate, under RUN/influence [default: the measures].
    #[arg(long)]
    name: Option<String>,
    /// Retrain on so many random halves of the documents, and say how well the influence predicts what comes out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(3..))]
    check: Option<u16>,
    /// With --check: score what another method says, too, on the same halves. FILE is a table with tabs: the column `document` as documents.tsv has it,
    /// and for each goal a column of its name, such as kl/mean; may be given several times.
    #[arg(long, value_name = "NAME=FILE", requires = "check")]
    beside: Vec<Beside>,
    #[command(flatten)]
    engine: Engine,
    /// The seed of the first random half; the others have the seeds that follow.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Go on although the run's inputs are not what they were; the page says so.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    places: Where,
}

/// Another method and the table of its influence.
#[derive(Clone)]
struct Beside {
    name: String,
    file: PathBuf,
}

impl FromStr for Beside {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok(Self {
                name: name.to_owned(),
                file: file.into(),
            }),
            _ => Err("it must be NAME=FILE, as in tracin=scores.tsv"),
        }
    }
}

/// The estimate, for programs.
const NUMBERS: &str = "influence.json";
/// The page.
const PAGE: &str = "influence.html";
/// Every document.
const TABLE: &str = "documents.tsv";

/// An estimate in its folder.
struct Kept {
    folder: PathBuf,
    summary: Summary,
    goals: Vec<OfGoal>,
    documents: Documents,
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> anyhow::Result<u8> {
    if let Some(given) = &arguments.name {
        name::check("--name", given)?;
    }
    arguments.engine.check()?;
    let opened = open(arguments, registry)?;
    let asked = Asked::new(arguments, &opened.plan)?;
    let folder = arguments.run.join(INFLUENCE).join(named(arguments));
    std::fs::create_dir_all(&folder).map_err(|source| RecordError::Io {
        path: folder.clone(),
        source,
    })?;
    let _lock = lock(&folder)?;
    let stop = stop_flag(arguments.engine.kind)?;
    let Some(mut kept) = kept(arguments, &opened, &asked, folder, &stop)? else {
        return Ok(stopped());
    };
    let code = match arguments.check {
        Some(count) => check::check(arguments, &opened, &asked, &mut kept, count, &stop)?,
        None => 0,
    };
    if stop.load(Ordering::Relaxed) {
        return Ok(130);
    }
    terminal::out(&said::said(&kept.summary));
    for (what, file) in [
        ("all numbers", NUMBERS),
        ("every document", TABLE),
        ("the page", PAGE),
    ] {
        say!("{what}: {}", kept.folder.join(file).display());
    }
    Ok(code)
}

fn stopped() -> u8 {
    say!("stopped by Ctrl-C; nothing was written");
    130
}

/// The name of the estimate.
fn named(arguments: &Arguments) -> String {
    let measures = arguments.measure.iter().map(|measure| measure.name());
    let usual = || measures.collect::<Vec<_>>().join("+");
    arguments.name.clone().unwrap_or_else(usual)
}

/// The estimate as it was kept, or made now. None when Ctrl-C came first.
fn kept(
    arguments: &Arguments,
    opened: &Opened,
    asked: &Asked,
    folder: PathBuf,
    stop: &AtomicBool,
) -> anyhow::Result<Option<Kept>> {
    let made_of = MadeOf {
        goals: asked.goals.iter().map(|goal| goal.name.clone()).collect(),
        tokens: asked.tokens.clone(),
        checkpoints: opened.checkpoints.clone(),
        run_sha256: opened.sha256.clone(),
        milepost: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let path = folder.join(NUMBERS);
    if let Some(summary) = read(&path)? {
        if summary.made_of != made_of {
            let message = "this estimate was made with other options, or of another state of the run; give another --name, or remove it";
            return Err(Diagnostic::file(folder.display().to_string(), message).into());
        }
        return Ok(Some(read_back(opened, folder, summary)?));
    }
    let Some(estimate) = estimated(opened, asked, stop)? else {
        return Ok(None);
    };
    let documents = opened.documents(&estimate.seen)?;
    let goals = asked.goals.iter().zip(&asked.titles).zip(&estimate.goals);
    let goals = goals.map(|((goal, title), found)| {
        let states = &opened.steps();
        OfOneGoal::new(goal.name.clone(), title.clone(), found, states, &documents)
    });
    let mut summary = Summary {
        run: arguments.run.display().to_string(),
        made_of,
        evidence: String::new(),
        notes: opened.notes.clone(),
        documents: documents.predictions.len(),
        seen: documents.seen().len(),
        states: opened.steps(),
        goals: goals.collect(),
        check: None,
    };
    summary.evidence = evidence(&summary);
    let kept = Kept {
        folder,
        summary,
        goals: estimate.goals,
        documents,
    };
    let names: Vec<&str> = asked.goals.iter().map(|goal| goal.name.as_str()).collect();
    let rows = table::table(&names, &kept.goals, &kept.documents);
    write(&kept.folder.join(TABLE), &rows)?;
    kept.write()?;
    Ok(Some(kept))
}

impl Kept {
    /// Writes what depends on the check. The numbers come last: an estimate is there when they are.
    fn write(&self) -> anyhow::Result<()> {
        write(&self.folder.join(PAGE), &page(&self.summary))?;
        let text = serde_json::to_string_pretty(&self.summary)?;
        write(&self.folder.join(NUMBERS), &format!("{text}\n"))?;
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<Option<Summary>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("not what `milepost influence` writes ({error}); remove it, and the same command makes it anew");
            Diagnostic::file(path.display().to_string(), message)
        })?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RecordError::Io { path: path.to_owned(), source }.into()),
    }
}

fn read_back(opened: &Opened, folder: PathBuf, summary: Summary) -> anyhow::Result<Kept> {
    let path = folder.join(TABLE);
    let damaged = |error: anyhow::Error| {
        let message = format!(
            "{error:#}; remove {}, and the same command makes both anew",
            folder.join(NUMBERS).display()
        );
        Diagnostic::file(path.display().to_string(), message)
    };
    let text = std::fs::read_to_string(&path)
        .context("cannot be read")
        .map_err(damaged)?;
    let documents = opened.documents(&opened.predictions())?;
    let names: Vec<&str> = summary
        .goals
        .iter()
        .map(|goal| goal.name.as_str())
        .collect();
    let columns = table::read(&text, &names, documents.predictions.len()).map_err(damaged)?;
    let goals = summary.goals.iter().zip(columns);
    let goals = goals.map(|(goal, documents)| OfGoal {
        values: goal.values.clone(),
        predicted: (goal.segments.iter())
            .map(|part| [part.main, part.assistant])
            .collect(),
        documents,
    });
    Ok(Kept {
        goals: goals.collect(),
        folder,
        summary,
        documents,
    })
}

/// Ctrl-C, as an error on its way out of the passes.
#[derive(Debug, thiserror::Error)]
#[error("stopped by Ctrl-C")]
struct Stopped;

/// The estimate; None when Ctrl-C came first.
fn estimated(
    opened: &Opened,
    asked: &Asked,
    stop: &AtomicBool,
) -> anyhow::Result<Option<Estimate>> {
    let steps = opened.steps();
    let request = Request {
        goals: &asked.goals,
        prompts: &opened.plan.scene.prompts,
        blocks: &opened.plan.blocks,
        seen: &opened.seen,
        checkpoints: &opened.checkpoints,
        states: &steps,
    };
    let watch = progress::watch();
    let found = estimate(&request, opened, &|done, all| {
        if stop.load(Ordering::Relaxed) {
            return Err(Stopped.into());
        }
        watch("passes", done, all);
        Ok(())
    });
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is::<Stopped>() => Ok(None),
        Err(error) => Err(error),
    }
}
