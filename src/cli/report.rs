//! `milepost report`: one page on one or several runs.

use std::path::PathBuf;

use clap::Args;

use crate::report::{RecordedError, RecordedRun, page};
use crate::train::RecordError;

#[derive(Args)]
pub(super) struct Arguments {
    /// Directories of runs, such as runs/ag_news/2026-11-23T19-52-07; several are pooled.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Where to write it [default: report.html in the run's directory; for several runs, beside the first].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let runs = read(&arguments.runs)?;
    let path = match (&arguments.out, &arguments.runs[..]) {
        (Some(out), _) => out.clone(),
        (None, [run]) => run.join("report.html"),
        (None, runs) => runs[0].with_file_name("report.html"),
    };
    write(&path, &page(&runs))?;
    println!("{}", path.display());
    Ok(0)
}

/// Reads several runs.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<RecordedRun>, RecordedError> {
    paths.iter().map(|path| RecordedRun::read(path)).collect()
}

/// Writes a page, whole or not at all.
pub(super) fn write(path: &std::path::Path, text: &str) -> Result<(), RecordError> {
    crate::atomic::write(path, text.as_bytes()).map_err(|source| RecordError::Io {
        path: path.to_owned(),
        source,
    })
}
