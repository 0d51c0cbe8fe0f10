//! Texts in files that an experiment names. They are read from the first document to the last as often as they are needed, and never whole in
//! memory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::Source;
use super::form::{Form, Missing};
use super::rows::{Format, Row, Wanted};
use crate::checksum::{Sum, sha256};
use crate::data::corpus::{Corpus, Document, Documents, Origin, Reading, SourceFile, Split};
use crate::data::source_error::SourceError;
use crate::random::{Purpose, stream};

/// The files that an experiment names, and what it takes of their rows.
#[derive(Debug, Clone)]
pub struct Named {
    /// The files to train on, in their order.
    pub train: Vec<PathBuf>,
    /// What is held out.
    pub held_out: HeldOut,
    /// What makes a document of a row.
    pub forms: Forms,
    /// What is wanted of a file.
    pub wanted: Wanted,
}

/// What is held out.
#[derive(Debug, Clone)]
pub enum HeldOut {
    /// Files of their own.
    Files(Vec<PathBuf>),
    /// A random share of the documents.
    Share(Share),
}

/// A random share of the documents.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The share, above 0 and below 1.
    pub share: f64,
    /// The seed of the draw. It is not the experiment's, so that runs with other seeds hold out the same documents.
    pub seed: u64,
}

/// What makes a document of a row.
#[derive(Debug, Clone)]
pub struct Forms {
    /// Its text, or its answer where there is a prompt.
    pub text: Form,
    /// Its topic.
    pub topic: Option<Form>,
    /// Its prompt.
    pub prompt: Option<Form>,
    /// What is done with a row that lacks a field.
    pub missing: Missing,
}

impl Forms {
    /// The paths of all fields, each once.
    pub fn fields(&self) -> Vec<String> {
        let all = [Some(&self.text), self.topic.as_ref(), self.prompt.as_ref()];
        let fields = all.into_iter().flatten().flat_map(Form::fields);
        let fields: BTreeSet<&str> = fields.collect();
        fields.into_iter().map(str::to_owned).collect()
    }

    /// The document of a row. None where it is left out.
    fn document(&self, row: &Row) -> Result<Option<Document>, String> {
        let filled = |form: Option<&Form>| match form {
            None => Ok(Some(None)),
            Some(form) => Ok::<_, String>(form.fill(&row.fields, self.missing)?.map(Some)),
        };
        let parts = (
            filled(self.prompt.as_ref())?,
            filled(Some(&self.text))?,
            filled(self.topic.as_ref())?,
        );
        let (Some(prompt), Some(answer), Some(topic)) = parts else {
            return Ok(None);
        };
        let begins = prompt.as_ref().map(String::len);
        Ok(Some(Document {
            text: prompt.into_iter().chain(answer).collect(),
            answer: begins,
            topic: topic.filter(|topic| !topic.is_empty()),
            as_read: None,
        }))
    }
}

/// Looks through both splits: counts their documents and their topics, checks every row, and takes the checksums of the files.
///
/// # Errors
/// When a file cannot be read, a row cannot be used, or a split has no document.
pub(super) fn corpus(
    source: &'static Source,
    format: &'static Format,
    named: &Named,
) -> Result<Corpus, SourceError> {
    let texts = |paths: &[PathBuf]| Texts::of(format, named, paths);
    let train = texts(&named.train)?;
    let from = among(&named.train);
    let (train, held_out) = match &named.held_out {
        HeldOut::Files(paths) => (train.surveyed(source)?, texts(paths)?.surveyed(source)?),
        HeldOut::Share(share) => shared(train, *share, source)?,
    };
    let left_out = train.left_out + held_out.left_out;
    let note = (left_out > 0).then(|| {
        format!("`data.missing` leaves out {left_out} rows: they lack a field, or have null in it")
    });
    Ok(Corpus {
        description: format!(
            "{} from {from}, {} train and {} test {}",
            source.title, train.count, held_out.count, source.unit
        ),
        train,
        held_out,
        origin: Origin::Files(from),
        notes: note.into_iter().collect(),
    })
}

/// Both splits of the same files.
fn shared(
    texts: Texts,
    Share { share, seed }: Share,
    source: &'static Source,
) -> Result<(Split, Split), SourceError> {
    let whole = texts.clone().surveyed(source)?;
    let documents = whole.count;
    let held_out = (share * documents as f64).round() as usize;
    if held_out == 0 || held_out >= documents {
        return Err(SourceError::Share {
            path: whole.from.path,
            documents,
            share,
        });
    }
    let split = |is_held_out: bool| Split {
        documents: Box::new(Texts {
            part: Some(Part {
                is_held_out,
                held_out,
                documents,
                seed,
            }),
            ..texts.clone()
        }),
        count: if is_held_out {
            held_out
        } else {
            documents - held_out
        },
        topics: whole.topics.clone(),
        // They are counted once.
        left_out: if is_held_out { 0 } else { whole.left_out },
        from: whole.from.clone(),
        files: whole.files.clone(),
    };
    Ok((split(false), split(true)))
}

