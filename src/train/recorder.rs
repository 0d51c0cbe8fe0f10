//! Everything that a run reports goes through here: to TensorBoard at once, to `milestones.jsonl` in an order that does not depend
//! on how long background hooks took, and into the summary.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use crate::clock::Clock;
use crate::hook::Output;
use crate::tensorboard::{Entry, TensorboardError, Writer};

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
}

/// Writes a run's reports.
pub struct Recorder {
    tensorboard: Writer,
    lines: BufWriter<File>,
    path: PathBuf,
    waiting: VecDeque<Option<String>>,
    released: u64,
    spans: HashMap<String, Span>,
}

impl Recorder {
    /// A recorder into the run's directory. `purge_from` is the first step that a resumed run writes again: TensorBoard then drops the points
    /// from there on, and `milestones.jsonl` has been cut back by the caller.
    ///
    /// # Errors
    /// When a file cannot be created.
    pub fn create(directory: &Path, purge_from: Option<u64>) -> Result<Self, RecordError> {
        let path = directory.join("milestones.jsonl");
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(|source| RecordError::Io {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            tensorboard: Writer::create(directory, 4096, purge_from)?,
            lines: BufWriter::new(file),
            path,
            waiting: VecDeque::new(),
            released: 0,
            spans: HashMap::new(),
        })
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
                let written = self.lines.write_all(line.as_bytes());
                written.map_err(|source| self.io(source))?;
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
        self.lines.flush().map_err(|source| self.io(source))
    }

    /// Flushes, syncs and closes, and gives each tag's first and last value.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn close(mut self) -> Result<HashMap<String, Span>, RecordError> {
        self.flush()?;
        let synced = self.lines.get_ref().sync_all();
        synced.map_err(|source| self.io(source))?;
        self.tensorboard.close()?;
        Ok(self.spans)
    }

    /// Each tag's first and last value so far.
    pub fn spans(&self) -> &HashMap<String, Span> {
        &self.spans
    }

    /// Takes over the spans of the run that is being resumed.
    pub fn restore_spans(&mut self, spans: HashMap<String, Span>) {
        self.spans = spans;
    }

    /// How many bytes of `milestones.jsonl` are on the disk for good.
    ///
    /// # Errors
    /// When they cannot be brought there.
    pub fn synced_length(&mut self) -> Result<u64, RecordError> {
        self.flush()?;
        let file = self.lines.get_ref();
        let length = file.sync_all().and_then(|()| file.metadata());
        let length = length.map(|metadata| metadata.len());
        length.map_err(|source| self.io(source))
    }

    fn io(&self, source: std::io::Error) -> RecordError {
        RecordError::Io {
            path: self.path.clone(),
            source,
        }
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
    line["times"] = times.into();
    format!("{line}\n")
}
