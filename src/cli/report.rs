//! `milepost report`: one page on one or several runs.

use std::path::{Path, PathBuf};

use clap::Args;

use super::terminal::{remark, say};
use crate::diagnostic::Diagnostic;
use crate::record::RecordError;
use crate::record::layout::{MILESTONES, REPORT};
use crate::registry::Registry;
use crate::report::mixing::read;
use crate::report::page;
use crate::report::pooling::{groups, pool};

#[derive(Args)]
pub(super) struct Arguments {
    /// Directories of runs, such as runs/ag_news/2026-11-23T19-52-07; several are pooled [default: the newest under runs/].
    runs: Vec<PathBuf>,
    /// Where to write it [default: report.html in the run's directory; for several runs, pooled.html beside the first].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write it although files are damaged, or runs were made of other inputs under the same settings; the page says so.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> anyhow::Result<u8> {
    let paths = if arguments.runs.is_empty() {
        vec![newest()?]
    } else {
        arguments.runs.clone()
    };
    let runs = read(&paths, registry, arguments.force)?;
    let path = match (&arguments.out, &paths[..]) {
        (Some(out), _) => out.clone(),
        (None, [run]) => run.join(REPORT),
        // Not report.html, which is the page of a sweep.
        (None, runs) => runs[0].with_file_name("pooled.html"),
    };
    if runs.len() > 1 {
        for (label, runs) in groups(&runs) {
            let label = if label.is_empty() {
                String::new()
            } else {
                format!(" ({label})")
            };
            match pool(&runs) {
                _ if runs.len() < 2 => {
                    remark!("note: not pooled{label}: a single run with these settings")
                }
                Ok(pooled) => {
                    for (name, lacking) in pooled.iter().flat_map(|one| &one.left_out) {
                        remark!("note: left out{label}: {name}: {}", lacking.reason());
                    }
                }
                Err(error) => remark!("note: not pooled{label}: {error}"),
            }
        }
    }
    write(&path, &page(&runs))?;
    say!("{}", path.display());
    Ok(0)
}

/// The run under runs/ whose milestones were written last.
pub(super) fn newest() -> Result<PathBuf, Diagnostic> {
    let newest = by_time(folders(Path::new("runs"))).into_iter().next();
    newest.ok_or_else(|| Diagnostic::file("runs", "no run here; name one"))
}

/// The runs of an experiment, those whose milestones were written last first. `folder` has them.
pub(super) fn latest(folder: &Path) -> Vec<PathBuf> {
    by_time([folder.to_owned()])
}

/// The runs in the folders of experiments, those whose milestones were written last first.
fn by_time(experiments: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let runs = experiments.into_iter().flat_map(|folder| folders(&folder));
    // The runs of a sweep are one folder deeper.
    let runs = runs.flat_map(|run| [folders(&run), vec![run]].concat());
    let written = runs.filter_map(|run| {
        let file = std::fs::metadata(run.join(MILESTONES)).ok()?;
        Some((file.modified().ok()?, run))
    });
    let mut written: Vec<_> = written.collect();
    written.sort();
    written.into_iter().rev().map(|(_, run)| run).collect()
}

/// What is in a folder.
fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Writes a page, whole or not at all.
pub(super) fn write(path: &Path, text: &str) -> Result<(), RecordError> {
    crate::atomic::write(path, text.as_bytes()).map_err(|source| RecordError::Io {
        path: path.to_owned(),
        source,
    })
}
