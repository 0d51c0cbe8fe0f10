//! `--check`: retrains the run on random halves of its documents, and scores the estimate by what comes out.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;

use super::goals::Asked;
use super::opening::Opened;
use super::{Arguments, Kept};
use crate::cli::Selection;
use crate::cli::report::write;
use crate::cli::sweep::{self, Cell, Sweep, carry_out};
use crate::cli::terminal::say;
use crate::data::subset;
use crate::decode::{Request as DecodeRequest, assisted};
use crate::diagnostic::Diagnostic;
use crate::influence::score::score;
use crate::influence::summary::{Check, Other, Scored, Subset};
use crate::influence::{measured, table};
use crate::model::Pair;
use crate::record::State;
use crate::record::layout::MODELS;
use crate::report::influence::evidence;
use crate::train::Point;

/// The experiment of the retrainings.
const EXPERIMENT: &str = "check.toml";
/// Their folder, below one with the name of the experiment.
const SWEEP: &str = "subsets";
/// The share of the documents that each retraining counts.
const SHARE: f64 = 0.5;
/// What was measured of the retrainings so far.
const OUTCOMES: &str = "outcomes.json";

/// Retrains on `count` random halves of the documents, and scores the estimate. Returns the exit code.
pub(super) fn check(
    arguments: &Arguments,
    opened: &Opened,
    asked: &Asked,
    kept: &mut Kept,
    count: u16,
    stop: &AtomicBool,
) -> anyhow::Result<u8> {
    let others = others(arguments, kept)?;
    if !opened.extended.is_empty() {
        let message = format!(
            "the run was extended ({}), and a retraining from the start would not be the same: --check needs a run that was made in one piece",
            opened.extended.join("; ")
        );
        return Err(Diagnostic::file(arguments.run.display().to_string(), message).into());
    }
    let experiment = kept.folder.join(EXPERIMENT);
    write(&experiment, &retrained(opened)?)?;
    let seeds: Vec<u64> = (0..u64::from(count))
        .map(|index| arguments.seed.wrapping_add(index))
        .collect();
    let cells: Vec<Cell> = seeds.iter().map(|&seed| cell(seed)).collect();
    let sweep = as_sweep(arguments, &experiment, &kept.folder);
    let done = std::cell::RefCell::new(Vec::new());
    let code = carry_out(&sweep, &cells, stop, &|sweep| {
        *done.borrow_mut() = outcomes(opened, asked, &kept.folder, sweep, &seeds)?;
        Ok(())
    })?;
    let done = done.into_inner();
    if done.len() < seeds.len() {
        say!(
            "{} of {} retrainings are there: without the others there is no score",
            done.len(),
            seeds.len()
        );
        return Ok(code);
    }
    scored(arguments, asked, kept, done, &others);
    kept.write()?;
    Ok(code)
}

/// The run's experiment without what costs time and changes nothing in the training.
fn retrained(opened: &Opened) -> anyhow::Result<String> {
    let mut table: toml::Table = toml::from_str(&opened.written.source.text)?;
    let intervenes = table.contains_key("interventions");
    if let Some(toml::Value::Table(train)) = table.get_mut("train") {
        train.insert("keep".to_owned(), 1.into());
        train.remove("keep_best");
        // Interventions may wait for what hooks and evaluations record.
        if !intervenes {
            train.insert("evaluate".to_owned(), "end".into());
            train.insert("evaluate_blocks".to_owned(), 1.into());
        }
    }
    if !intervenes {
        table.remove("hooks");
    }
    Ok(toml::to_string(&table)?)
}

fn cell(seed: u64) -> Cell {
    Cell {
        name: format!("subset={seed}"),
        overrides: vec![format!("data.subset={{ seed = {seed}, share = {SHARE} }}")],
    }
}

fn as_sweep(arguments: &Arguments, experiment: &Path, folder: &Path) -> sweep::Arguments {
    sweep::Arguments {
        selection: Selection {
            experiment: experiment.display().to_string(),
            overrides: Vec::new(),
            device: None,
            no_hooks: false,
            places: arguments.places.clone(),
        },
        seeds: Vec::new(),
        grid: Vec::new(),
        engine: arguments.engine.clone(),
        runs: folder.to_owned(),
        name: SWEEP.to_owned(),
        print: false,
        force: arguments.force,
    }
}

