//! What runs recorded, as plain tables: CSV with a header and one row a value, as pandas and polars read it without options.

use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::RecordedRun;
use crate::record::RecordError;
use crate::record::milestones::Line;

/// A table of the export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A row for each scalar at each milestone.
    Milestones,
    /// A row for each value of a prompt.
    Prompts,
    /// A row for each text.
    Texts,
}

/// The columns that say which line of `milestones.jsonl` a value is from.
const OF_LINE: [&str; 7] = [
    "step",
    "event",
    "source",
    "epoch",
    "samples",
    "tokens",
    "elapsed_seconds",
];

impl Kind {
    /// All tables.
    pub const ALL: [Self; 3] = [Self::Milestones, Self::Prompts, Self::Texts];

    /// Its name: that of its file, without `.csv`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Milestones => "milestones",
            Self::Prompts => "prompts",
            Self::Texts => "texts",
        }
    }

    fn file(self) -> String {
        format!("{}.csv", self.name())
    }

    fn columns(self) -> Vec<&'static str> {
        match self {
            Self::Milestones => [&OF_LINE[..], &["tag", "value"]].concat(),
            Self::Prompts => vec![
                "step", "event", "hook", "prompt", "text", "contrast", "group", "identity", "pair",
                "template", "raw", "column", "value",
            ],
            Self::Texts => [&OF_LINE[..], &["tag", "text"]].concat(),
        }
    }
}

/// Tables that are written, each into a temporary file until it is published.
pub struct Export {
    /// Whether the first column names the run.
    named: bool,
    drafts: Vec<Draft>,
}

/// A table that is written.
struct Draft {
    kind: Kind,
    /// The path that it is to have.
    path: PathBuf,
    writer: csv::Writer<NamedTempFile>,
    rows: u64,
}

/// A published table.
pub struct Published {
    /// Its file.
    pub path: PathBuf,
    /// Its rows, without the header.
    pub rows: u64,
}

impl Export {
    /// Begins tables of these kinds, with temporary files in `folder`. With `named` their first column is `run`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn new(kinds: &[Kind], named: bool, folder: &Path) -> Result<Self, RecordError> {
        let begin = |kind: Kind, path: PathBuf| -> io::Result<Draft> {
            let mut writer = csv::Writer::from_writer(NamedTempFile::new_in(folder)?);
            let run = named.then_some("run");
            writer.write_record(run.into_iter().chain(kind.columns()))?;
            Ok(Draft {
                kind,
                path,
                writer,
                rows: 0,
            })
        };
        let drafts = kinds.iter().map(|&kind| {
            let path = folder.join(kind.file());
            begin(kind, path.clone()).map_err(|source| RecordError::Io { path, source })
        });
        Ok(Self {
            named,
            drafts: drafts.collect::<Result<_, _>>()?,
        })
    }

    /// Adds a run with the lines of its `milestones.jsonl`, under a name for its rows.
    ///
    /// # Errors
    /// When values per prompt cannot be read, or a row cannot be written.
    pub fn add(&mut self, name: &str, run: &RecordedRun, lines: &[Line]) -> anyhow::Result<()> {
        let name = self.named.then_some(name);
        for draft in &mut self.drafts {
            let kind = draft.kind;
            let mut row = |cells: &[&str]| draft.row(name, cells);
            match kind {
                Kind::Milestones => milestones(lines, &mut row)?,
                Kind::Texts => texts(lines, &mut row)?,
                Kind::Prompts => prompts(run, &mut row)?,
            }
        }
        Ok(())
    }

    /// Gives the tables their names. A table without rows is left out, unless a file has its name from before.
    ///
    /// # Errors
    /// When a file cannot be written; then no file is half written.
    pub fn publish(self) -> Result<Vec<Published>, RecordError> {
        let only = self.drafts.len() == 1;
        let mut published = Vec::new();
        for draft in self.drafts {
            let (path, rows) = (draft.path.clone(), draft.rows);
            if rows == 0 && !only && !path.exists() {
                continue;
            }
            let aside = draft.finish();
            let put = aside.and_then(|aside| crate::atomic::publish(aside, &path));
            match put {
                Ok(_) => published.push(Published { path, rows }),
                Err(source) => return Err(RecordError::Io { path, source }),
            }
        }
        Ok(published)
    }

    /// The text of the tables one after the other, as files at their beginning.
    ///
    /// # Errors
    /// When a temporary file cannot be written or read.
    pub fn into_files(self) -> io::Result<Vec<File>> {
        let files = self.drafts.into_iter().map(|draft| {
            let mut file = draft.finish()?.into_file();
            file.rewind()?;
            Ok(file)
        });
        files.collect()
    }
}

