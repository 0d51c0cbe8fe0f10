//! Records everything that a run reports: in TensorBoard at once, in `milestones.jsonl` in an order that does not depend on how long
//! background hooks took, and in the summary.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::outcome::RunError;
use crate::checksum::End;
use crate::clock::Clock;
use crate::hook::Output;
use crate::record::columns::ColumnFile;
use crate::record::milestones::{Line, Lines};
use crate::record::progress::{Recorded, Span};
use crate::record::{Named, RecordError};
use crate::tensorboard::{Entry, EventsFile, Writer};

/// A place in `milestones.jsonl` that is reserved until its line is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(u64);

/// The content of one line of `milestones.jsonl` and its points in TensorBoard.
pub struct Record<'a> {
    /// The event's name.
    pub event: &'a str,
    /// The source of the report: `train`, `eval`, or a hook's instance name.
    pub source: &'a str,
    /// The position on the x axis.
    pub step: u64,
    /// The run's clock at the milestone.
    pub clock: &'a Clock,
    /// What was measured.
    pub output: &'a Output,
    /// Scalars that depend on time and so differ from run to run. They have a field of their own in the line.
    pub times: &'a [(String, f64)],
    /// The file with the values per prompt, if there are any.
    pub columns: Option<ColumnFile>,
}

/// The most entries that may wait to be written to TensorBoard's file.
const QUEUE: usize = 4096;

/// The content of a reserved place.
enum Place {
    /// Nothing yet.
    Open,
    /// Nothing, for good.
    Empty,
    /// A line.
    Filled(Box<Line>),
}

/// Writes a run's reports.
pub struct Recorder {
    tensorboard: Writer,
    lines: Lines,
    waiting: VecDeque<Place>,
    released: u64,
    spans: HashMap<String, Span>,
    /// The last step at which each hook wrote a file of values per prompt.
    columns: BTreeMap<String, u64>,
}

impl Recorder {
    /// Creates the recorder of a new run, in its folder.
    ///
    /// # Errors
    /// When a file cannot be created.
    pub fn create(directory: &Path) -> Result<Self, RunError> {
        let lines = Lines::open(directory, 0)?;
        Ok(Self::of(Writer::create(directory, QUEUE)?, lines))
    }

    /// Creates a recorder that continues from a checkpoint. Everything recorded later is cut off. `events` is the event file that
    /// [`EventsFile::find`] returned; without one the run begins anew.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub(super) fn go_back(
        directory: &Path,
        recorded: &Recorded,
        events: Option<&Path>,
    ) -> Result<Self, RunError> {
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

    /// Reserves the next place in `milestones.jsonl`.
    pub fn reserve(&mut self) -> Slot {
        self.waiting.push_back(Place::Open);
        Slot(self.released + self.waiting.len() as u64 - 1)
    }

    /// Records a report in the next place.
    ///
    /// # Errors
    /// When a file could not be written, now or at an earlier record.
    pub fn record(&mut self, record: Record) -> Result<(), RunError> {
        let slot = self.reserve();
        self.fill(slot, record)
    }

    /// Records a report in a reserved place.
    ///
    /// # Errors
    /// When a file could not be written, now or at an earlier record.
    pub fn fill(&mut self, slot: Slot, record: Record) -> Result<(), RunError> {
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
        self.put(slot, Place::Filled(Box::new(line)))
    }

    /// Gives up a reserved place, because its hook has nothing to report.
    ///
    /// # Errors
    /// When lines that waited for this place could not be written.
    pub fn abandon(&mut self, slot: Slot) -> Result<(), RunError> {
        self.put(slot, Place::Empty)
    }

    /// Sends an entry that only TensorBoard gets, such as hparams or the layout.
    ///
    /// # Errors
    /// When the file could not be written.
    pub fn send(&mut self, entry: Entry) -> Result<(), RunError> {
        Ok(self.tensorboard.send(entry)?)
    }

    fn put(&mut self, slot: Slot, place: Place) -> Result<(), RunError> {
        let index = (slot.0 - self.released) as usize;
        self.waiting[index] = place;
        while !matches!(self.waiting.front(), None | Some(Place::Open)) {
            let place = self.waiting.pop_front();
            self.released += 1;
            if let Some(Place::Filled(line)) = place {
                self.lines.append(&line)?;
            }
        }
        Ok(())
    }

    /// Writes everything to the files.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn flush(&mut self) -> Result<(), RunError> {
        self.tensorboard.flush()?;
        Ok(self.lines.flush()?)
    }

    /// Checks that `milestones.jsonl` is still the file in the run's folder.
    ///
    /// # Errors
    /// When it was removed or replaced.
    pub fn check_in_place(&self) -> Result<(), RecordError> {
        self.lines.check_in_place()
    }

    /// Passes everything that was recorded to the operating system. Returns the lengths and checksums of the files, with a summary of their
    /// content.
    ///
    /// # Errors
    /// When it could not be written, or `milestones.jsonl` is no longer in the run's folder.
    pub(super) fn recorded(&mut self) -> Result<Recorded, RunError> {
        self.check_in_place()?;
        self.lines.flush()?;
        Ok(Recorded {
            lines: self.lines.end(),
            events: self.tensorboard.flush()?,
            spans: self.spans.clone().into_iter().collect(),
            columns: self.columns.clone(),
        })
    }

    /// The paths of the files that it appends to.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        [self.lines.path(), self.tensorboard.path()]
            .map(Path::to_owned)
            .to_vec()
    }

    /// Syncs everything that was recorded to the disk. Returns the length and checksum of `milestones.jsonl`.
    ///
    /// # Errors
    /// When it could not be written, or `milestones.jsonl` is no longer in the run's folder.
    pub fn sync(&mut self) -> Result<End, RunError> {
        self.check_in_place()?;
        self.tensorboard.sync()?;
        Ok(self.lines.sync()?)
    }

    /// Syncs and closes the files. Returns each tag's first and last value.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn close(mut self) -> Result<HashMap<String, Span>, RunError> {
        self.sync()?;
        self.tensorboard.close()?;
        Ok(self.spans)
    }

    /// Each tag's first and last value so far.
    pub fn spans(&self) -> &HashMap<String, Span> {
        &self.spans
    }
}

/// The line of a record in `milestones.jsonl`.
fn line(record: &Record, wall: SystemTime) -> Line {
    let clock = record.clock;
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let of_the_run = [("wall", since), ("elapsed", clock.elapsed)];
    let of_the_run = of_the_run.map(|(name, time)| (name.to_owned(), time.as_secs_f64()));
    let file = record.columns.as_ref();
    Line {
        step: record.step,
        event: record.event.to_owned(),
        source: record.source.to_owned(),
        epoch: clock.epoch,
        samples: clock.samples,
        tokens: clock.tokens,
        scalars: record.output.scalars.iter().cloned().collect(),
        texts: record.output.texts.iter().cloned().collect(),
        emitted: record.output.emitted.clone(),
        files: file.map(|file| Named::from_iter([(file.name.clone(), file.sha256.clone())])),
        times: record.times.iter().cloned().chain(of_the_run).collect(),
    }
}
