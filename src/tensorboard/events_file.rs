//! One event file: whole records, or nothing of them.

use std::fs::File;
use std::io::Write;
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

/// An event file being written. Records are gathered in memory and written whole; when a write fails, the file is cut back to its last
/// whole record, so that readers never meet a torn one.
#[derive(Debug)]
pub struct EventsFile {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    written: u64,
}

impl EventsFile {
    /// Creates a new file in `directory`. TensorBoard reads the files of a run in the order of their names, so the name begins with
    /// the time; of two files in one second the second gets a higher number.
    ///
    /// # Errors
    /// When it cannot be created or written.
    pub fn create(directory: &Path) -> Result<Self, TensorboardError> {
        let seconds = since_epoch(SystemTime::now()) as u64;
        let process = std::process::id();
        for number in 0..10_000u32 {
            let name = format!("events.out.tfevents.{seconds:010}.{number:04}.milepost.{process}");
            let path = directory.join(name);
            // A file of this second and number may be another process's.
            let prefix = format!("events.out.tfevents.{seconds:010}.{number:04}.");
            let taken = std::fs::read_dir(directory).is_ok_and(|entries| {
                let mut names = entries.flatten().map(|entry| entry.file_name());
                names.any(|name| name.to_string_lossy().starts_with(&prefix))
            });
            if taken {
                continue;
            }
            match File::options().write(true).create_new(true).open(&path) {
                Ok(file) => return Self::begin(path, file),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                Err(source) => return Err(failed(&path, source)),
            }
        }
        let source = std::io::Error::other("too many event files in one second");
        Err(failed(directory, source))
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
    /// # Errors
    /// When the file cannot be written.
    pub fn purge_from(&mut self, step: u64) -> Result<(), TensorboardError> {
        let mut log = SessionLog::new();
        log.set_status(SessionLog_SessionStatus::START);
        let mut event = Event::new();
        event.set_session_log(log);
        event.set_step(axis(step));
        event.set_wall_time(since_epoch(SystemTime::now()));
        self.push(&event)
    }

    /// Appends a summary at `step`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn summary(
        &mut self,
        step: u64,
        wall: SystemTime,
        summary: Summary,
    ) -> Result<(), TensorboardError> {
        let mut event = Event::new();
        event.set_step(axis(step));
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
    /// When it does not take it; the file then ends with the last flush that went well.
    pub fn flush(&mut self) -> Result<(), TensorboardError> {
        if let Err(source) = self.file.write_all(&self.buffer) {
            // Best effort: a torn record at the end is tolerated by readers too.
            let _ = self.file.set_len(self.written);
            self.buffer.clear();
            return Err(failed(&self.path, source));
        }
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
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
}

fn failed(path: &Path, source: std::io::Error) -> TensorboardError {
    TensorboardError {
        path: path.to_owned(),
        source: Arc::new(source),
    }
}

/// TensorBoard's steps are signed.
fn axis(step: u64) -> i64 {
    i64::try_from(step).unwrap_or(i64::MAX)
}

fn since_epoch(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0.0, |duration| duration.as_secs_f64())
}
