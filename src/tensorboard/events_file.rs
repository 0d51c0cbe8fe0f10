//! One event file: whole records, or nothing of them.
//!
//! A record is framed as TFRecord wants it: the length in 8 bytes, its checksum in 4, the data, the data's checksum in 4.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use protobuf::Message;
use tensorboard_proto::event::{Event, SessionLog, SessionLog_SessionStatus};
use tensorboard_proto::summary::Summary;
use tensorboard_rs::record_writer::RecordWriter;

/// Why an event file could not be written. Cloneable, because it is returned again to everyone who reports after it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot write {path}: {source}; what was written before stays readable")]
pub struct TensorboardError {
    /// The file.
    pub path: PathBuf,
    /// The system's reason.
    pub source: Arc<std::io::Error>,
}

/// Bytes gathered before the file is written to.
const BUFFER: usize = 1 << 16;

/// What frames a record's data.
const FRAME: u64 = 16;

/// An event file being written. Records are gathered in memory and written whole; when a write fails, what the system took of it stays up
/// to the last whole record, the rest is lost, and the file is cut back there: readers never meet a torn record, and what is written
/// later follows without a gap.
#[derive(Debug)]
pub struct EventsFile {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    written: u64,
}

impl EventsFile {
    /// Creates a new file in `directory`. TensorBoard reads the files of a run in the order of their names, so the name begins with the
    /// time, or with the second after the newest file's where that is later: two files of one second, and a clock that was put back
    /// before a resume, must not change the order.
    ///
    /// # Errors
    /// When it cannot be created or written.
    pub fn create(directory: &Path) -> Result<Self, TensorboardError> {
        let now = since_epoch(SystemTime::now()) as u64;
        let newest = newest(directory).map_err(|source| failed(directory, source))?;
        let mut seconds = newest.map_or(now, |newest| now.max(newest + 1));
        loop {
            let process = std::process::id();
            let name = format!("events.out.tfevents.{seconds:010}.milepost.{process}.0");
            let path = directory.join(name);
            match File::options().write(true).create_new(true).open(&path) {
                Ok(file) => return Self::begin(path, file),
                // Another thread was faster.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => seconds += 1,
                Err(source) => return Err(failed(&path, source)),
            }
        }
    }

    fn begin(path: PathBuf, file: File) -> Result<Self, TensorboardError> {
        let mut events = Self {
            path,
            file,
            buffer: Vec::new(),
            written: 0,
        };
        let mut event = Event::new();
        event.set_file_version("brain.Event:2".to_owned());
        event.set_wall_time(since_epoch(SystemTime::now()));
        events.push(&event)?;
        events.flush()?;
        Ok(events)
    }

    /// Makes TensorBoard drop the points of earlier files at `step` and after it: what a resumed run will write again.
    ///
    /// With `--load_fast=false` it does so at once. Its default loader overlooks the mark: there a tag's stale points go when the tag is
    /// written again, from the step on at which it is.
    ///
    /// # Errors
    /// When the file cannot be written, or for a step above `i64::MAX`, which the format cannot hold.
    pub fn purge_from(&mut self, step: u64) -> Result<(), TensorboardError> {
        let mut log = SessionLog::new();
        log.set_status(SessionLog_SessionStatus::START);
        let mut event = Event::new();
        event.set_session_log(log);
        event.set_step(self.axis(step)?);
        event.set_wall_time(since_epoch(SystemTime::now()));
        self.push(&event)
    }

    /// Appends a summary at `step`.
    ///
    /// # Errors
    /// When the file cannot be written, or for a step above `i64::MAX`, which the format cannot hold.
    pub fn summary(
        &mut self,
        step: u64,
        wall: SystemTime,
        summary: Summary,
    ) -> Result<(), TensorboardError> {
        let mut event = Event::new();
        event.set_step(self.axis(step)?);
        event.set_wall_time(since_epoch(wall));
        event.set_summary(summary);
        self.push(&event)
    }

    fn push(&mut self, event: &Event) -> Result<(), TensorboardError> {
        let bytes = event.write_to_bytes();
        let bytes = bytes.map_err(|error| failed(&self.path, std::io::Error::other(error)))?;
        let pushed = RecordWriter::new(&mut self.buffer).write(&bytes);
        pushed.map_err(|source| failed(&self.path, source))?;
        match self.buffer.len() >= BUFFER {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Hands everything to the operating system.
    ///
    /// # Errors
    /// When it does not take it; the file then ends with the last record that was taken whole.
    pub fn flush(&mut self) -> Result<(), TensorboardError> {
        let written = self.file.write_all(&self.buffer);
        match &written {
            Ok(()) => self.written += self.buffer.len() as u64,
            // Best effort: a torn record at the end is tolerated by readers too.
            Err(_) => drop(self.cut_back()),
        }
        self.buffer.clear();
        written.map_err(|source| failed(&self.path, source))
    }

    /// Cuts the file behind the last whole record, and goes on from there.
    fn cut_back(&mut self) -> std::io::Result<()> {
        let taken = self.file.stream_position()? - self.written;
        self.written += whole_records(&self.buffer, taken);
        self.file.set_len(self.written)?;
        self.file.seek(SeekFrom::Start(self.written))?;
        Ok(())
    }

    /// Flushes and waits until the disk has it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn sync(&mut self) -> Result<(), TensorboardError> {
        self.flush()?;
        self.file
            .sync_all()
            .map_err(|source| failed(&self.path, source))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// TensorBoard's steps are signed.
    fn axis(&self, step: u64) -> Result<i64, TensorboardError> {
        i64::try_from(step).map_err(|_| {
            let reason = format!("step {step} is above {}", i64::MAX);
            failed(&self.path, std::io::Error::other(reason))
        })
    }
}

/// The time in the name of the newest event file of `directory`, whoever wrote it.
fn newest(directory: &Path) -> std::io::Result<Option<u64>> {
    let mut newest = None;
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let rest = name.strip_prefix("events.out.tfevents.");
        let time = rest.and_then(|rest| rest.split('.').next());
        // Names sort as their times do only where these have ten digits.
        let seconds = time.filter(|time| time.len() == 10);
        let seconds = seconds.and_then(|time| time.parse().ok());
        newest = newest.max(seconds);
    }
    Ok(newest)
}

/// How many of the first `taken` bytes of `buffer` are whole records.
fn whole_records(buffer: &[u8], taken: u64) -> u64 {
    let mut whole = 0;
    while let Some(length) = buffer[whole as usize..].first_chunk() {
        let end = whole + FRAME + u64::from_le_bytes(*length);
        if end > taken {
            break;
        }
        whole = end;
    }
    whole
}

fn failed(path: &Path, source: std::io::Error) -> TensorboardError {
    TensorboardError {
        path: path.to_owned(),
        source: Arc::new(source),
    }
}

fn since_epoch(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0.0, |duration| duration.as_secs_f64())
}