/// What files are called together.
fn among(paths: &[PathBuf]) -> String {
    match paths {
        [path] => path.display().to_string(),
        paths => {
            let mut folder = paths[0].parent().unwrap_or(Path::new("")).to_owned();
            while !paths.iter().all(|path| path.starts_with(&folder)) && folder.pop() {}
            format!("{} files in {}", paths.len(), folder.display())
        }
    }
}

/// Documents in files.
#[derive(Debug, Clone)]
struct Texts {
    format: &'static Format,
    forms: Forms,
    wanted: Wanted,
    files: Vec<(PathBuf, Stamp)>,
    /// The part of them that is meant; all of them without.
    part: Option<Part>,
}

/// What tells that a file is still the same: its length, and when it was written to.
type Stamp = (u64, Option<SystemTime>);

fn stamp(path: &Path) -> Result<Stamp, SourceError> {
    let facts = std::fs::metadata(path).map_err(|error| unreadable(path, error))?;
    Ok((facts.len(), facts.modified().ok()))
}

fn unreadable(path: &Path, error: std::io::Error) -> SourceError {
    SourceError::Read {
        path: path.to_owned(),
        message: error.to_string(),
    }
}

impl Texts {
    fn of(format: &'static Format, named: &Named, paths: &[PathBuf]) -> Result<Self, SourceError> {
        let files = paths.iter().map(|path| Ok((path.clone(), stamp(path)?)));
        Ok(Self {
            format,
            forms: named.forms.clone(),
            wanted: named.wanted.clone(),
            files: files.collect::<Result<_, SourceError>>()?,
            part: None,
        })
    }

    /// The documents of all files, and None for each row that is left out.
    fn all(&self) -> impl Iterator<Item = Result<Option<Document>, SourceError>> + Send + '_ {
        self.files.iter().flat_map(move |(path, stamp)| {
            let rows = self.rows(path, stamp);
            let rows = rows.unwrap_or_else(|error| Box::new(std::iter::once(Err(error))));
            rows.map(move |row| {
                let row = row?;
                let document = self.forms.document(&row);
                document.map_err(|message| row.place.wrong(path, message))
            })
        })
    }

    fn rows(&self, path: &Path, known: &Stamp) -> Result<super::rows::Rows, SourceError> {
        if stamp(path)? != *known {
            return Err(SourceError::Changed(path.to_owned()));
        }
        (self.format.read)(path, &self.wanted)
    }

    fn surveyed(self, source: &'static Source) -> Result<Split, SourceError> {
        let (mut count, mut left_out, mut topics) = (0, 0, BTreeSet::new());
        for document in self.all() {
            let Some(document) = document? else {
                left_out += 1;
                continue;
            };
            count += 1;
            if let Some(topic) = document.topic
                && !topics.contains(&topic)
            {
                topics.insert(topic);
            }
        }
        let files = self.files.iter().map(|(path, _)| {
            let sum = Sum::of_file(path).map_err(|error| unreadable(path, error))?;
            Ok(SourceFile {
                path: path.display().to_string(),
                sha256: sum.end().sha256,
            })
        });
        let mut files: Vec<SourceFile> = files.collect::<Result<_, SourceError>>()?;
        let paths: Vec<PathBuf> = self.files.iter().map(|(path, _)| path.clone()).collect();
        if count == 0 {
            return Err(SourceError::Empty {
                path: among(&paths).into(),
                unit: source.unit,
            });
        }
        let from = match &files[..] {
            [_] => files.remove(0),
            // Where they are makes no difference.
            _ => SourceFile {
                path: among(&paths),
                sha256: sha256(
                    files
                        .iter()
                        .map(|file| format!("{}\n", file.sha256))
                        .collect::<String>()
                        .as_bytes(),
                ),
            },
        };
        Ok(Split {
            documents: Box::new(self),
            count,
            topics,
            left_out,
            from,
            files,
        })
    }
}

impl Documents for Texts {
    fn read(&self) -> Reading<'_> {
        let mut drawn = self.part.map(Part::draws);
        let documents = self.all().filter_map(Result::transpose);
        Box::new(documents.filter(move |document| match &mut drawn {
            Some(drawn) if document.is_ok() => drawn.next_is_of_it(),
            _ => true,
        }))
    }
}

/// One of two random parts of documents.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// Whether it is the part that is held out.
    is_held_out: bool,
    /// How many documents that part has.
    held_out: usize,
    /// How many there are.
    documents: usize,
    seed: u64,
}

impl Part {
    fn draws(self) -> PartDraws {
        PartDraws {
            part: self,
            rng: stream(self.seed, Purpose::HeldOut, 0, 0),
        }
    }
}

/// Says of each document in turn whether it is of a part: Knuth's selection sampling (The Art of Computer Programming 2, 3.4.2, algorithm S).
/// Each choice of so many documents is equally likely, and no list of them is needed.
struct PartDraws {
    /// With the documents that are still to come.
    part: Part,
    rng: ChaCha8Rng,
}

impl PartDraws {
    fn next_is_of_it(&mut self) -> bool {
        let left = self.part.documents.max(1);
        let is_held_out = self.rng.random_range(0..left) < self.part.held_out;
        self.part.documents = left - 1;
        self.part.held_out -= usize::from(is_held_out);
        is_held_out == self.part.is_held_out
    }
}
