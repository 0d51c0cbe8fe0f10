//! One event file: whole records, or nothing of them.
//!
//! A record is framed as TFRecord wants it: the length in 8 bytes, its checksum in 4, the data, the data's checksum in 4.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use protobuf::Message;
use tensorboard_proto::event::{Event, SessionLog, SessionLog_SessionStatus};
use tensorboard_proto::summary::Summary;
use tensorboard_rs::record_writer::RecordWriter;

use crate::checksum::{End, Sum};

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
///
/// Each file begins with a session start at step 0. TensorBoard's Python back end then drops all that it has read from earlier files of the
/// directory. So a run has one file with points at a time. A resumed run has a new one, which begins with what the old one had up to the
/// checkpoint, and the old one is emptied. It stays there: a TensorBoard that is open reads no further where the file is gone that it reads.
#[derive(Debug)]
pub struct EventsFile {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    written: Sum,
}

impl EventsFile {
    /// Creates a new file in `directory`. TensorBoard reads the files of a run in the order of their names, so the name begins with the
    /// time, or with the second after the newest file's where that is later: two files of one second, and a clock that was put back
    /// before a resume, must not change the order.
    ///
    /// # Errors
    /// When it cannot be created or written.
    pub fn create(directory: &Path) -> Result<Self, TensorboardError> {
        let mut second = next_second(directory)?;
        loop {
            let path = directory.join(name(second));
            match File::options().write(true).create_new(true).open(&path) {
                Ok(file) => return Self::begin(path, file),
                // Another thread was faster.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => second += 1,
                Err(source) => return Err(failed(&path, source)),
            }
        }
    }

    fn begin(path: PathBuf, file: File) -> Result<Self, TensorboardError> {
        let mut events = Self {
            path,
            file,
            buffer: Vec::new(),
            written: Sum::default(),
        };
        let mut version = Event::new();
        version.set_file_version("brain.Event:2".to_owned());
        let mut log = SessionLog::new();
        log.set_status(SessionLog_SessionStatus::START);
        let mut start = Event::new();
        start.set_session_log(log);
        for mut event in [version, start] {
            event.set_wall_time(since_epoch(SystemTime::now()));
            events.push(&event)?;
        }
        events.flush()?;
        Ok(events)
    }

    /// The newest event file of `directory` whose beginning is what `end` says; None when there is none.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn find(directory: &Path, end: &End) -> Result<Option<PathBuf>, TensorboardError> {
        for path in own_files(directory)?.into_iter().rev() {
            let begins = Sum::of_first(&path, end.bytes).map_err(|source| failed(&path, source))?;
            if begins.end() == *end {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Goes on behind the first `bytes` bytes of the file `from`: they are copied into a new file, and the earlier files of the directory are
    /// emptied. A reader that had read beyond them begins anew with the new file.
    ///
    /// # Errors
    /// When a file cannot be read, written or removed.
    pub fn go_on(from: &Path, bytes: u64) -> Result<Self, TensorboardError> {
        let directory = from.parent().unwrap_or(Path::new("."));
        let earlier = own_files(directory)?;
        let path = directory.join(name(next_second(directory)?));
        let (file, written) =
            copy_aside(from, bytes, &path).map_err(|source| failed(&path, source))?;
        empty(&earlier)?;
        Ok(Self {
            path,
            file,
            buffer: Vec::new(),
            written,
        })
    }

    /// Empties the event files of a run that begins anew.
    ///
    /// # Errors
    /// When one cannot be written.
    pub fn empty_all(directory: &Path) -> Result<(), TensorboardError> {
        empty(&own_files(directory)?)
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
        if self.buffer.len() >= BUFFER {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Hands everything to the operating system.
    ///
    /// # Errors
    /// When it does not take it; the file then ends with the last record that was taken whole.
    pub fn flush(&mut self) -> Result<(), TensorboardError> {
        let written = self.file.write_all(&self.buffer);
        match &written {
            Ok(()) => self.written.add(&self.buffer),
            // Best effort: a torn record at the end is tolerated by readers too.
            Err(_) => drop(self.cut_back()),
        }
        self.buffer.clear();
        written.map_err(|source| failed(&self.path, source))
    }

    /// Cuts the file behind the last whole record, and goes on from there.
    fn cut_back(&mut self) -> std::io::Result<()> {
        let taken = self.file.stream_position()? - self.written.bytes();
        let whole = whole_records(&self.buffer, taken) as usize;
        self.written.add(&self.buffer[..whole]);
        self.file.set_len(self.written.bytes())?;
        self.file.seek(SeekFrom::Start(self.written.bytes()))?;
        Ok(())
    }

    /// Flushes, waits until the disk has it, and says how far the file goes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn sync(&mut self) -> Result<End, TensorboardError> {
        self.flush()?;
        self.file
            .sync_all()
            .map_err(|source| failed(&self.path, source))?;
        Ok(self.end())
    }

    /// How far the file goes, apart from what is gathered in memory.
    pub fn end(&self) -> End {
        self.written.end()
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

/// What the names of event files begin with.
const PREFIX: &str = "events.out.tfevents.";

/// The name of a file of this process that begins at a second since 1970.
fn name(second: u64) -> String {
    format!("{PREFIX}{second:010}.milepost.{}.0", std::process::id())
}

/// This second, or the one after the newest event file's, whoever wrote it.
fn next_second(directory: &Path) -> Result<u64, TensorboardError> {
    let now = since_epoch(SystemTime::now()) as u64;
    let mut second = now;
    for name in names(directory)? {
        let rest = name.strip_prefix(PREFIX);
        let time = rest.and_then(|rest| rest.split('.').next());
        // Names sort as their times do only where these have ten digits.
        let time = time.filter(|time| time.len() == 10);
        if let Some(newest) = time.and_then(|time| time.parse::<u64>().ok()) {
            second = second.max(newest + 1);
        }
    }
    Ok(second)
}

/// The names in a directory.
fn names(directory: &Path) -> Result<Vec<String>, TensorboardError> {
    let entries = std::fs::read_dir(directory).map_err(|source| failed(directory, source))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| failed(directory, source))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

/// The event files that this program wrote into a directory, in the order of their names.
fn own_files(directory: &Path) -> Result<Vec<PathBuf>, TensorboardError> {
    let mut names = names(directory)?;
    names.retain(|name| name.starts_with(PREFIX) && name.contains(".milepost."));
    names.sort_unstable();
    Ok(names.iter().map(|name| directory.join(name)).collect())
}

/// Empties files, and removes those that were emptied by an earlier resume: whoever read them has gone on since.
fn empty(paths: &[PathBuf]) -> Result<(), TensorboardError> {
    for path in paths {
        let emptied = std::fs::metadata(path).and_then(|file| {
            if file.len() == 0 {
                std::fs::remove_file(path)
            } else {
                File::options().write(true).open(path)?.set_len(0)
            }
        });
        emptied.map_err(|source| failed(path, source))?;
    }
    Ok(())
}

/// Puts the first `bytes` bytes of `from` at `path`, whole or not at all, and gives the open file.
fn copy_aside(from: &Path, bytes: u64, path: &Path) -> std::io::Result<(File, Sum)> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut source = File::open(from)?.take(bytes);
    let mut aside = tempfile::NamedTempFile::new_in(directory)?;
    let mut sum = Sum::default();
    let mut part = vec![0; 1 << 16];
    loop {
        let read = source.read(&mut part)?;
        if read == 0 {
            break;
        }
        sum.add(&part[..read]);
        aside.write_all(&part[..read])?;
    }
    crate::atomic::publish(aside, path).map(|file| (file, sum))
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
