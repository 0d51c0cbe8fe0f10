//! `milepost export`: what runs recorded, as plain tables.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::report::newest;
use super::terminal::{remark, say};
use super::{Where, merged};
use crate::diagnostic::Diagnostic;
use crate::record::layout::MILESTONES;
use crate::record::{RecordError, experiment};
use crate::registry::Registry;
use crate::report::export::{Export, Kind};
use crate::report::mixing::{caveat, check, mixed};
use crate::report::provenance::caveats;
use crate::report::{RecordedRun, name_of};

const ABOUT: &str = "\
Tables are CSV with a header and one row a value: pandas and polars read them without options. docs/run_folder.md lists their columns.
A run that is under way or was killed gives what it has written.";

#[derive(Args)]
#[command(after_help = ABOUT)]
pub(super) struct Arguments {
    /// Directories of runs, or folders that have runs in them, such as that of a sweep. Several runs come into one table, whose first
    /// column is `run` [default: the newest run under runs/].
    runs: Vec<PathBuf>,
    /// Folder to write into, or - for standard output, with --table [default: the given folder; with several, the one that has the first
    /// run in it].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Only this table [default: all; prompts and texts only where there are any].
    #[arg(long, value_parser = PossibleValuesParser::new(Kind::ALL.map(Kind::name)).map(kind))]
    table: Option<Kind>,
    /// Export what can be read although files are damaged, or runs were made of other inputs under the same settings.
    #[arg(long)]
    force: bool,
    /// Write no tables but the models of one run, or of one adapter's directory, with the adapters merged into their bases, as transformers
    /// reads them [default folder: merged in the given one].
    #[arg(long, conflicts_with_all = ["table", "force"])]
    merged: bool,
    #[command(flatten)]
    places: Where,
}

/// The table with a name that clap has checked.
fn kind(name: String) -> Kind {
    let named = Kind::ALL.into_iter().find(|kind| kind.name() == name);
    named.unwrap_or(Kind::Milestones)
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> anyhow::Result<u8> {
    let to_stdout = arguments.out.as_deref() == Some(Path::new("-"));
    if to_stdout && arguments.table.is_none() {
        let message = "one table fits there: name it, --table milestones, prompts or texts";
        return Err(Diagnostic::file("--out -", message).into());
    }
    let given = match &arguments.runs[..] {
        [] => vec![newest()?],
        runs => runs.to_vec(),
    };
    if arguments.merged {
        let [one] = &given[..] else {
            let message = "one run, or one adapter's directory, at a time";
            return Err(Diagnostic::file("--merged", message).into());
        };
        return merged::export(one, arguments.out.as_deref(), &arguments.places);
    }
    let paths = runs(&given)?;
    // A folder of runs has the column even where it has one run, so that its tables always look the same.
    let named = paths != given || paths.len() > 1;
    let folder = match (&arguments.out, &given[..]) {
        (Some(_), _) if to_stdout => std::env::temp_dir(),
        (Some(out), _) => made(out)?,
        (None, [one]) => one.clone(),
        (None, _) => beside(&paths[0]),
    };
    let kinds = match &arguments.table {
        Some(kind) => vec![*kind],
        None => Kind::ALL.to_vec(),
    };
    let mut export = Export::new(&kinds, named, &folder)?;
    let mut read = Vec::new();
    for (path, name) in paths.iter().zip(names(&paths)) {
        let mut lines = Vec::new();
        let mut keep = |line| lines.push(line);
        let run = RecordedRun::read_lines(path, registry, arguments.force, &mut keep)?;
        for said in caveats(&run) {
            remark!("note: {name}: {said}");
        }
        export.add(&name, &run, &lines)?;
        read.push(run);
    }
    let read: Vec<&RecordedRun> = read.iter().collect();
    if !arguments.force {
        check(&read)?;
    }
    for what in mixed(&read) {
        remark!("note: {}", caveat(&what));
    }
    if to_stdout {
        print(export.into_files())?;
        return Ok(0);
    }
    for table in export.publish()? {
        say!("{}  {} rows", table.path.display(), table.rows);
    }
    Ok(0)
}

/// The folder of `--out`, which is made if need be.
fn made(out: &Path) -> anyhow::Result<PathBuf> {
    if out.is_file() || out.extension().is_some_and(|end| end == "csv") && !out.is_dir() {
        let message = "not a folder; the tables in it have names of their own, and --table NAME --out - prints one";
        return Err(Diagnostic::file(format!("--out {}", out.display()), message).into());
    }
    match std::fs::create_dir_all(out) {
        Ok(()) => Ok(out.to_owned()),
        Err(source) => Err(RecordError::Io {
            path: out.to_owned(),
            source,
        }
        .into()),
    }
}

/// The folder that has a run in it.
fn beside(run: &Path) -> PathBuf {
    let parent = run.parent().filter(|folder| !folder.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}

/// The runs at the given paths, each once: a run's directory, or those of all runs below a folder.
fn runs(given: &[PathBuf]) -> Result<Vec<PathBuf>, Diagnostic> {
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for path in given {
        let found = below(path, DEPTH);
        if found.is_empty() {
            let shown = path.display().to_string();
            let message = if path.exists() {
                "no run, and no run in it"
            } else {
                "no such run"
            };
            return Err(Diagnostic::file(shown, message)
                .with_help("a run is a folder such as runs/ag_news/NAME".to_owned()));
        }
        let new = |run: &PathBuf| {
            let place = std::fs::canonicalize(run);
            seen.insert(place.unwrap_or(run.clone()))
        };
        all.extend(found.into_iter().filter(new));
    }
    Ok(all)
}

/// How far below a folder its runs are at most: runs/experiment/sweep/run.
const DEPTH: usize = 3;

/// The runs in a folder, in the order of their names; the folder itself where it is one.
fn below(folder: &Path, depth: usize) -> Vec<PathBuf> {
    if experiment::is_there(folder) || folder.join(MILESTONES).is_file() {
        return vec![folder.to_owned()];
    }
    if depth == 0 {
        return Vec::new();
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    folders.sort();
    let runs = folders.iter().flat_map(|folder| below(folder, depth - 1));
    runs.collect()
}

/// A name for each run that no other has: as the report calls it, or its path.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let names: Vec<String> = paths.iter().map(|path| name_of(path)).collect();
    let distinct: HashSet<&String> = names.iter().collect();
    if distinct.len() == names.len() {
        return names;
    }
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect()
}

/// Writes files to standard output. It is no error where the reader of a pipe has had enough.
fn print(files: io::Result<Vec<File>>) -> Result<(), RecordError> {
    let print = || -> io::Result<()> {
        for mut file in files? {
            io::copy(&mut file, &mut io::stdout().lock())?;
        }
        io::Write::flush(&mut io::stdout())
    };
    match print() {
        Err(source) if source.kind() != ErrorKind::BrokenPipe => Err(RecordError::Io {
            path: "standard output".into(),
            source,
        }),
        _ => Ok(()),
    }
}
