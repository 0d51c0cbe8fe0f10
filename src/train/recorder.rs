//! Everything that a run reports goes through here: to TensorBoard at once, to `milestones.jsonl` in an order that does not depend
//! on how long background hooks took, and into the summary.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use super::lines::Lines;
use super::progress::Recorded;
use crate::checksum::End;
use crate::clock::Clock;
use crate::hook::Output;
use crate::tensorboard::{Entry, EventsFile, TensorboardError, Writer};

/// Why something could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The TensorBoard file could not be written.
    #[error(transparent)]
    Tensorboard(#[from] TensorboardError),
    /// Another file of the run could not be written.
    #[error("cannot write {path}: {source}; what was written before stays readable")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file that is being written is no longer in the run's folder.
    #[error(
        "{path} was removed or replaced while the run was writing it; what was measured since the last checkpoint is lost"
    )]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// Two processes would write into one folder.
    #[error("another process is writing into {path}; wait until it is done, or end it")]
    Busy {
        /// The folder.
        path: PathBuf,
    },
}

/// A tag's first and last value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Step and value of the first report.
    #[serde(deserialize_with = "point")]
    pub first: (u64, f64),
    /// Step and value of the last.
    #[serde(deserialize_with = "point")]
    pub last: (u64, f64),
}

/// JSON has no number that is not finite; such a value is written as null.
fn point<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(u64, f64), D::Error> {
    let (step, value): (u64, Option<f64>) = Deserialize::deserialize(deserializer)?;
    Ok((step, value.unwrap_or(f64::NAN)))
}

/// A place in `milestones.jsonl` that is kept until its line is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(u64);

/// What one line of `milestones.jsonl` and its points in TensorBoard say.
pub struct Record<'a> {
    /// The event's name.
    pub event: &'a str,
    /// Who reports: `train`, `eval`, or a hook's instance name.
    pub source: &'a str,
    /// The x axis.
    pub step: u64,
    /// The run's clock at the milestone.
    pub clock: &'a Clock,
    /// What was measured.
    pub output: &'a Output,
    /// Scalars about time, which differ from run to run: they stand apart in the line.
    pub times: &'a [(String, f64)],
    /// The file with the values per template, if there are any.
    pub columns: Option<ColumnFile>,
}

/// A file with a milestone's values per template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnFile {
    /// Its name in the run's folder.
    pub name: String,
    /// Its SHA-256.
    pub sha256: String,
}

/// Entries that may wait for TensorBoard's file.
const QUEUE: usize = 4096;

/// Writes a run's reports.
pub struct Recorder {
    tensorboard: Writer,
    lines: Lines,
    waiting: VecDeque<Option<String>>,
    released: u64,
    spans: HashMap<String, Span>,
    /// The last step at which each hook wrote a file with values per template.
    columns: BTreeMap<String, u64>,
}

impl Recorder {
    /// A recorder into the folder of a new run.
    ///
    /// # Errors
    /// When a file cannot be created.
    pub fn create(directory: &Path) -> Result<Self, RecordError> {
        let lines = Lines::open(directory, 0)?;
        Ok(Self::of(Writer::create(directory, QUEUE)?, lines))
    }

