//! `milepost study`: arms of an experiment that each change one thing, over several seeds, compared with a baseline.

mod file;
mod sessions;
mod summary;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use self::file::{Arm, Study};
use super::experiments::{Found, find};
use super::sweep::{self, Cell, carry_out, refuse_twins};
use super::{Selection, Where};
use crate::diagnostic::Diagnostic;
use crate::record::{RecordError, name};
use crate::registry::Registry;

/// Every arm is run with every seed, each a run of its own in runs/<experiment>/<study>/<arm>,seed=<seed>, started by one `milepost finetune`
/// command. A study that is started again leaves finished runs alone, goes on with those that were killed, and runs what is missing. A run
/// that fails ends no other. At the end stand what is shown, excluded and open, in words and as a table, and study.json, study.html and a folder
/// for TensorBoard's page HParams in the study's folder.
#[derive(Args)]
pub(super) struct Arguments {
    /// A TOML file with `experiment`, `seeds`, `baseline` and `[[arms]]`, or its name in experiments/, or that of one that is built in: why,
    /// why_gpt2, planted.
    study: String,
    /// Device for both models (flex, tch, tch:cuda:0, wgpu, vulkan, metal), or one each: main=wgpu,assistant=flex.
    #[arg(long)]
    device: Option<String>,
    #[command(flatten)]
    engine: sweep::Engine,
    /// Folder that runs are written under.
    #[arg(long, default_value = "runs", value_name = "FOLDER")]
    runs: PathBuf,
    /// Name of the study [default: that of its file].
    #[arg(long)]
    name: Option<String>,
    /// Print the commands of the runs that are missing, one a line, and run nothing: for any scheduler. With --engine slurm, print the script
    /// for sbatch.
    #[arg(long)]
    print: bool,
    /// Go on, and compare, although the runs' inputs are not what they were.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    places: Where,
}

/// The file with what the arms of a study set, so that none of them changes under its name.
const ARMS: &str = "arms.json";

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> anyhow::Result<u8> {
    arguments.engine.check()?;
    let found = find(&arguments.study)?;
    let study = Study::read(&found)?;
    let sweep = as_sweep(arguments, &study, &found);
    name::check("--name", &sweep.name)?;
    let cells: Vec<Cell> = (study.arms.iter())
        .flat_map(|arm| study.seeds.iter().map(|seed| cell(arm, *seed)))
        .collect();
    let file = found.to_string();
    refuse_twins(&sweep, &cells, &file)?;
    keep_arms(&sweep::folder(&sweep)?, &study.arms, &file)?;
    let stop = sweep::stop_flag(arguments.engine.kind)?;
    carry_out(&sweep, &cells, &stop, &|sweep| {
        summary::summarise(sweep, &study, registry)
    })
}

/// The run of an arm with a seed.
fn cell(arm: &Arm, seed: u64) -> Cell {
    let mut overrides = arm.overrides.clone();
    overrides.push(format!("seed={seed}"));
    Cell {
        name: run_name(&arm.name, seed),
        overrides,
    }
}

/// The name of the run of an arm with a seed.
fn run_name(arm: &str, seed: u64) -> String {
    format!("{arm},seed={seed}")
}

/// A study is run as a sweep is.
fn as_sweep(arguments: &Arguments, study: &Study, found: &Found) -> sweep::Arguments {
    let name = arguments.name.clone();
    sweep::Arguments {
        selection: Selection {
            experiment: study.experiment.clone(),
            overrides: study.overrides.clone(),
            device: arguments.device.clone(),
            no_hooks: false,
            places: arguments.places.clone(),
        },
        seeds: study.seeds.clone(),
        grid: Vec::new(),
        engine: arguments.engine.clone(),
        runs: arguments.runs.clone(),
        name: name.unwrap_or_else(|| found.stem().to_string_lossy().into_owned()),
        print: arguments.print,
        force: arguments.force,
    }
}

/// Keeps what each arm sets beside the runs, and refuses an arm that set something else before. Arms may be added, and left out.
fn keep_arms(folder: &Path, arms: &[Arm], file: &str) -> anyhow::Result<()> {
    let path = folder.join(ARMS);
    let mut known: BTreeMap<String, Vec<String>> = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
            Diagnostic::file(
                path.display().to_string(),
                format!("not what a study writes ({error})"),
            )
        })?,
        Err(_) => BTreeMap::new(),
    };
    for arm in arms {
        let before = known.insert(arm.name.clone(), arm.overrides.clone());
        if before.is_some_and(|before| before != arm.overrides) {
            let message = format!(
                "the arm `{}` set something else when its runs began; give it another name, or remove them from {}",
                arm.name,
                folder.display()
            );
            return Err(Diagnostic::file(file, message).into());
        }
    }
    std::fs::create_dir_all(folder).map_err(|source| RecordError::Io {
        path: folder.to_owned(),
        source,
    })?;
    super::report::write(&path, &format!("{:#}\n", serde_json::json!(known)))?;
    Ok(())
}
