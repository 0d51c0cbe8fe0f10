//! The runs of a sweep: every combination of the grid's values and the seeds.

use super::Arguments;
use crate::cli::plan::read;
use crate::cli::{Selection, Where};
use crate::diagnostic::Diagnostic;
use crate::overrides::split_at;
use crate::record::name;

/// One run of a sweep.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Cell {
    /// `train.lr=1e-5,seed=1`.
    pub name: String,
    /// What it overrides.
    pub overrides: Vec<String>,
}

/// All runs, each with an experiment that can be read and that no other has.
pub(super) fn cells(arguments: &Arguments) -> anyhow::Result<Vec<Cell>> {
    let mut settings: Vec<Vec<String>> = vec![Vec::new()];
    let mut keys: Vec<&str> = Vec::new();
    for grid in &arguments.grid {
        let wrong = |message: &str| Diagnostic::file(format!("--grid {grid}"), message);
        let (key, values) = grid
            .split_once('=')
            .ok_or_else(|| wrong("write it as KEY=VALUE,VALUE"))?;
        let key = key.trim();
        if key == "seed" {
            return Err(wrong("seeds are given by --seeds").into());
        }
        if keys.contains(&key) {
            return Err(wrong("the key is given twice; write all its values behind one").into());
        }
        keys.push(key);
        let values = split_at(values, |letter| letter == ',')?;
        if values.iter().any(|value| value.trim().is_empty()) {
            return Err(wrong("a value is missing").into());
        }
        let both = settings.iter().flat_map(|before| {
            let more = values.iter().map(move |value| format!("{key}={value}"));
            more.map(move |one| [&before[..], &[one]].concat())
        });
        settings = both.collect();
    }
    let mut seeds = arguments.seeds.clone();
    seeds.sort_unstable();
    seeds.dedup();
    let cells = settings.iter().flat_map(|settings| {
        seeds.iter().map(move |seed| {
            let mut overrides = settings.clone();
            overrides.push(format!("seed={seed}"));
            Cell {
                name: overrides.join(",").chars().map(plain).collect(),
                overrides,
            }
        })
    });
    let cells: Vec<Cell> = cells.collect();
    let longest = cells.iter().max_by_key(|cell| cell.name.len());
    if let Some(cell) = longest.filter(|cell| cell.name.len() > name::LONGEST) {
        let message = format!(
            "the run `{}` would lie in a folder whose name has {} bytes, more than the {} that do; put some of the settings into --set, or into the experiment",
            cell.overrides.join(" "),
            cell.name.len(),
            name::LONGEST
        );
        return Err(Diagnostic::file("--grid", message).into());
    }
    refuse_twins(arguments, &cells, "--grid")?;
    Ok(cells)
}

/// A letter of a folder's name.
fn plain(letter: char) -> char {
    match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '=' | ',' | '-' | '_' => letter,
        _ => '-',
    }
}

/// Reads the experiment of each cell, so that a mistake is said before the first run; two cells that would be the same run, or lie in the same
/// folder, would be counted as two.
/// `named_by` is what names the cells.
pub(in crate::cli) fn refuse_twins(
    arguments: &Arguments,
    cells: &[Cell],
    named_by: &str,
) -> anyhow::Result<()> {
    let mut seen: Vec<(&Cell, toml::Table)> = Vec::new();
    for cell in cells {
        let settings = settings(arguments, cell)?;
        let twin = seen
            .iter()
            .find(|(other, theirs)| *theirs == settings || other.name == cell.name);
        if let Some((other, theirs)) = twin {
            let how = if *theirs == settings {
                "have the same settings"
            } else {
                "would lie in the same folder"
            };
            let (one, two) = (other.overrides.join(" "), cell.overrides.join(" "));
            let message = format!("the runs `{one}` and `{two}` {how}");
            return Err(Diagnostic::file(named_by, message).into());
        }
        seen.push((cell, settings));
    }
    Ok(())
}

/// Everything that a cell's experiment says.
fn settings(arguments: &Arguments, cell: &Cell) -> anyhow::Result<toml::Table> {
    let given = &arguments.selection;
    let selection = Selection {
        experiment: given.experiment.clone(),
        overrides: [&given.overrides[..], &[cell.overrides.join(" ")]].concat(),
        device: given.device.clone(),
        no_hooks: given.no_hooks,
        places: Where {
            data: given.places.data.clone(),
            cache: given.places.cache.clone(),
            offline: given.places.offline,
        },
    };
    let (written, _) = read(&selection, std::path::Path::new(""))?;
    Ok(toml::from_str(&written.source.text)?)
}