impl Draft {
    fn row(&mut self, name: Option<&str>, cells: &[&str]) -> Result<(), RecordError> {
        self.rows += 1;
        let cells = cells.iter().copied();
        let written = self.writer.write_record(name.into_iter().chain(cells));
        written.map_err(|error| RecordError::Io {
            path: self.path.clone(),
            source: error.into(),
        })
    }

    fn finish(self) -> io::Result<NamedTempFile> {
        let inner = self.writer.into_inner();
        inner.map_err(csv::IntoInnerError::into_error)
    }
}

/// Writes a row of cells.
type Row<'a> = dyn FnMut(&[&str]) -> Result<(), RecordError> + 'a;

fn milestones(lines: &[Line], row: &mut Row) -> Result<(), RecordError> {
    for line in lines {
        let of_line = of_line(line);
        let times = line.times.iter();
        // The two that belong to the line, and not to a tag.
        let times = times.filter(|(tag, _)| !["wall", "elapsed"].contains(tag));
        for (tag, value) in line.scalars.iter().chain(times) {
            row(&[
                &of_line.each_ref().map(String::as_str)[..],
                &[tag, &number(*value)],
            ]
            .concat())?;
        }
    }
    Ok(())
}

fn texts(lines: &[Line], row: &mut Row) -> Result<(), RecordError> {
    for line in lines {
        let of_line = of_line(line);
        for (tag, text) in line.texts.iter() {
            row(&[&of_line.each_ref().map(String::as_str)[..], &[tag, text]].concat())?;
        }
    }
    Ok(())
}

/// The cells of [`OF_LINE`].
fn of_line(line: &Line) -> [String; OF_LINE.len()] {
    let elapsed = line.times.get("elapsed");
    [
        line.step.to_string(),
        line.event.clone(),
        line.source.clone(),
        line.epoch.to_string(),
        line.samples.to_string(),
        line.tokens.to_string(),
        elapsed.map_or(String::new(), |seconds| number(*seconds)),
    ]
}

/// Writes the values per prompt of a run.
fn prompts(run: &RecordedRun, row: &mut Row) -> anyhow::Result<()> {
    let compared = compared(run);
    for file in &run.files {
        let table = file.table()?;
        let step = file.step.to_string();
        for (index, (text, compared)) in table.prompts.iter().zip(&compared).enumerate() {
            let (group, identity) = (&table.groups[index], &table.identities[index]);
            let mut contrasts = run.contrasts.iter().map(|one| &one.names);
            let contrast = contrasts.find(|names| names.groups.contains(group));
            for (column, values) in &table.columns {
                row(&[
                    &step,
                    &file.event,
                    &file.hook,
                    &index.to_string(),
                    text,
                    contrast.map_or("", |names| &names.name),
                    group,
                    identity,
                    &compared.pairs.join(" "),
                    &compared.template,
                    &compared.raw,
                    column,
                    &number(values[index]),
                ])?;
            }
        }
    }
    Ok(())
}

/// What a prompt is compared in. It is empty for a prompt that is compared with none.
#[derive(Clone, Default)]
struct Compared {
    /// The numbers of its matched pairs, from 0 in each contrast.
    pairs: Vec<String>,
    /// The number of its raw template, from 0 in each contrast.
    template: String,
    raw: String,
}

/// What each prompt of a run is compared in.
fn compared(run: &RecordedRun) -> Vec<Compared> {
    let mut all = vec![Compared::default(); run.prompts.len()];
    for contrast in &run.contrasts {
        let units = contrast.units.iter().zip(&contrast.words);
        for (index, (unit, [_, _, raw])) in units.enumerate() {
            for place in unit.sides.iter().flatten() {
                let Some(prompt) = all.get_mut(*place) else {
                    continue;
                };
                prompt.template = unit.template.to_string();
                prompt.raw.clone_from(raw);
                if !unit.sides.contains(&None) {
                    prompt.pairs.push(index.to_string());
                }
            }
        }
    }
    all
}

/// A number with all its digits: `NaN` and `inf` are what pandas and polars read as such.
fn number(value: f64) -> String {
    format!("{value:?}")
}