    /// A recorder that goes on where a checkpoint was saved. What was recorded later is cut off. `events` is the event file that
    /// [`EventsFile::find`] gave; without one the run begins anew.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub(super) fn go_back(
        directory: &Path,
        recorded: &Recorded,
        events: Option<&Path>,
    ) -> Result<Self, RecordError> {
        let lines = Lines::open(directory, recorded.lines.bytes)?;
        let tensorboard = match events {
            Some(path) => Writer::go_on(path, recorded.events.bytes, QUEUE)?,
            None => {
                EventsFile::empty_all(directory)?;
                Writer::create(directory, QUEUE)?
            }
        };
        let mut recorder = Self::of(tensorboard, lines);
        recorder.spans = recorded.spans.clone().into_iter().collect();
        recorder.columns = recorded.columns.clone();
        Ok(recorder)
    }

    fn of(tensorboard: Writer, lines: Lines) -> Self {
        Self {
            tensorboard,
            lines,
            waiting: VecDeque::new(),
            released: 0,
            spans: HashMap::new(),
            columns: BTreeMap::new(),
        }
    }

    /// Keeps the next place in `milestones.jsonl`.
    pub fn reserve(&mut self) -> Slot {
        self.waiting.push_back(None);
        Slot(self.released + self.waiting.len() as u64 - 1)
    }

    /// Records at once.
    ///
    /// # Errors
    /// When a file could not be written, now or at an earlier record.
    pub fn record(&mut self, record: Record) -> Result<(), RecordError> {
        let slot = self.reserve();
        self.fill(slot, record)
    }

    /// Records in a place that was kept.
    ///
    /// # Errors
    /// When a file could not be written, now or at an earlier record.
    pub fn fill(&mut self, slot: Slot, record: Record) -> Result<(), RecordError> {
        let wall = SystemTime::now();
        let output = record.output;
        let step = record.step;
        for (tag, value) in output.scalars.iter().chain(record.times) {
            let (tag, value) = (tag.clone(), *value);
            self.spans
                .entry(tag.clone())
                .or_insert(Span {
                    first: (step, value),
                    last: (step, value),
                })
                .last = (step, value);
            self.tensorboard.send(Entry::Scalar {
                tag,
                step,
                wall,
                value,
            })?;
        }
        for (tag, values) in &output.histograms {
            let (tag, values) = (tag.clone(), values.clone());
            self.tensorboard.send(Entry::Histogram {
                tag,
                step,
                wall,
                values,
            })?;
        }
        for (tag, markdown) in &output.texts {
            let (tag, markdown) = (tag.clone(), markdown.clone());
            self.tensorboard.send(Entry::Text {
                tag,
                step,
                wall,
                markdown,
            })?;
        }
        if record.columns.is_some() {
            self.columns.insert(record.source.to_owned(), step);
        }
        let line = line(&record, wall);
        self.put(slot, Some(line))
    }

    /// Gives a kept place up: its hook failed and has nothing to say.
    ///
    /// # Errors
    /// When lines that waited behind it could not be written.
    pub fn abandon(&mut self, slot: Slot) -> Result<(), RecordError> {
        self.put(slot, Some(String::new()))
    }

    /// Sends an entry that belongs to TensorBoard alone: hparams, layout.
    ///
    /// # Errors
    /// When the file could not be written.
    pub fn send(&mut self, entry: Entry) -> Result<(), RecordError> {
        Ok(self.tensorboard.send(entry)?)
    }

    fn put(&mut self, slot: Slot, line: Option<String>) -> Result<(), RecordError> {
        let index = (slot.0 - self.released) as usize;
        self.waiting[index] = line;
        while let Some(Some(_)) = self.waiting.front() {
            if let Some(Some(line)) = self.waiting.pop_front() {
                self.released += 1;
                self.lines.append(&line)?;
            }
        }
        Ok(())
    }

    /// Puts everything into the files.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn flush(&mut self) -> Result<(), RecordError> {
        self.tensorboard.flush()?;
        self.lines.flush()
    }

    /// Makes sure that what is written still goes into the run's folder.
    ///
    /// # Errors
    /// When `milestones.jsonl` was removed or replaced.
    pub fn check_in_place(&self) -> Result<(), RecordError> {
        self.lines.check_in_place()
    }

    /// Hands everything that was recorded to the system, and says how far each file goes.
    ///
    /// # Errors
    /// When it could not be written, or `milestones.jsonl` is no longer in the run's folder.
    pub(super) fn recorded(&mut self) -> Result<Recorded, RecordError> {
        self.check_in_place()?;
        self.lines.flush()?;
        Ok(Recorded {
            lines: self.lines.end(),
            events: self.tensorboard.flush()?,
            spans: self.spans.clone().into_iter().collect(),
            columns: self.columns.clone(),
        })
    }

    /// The files that it appends to.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        [self.lines.path(), self.tensorboard.path()]
            .map(Path::to_owned)
            .to_vec()
    }

    /// Brings everything that was recorded to the disk, and says how far `milestones.jsonl` goes.
    ///
    /// # Errors
    /// When it could not be written, or `milestones.jsonl` is no longer in the run's folder.
    pub fn sync(&mut self) -> Result<End, RecordError> {
        self.check_in_place()?;
        self.tensorboard.sync()?;
        self.lines.sync()
    }

    /// Syncs and closes, and gives each tag's first and last value.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn close(mut self) -> Result<HashMap<String, Span>, RecordError> {
        self.sync()?;
        self.tensorboard.close()?;
        Ok(self.spans)
    }

    /// Each tag's first and last value so far.
    pub fn spans(&self) -> &HashMap<String, Span> {
        &self.spans
    }
}

fn line(record: &Record, wall: SystemTime) -> String {
    let numbers = |pairs: &[(String, f64)]| -> Map<String, Value> {
        let pairs = pairs.iter();
        pairs
            .map(|(tag, value)| (tag.clone(), json!(value)))
            .collect()
    };
    let mut times = numbers(record.times);
    let since = |wall: SystemTime| wall.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    times.insert("wall".to_owned(), json!(since(wall).as_secs_f64()));
    times.insert(
        "elapsed".to_owned(),
        json!(record.clock.elapsed.as_secs_f64()),
    );
    let mut line = json!({
        "step": record.step,
        "event": record.event,
        "source": record.source,
        "epoch": record.clock.epoch,
        "samples": record.clock.samples,
        "tokens": record.clock.tokens,
        "scalars": numbers(&record.output.scalars),
    });
    if !record.output.texts.is_empty() {
        let texts = record.output.texts.iter();
        line["texts"] = texts
            .map(|(tag, text)| (tag.clone(), json!(text)))
            .collect::<Map<_, _>>()
            .into();
    }
    if let Some(file) = &record.columns {
        line["files"] = json!({ &*file.name: file.sha256 });
    }
    line["times"] = times.into();
    format!("{line}\n")
}