/// What the retrainings that are over have come to. Each is measured once.
fn outcomes(
    opened: &Opened,
    asked: &Asked,
    folder: &Path,
    sweep: &Sweep,
    seeds: &[u64],
) -> anyhow::Result<Vec<Subset>> {
    let path = folder.join(OUTCOMES);
    let mut known: Vec<Subset> = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    let mut found = Vec::new();
    for (cell, &seed) in sweep.cells.iter().zip(seeds) {
        if sweep.state(cell) != State::Done {
            continue;
        }
        if let Some(subset) = known.iter().find(|subset| subset.seed == seed) {
            found.push(subset.clone());
            continue;
        }
        let point = Point {
            clock: Default::default(),
            models: Some(sweep.run(cell).join(MODELS)),
        };
        let pair = point.pair(&opened.plan.pair)?;
        let subset = Subset {
            seed,
            outcomes: measured(&pair, &opened.plan.scene.prompts, &asked.goals, &|| Ok(()))?,
            n_matches: n_matches(opened, asked, &pair)?,
        };
        known.push(subset.clone());
        found.push(subset);
        write(&path, &format!("{:#}\n", serde_json::to_value(&known)?))?;
    }
    Ok(found)
}

/// The gap of n_matches, if the run measures it.
fn n_matches(opened: &Opened, asked: &Asked, pair: &Pair) -> anyhow::Result<Option<f64>> {
    let Some(weights) = asked.gap.as_ref().filter(|_| opened.counts_matches) else {
        return Ok(None);
    };
    let scene = &opened.plan.scene;
    let seed = scene.seed;
    let requests = scene
        .prompts
        .iter()
        .map(|prompt| DecodeRequest { prompt, seed });
    let requests: Vec<DecodeRequest> = requests.collect();
    let decodings = assisted(
        &pair.snapshot(),
        &requests,
        &scene.ends,
        &scene.decode,
        &|_| Ok(()),
    )?;
    let matches = decodings.iter().map(|decoding| decoding.n_matches() as f64);
    Ok(Some(
        matches
            .zip(weights)
            .map(|(count, weight)| count * weight)
            .sum(),
    ))
}

/// What another method says: its name, and for each goal that it has the influence of each document.
type OfOther = (String, Vec<Option<Vec<f64>>>);

/// Reads the tables of `--beside`.
fn others(arguments: &Arguments, kept: &Kept) -> anyhow::Result<Vec<OfOther>> {
    let names: Vec<&str> = (kept.summary.goals.iter())
        .map(|goal| goal.name.as_str())
        .collect();
    let read = arguments.beside.iter().map(|beside| {
        let wrong = |error: anyhow::Error| {
            Diagnostic::file(beside.file.display().to_string(), format!("{error:#}"))
        };
        let text = std::fs::read_to_string(&beside.file)
            .context("cannot be read")
            .map_err(wrong)?;
        let goals = table::of_other(&text, &names, kept.documents.predictions.len());
        Ok((beside.name.clone(), goals.map_err(wrong)?))
    });
    read.collect()
}

/// Scores the estimate, and those of other methods, on the subsets.
fn scored(
    arguments: &Arguments,
    asked: &Asked,
    kept: &mut Kept,
    subsets: Vec<Subset>,
    others: &[OfOther],
) {
    let documents = &kept.documents;
    let seen: Vec<bool> = documents
        .predictions
        .iter()
        .map(|&count| count > 0)
        .collect();
    let drawn = subsets.iter().map(|subset| {
        let drawn = subset::Subset {
            seed: subset.seed,
            share: SHARE,
        };
        drawn.of(seen.len())
    });
    let drawn: Vec<Vec<bool>> = drawn.collect();
    for (index, goal) in kept.summary.goals.iter_mut().enumerate() {
        let outcomes = subsets.iter().map(|subset| subset.outcomes[index]);
        let outcomes: Vec<f64> = outcomes.collect();
        let matches: Option<Vec<f64>> = subsets.iter().map(|subset| subset.n_matches).collect();
        let matches = matches.filter(|_| asked.gaps[index]);
        let both = |influence: &[f64]| {
            let against = |outcomes: &[f64]| {
                let score = score(influence, &seen, &drawn, outcomes, arguments.seed);
                score.map(Scored::from)
            };
            (against(&outcomes), matches.as_deref().and_then(against))
        };
        (goal.score, goal.n_matches_score) = both(&kept.goals[index].totals());
        let with_goal = others.iter().filter_map(|(name, goals)| {
            let (score, n_matches_score) = both(goals[index].as_ref()?);
            Some(Other {
                name: name.clone(),
                score,
                n_matches_score,
            })
        });
        goal.others = with_goal.collect();
    }
    let count = |subset: &Vec<bool>| subset.iter().filter(|counts| **counts).count();
    kept.summary.check = Some(Check {
        documents: drawn.first().map_or(0, count),
        subsets,
    });
    kept.summary.evidence = evidence(&kept.summary);
}
